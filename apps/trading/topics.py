"""The addresses of the trading streams. Built here and nowhere else."""

from __future__ import annotations

import re

from realtime.topic import Kind, Topic

_SYMBOL_PREFIX = "trading.signals.symbol."
_FNO_PREFIX = "trading.fno."


def user_signals(user_id: object) -> Topic:
    """Signals for one user."""
    return Topic(f"trading.signals.user.{user_id}", Kind.LOG)


def symbol_signals(symbol: str) -> Topic:
    """Signals for everyone who follows the symbol."""
    return Topic(_SYMBOL_PREFIX + _token(symbol), Kind.LOG)


def portfolio(user_id: object) -> Topic:
    """A user's totals and positions."""
    return Topic(f"trading.portfolio.{user_id}", Kind.STATE)


def executions(user_id: object) -> Topic:
    """A user's orders and fills."""
    return Topic(f"trading.executions.{user_id}", Kind.LOG)


def sentiment() -> Topic:
    """Sentiment of the market and of symbols."""
    return Topic("trading.sentiment", Kind.STATE)


def risk(user_id: object) -> Topic:
    """A user's risk alerts."""
    return Topic(f"trading.risk.{user_id}", Kind.LOG)


def pnl(user_id: object) -> Topic:
    """A user's profit and loss."""
    return Topic(f"trading.pnl.{user_id}", Kind.STATE)


def underlying_options(underlying: str) -> Topic:
    """Chains, Greeks and volatility of an underlying."""
    return Topic(_FNO_PREFIX + _token(underlying), Kind.STATE)


def user_options(user_id: object) -> Topic:
    """A user's own Greeks."""
    return Topic(f"{_FNO_PREFIX}user.{user_id}", Kind.STATE)


def symbol_of(topic_name: str) -> str | None:
    """The symbol that a signals topic is about; None for another topic."""
    return _symbol(topic_name, _SYMBOL_PREFIX)


def underlying_of(topic_name: str) -> str | None:
    """The underlying that an options topic is about; None for another topic."""
    return None if topic_name.startswith(f"{_FNO_PREFIX}user.") else _symbol(topic_name, _FNO_PREFIX)


def _token(symbol: str) -> str:
    """A symbol as a part of a topic: what a topic may not hold (as the & of M&M) is written `_26`."""
    return re.sub(r"[^A-Za-z0-9\-]", lambda match: f"_{ord(match[0]):02X}", symbol)


def _symbol(topic_name: str, prefix: str) -> str | None:
    if not topic_name.startswith(prefix):
        return None
    token = topic_name.removeprefix(prefix)
    symbol = re.sub(r"_([0-9A-F]{2})", lambda match: chr(int(match[1], 16)), token)
    return symbol if symbol.isprintable() else None
