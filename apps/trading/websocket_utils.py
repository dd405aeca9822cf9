"""Publish to the trading streams: one function per message. Call them from a view, a task, a thread or a shell.

Each takes a dict, or the message's own Struct of `apps.trading.messages`; raises `InvalidMessage` (a `ValueError`)
when that does not fit; inside a transaction it publishes on commit. `idempotency_key`: the same key on the same
topic within an hour is published once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from apps.streaming.publishing import UserId, forget, notification, publish, publish_to_each
from apps.streaming.validation import to_payload
from apps.trading import messages, topics
from realtime.messages import type_of


@notification(messages.NewSignal, topics.user_signals)
def notify_new_signal(user_id: UserId, signal: Any, *, idempotency_key: str | None = None) -> None:
    """Send `new_signal` to one user."""
    publish(topics.user_signals(user_id), messages.NewSignal, signal=signal, idempotency_key=idempotency_key)


@notification(messages.SignalUpdate, topics.user_signals)
def notify_signal_update(user_id: UserId, signal: Any, *, idempotency_key: str | None = None) -> None:
    """Send `signal_update` to one user."""
    publish(topics.user_signals(user_id), messages.SignalUpdate, signal=signal, idempotency_key=idempotency_key)


@notification(messages.NewSignal, topics.symbol_signals, by="symbol")
def broadcast_signal(signal: Any, *, idempotency_key: str | None = None) -> None:
    """Send `new_signal` to everyone who follows the signal's symbol."""
    payload = to_payload(messages.Signal, signal, "signal")
    publish(topics.symbol_signals(payload.symbol), messages.NewSignal, signal=payload, idempotency_key=idempotency_key)


@notification(messages.SignalUpdate, topics.symbol_signals, by="symbol")
def broadcast_signal_update(signal: Any, *, idempotency_key: str | None = None) -> None:
    """Send `signal_update` to everyone who follows the signal's symbol."""
    payload = to_payload(messages.Signal, signal, "signal")
    publish(
        topics.symbol_signals(payload.symbol), messages.SignalUpdate, signal=payload, idempotency_key=idempotency_key
    )


@notification(messages.PortfolioUpdate, topics.portfolio)
def notify_portfolio_update(user_id: UserId, update: Any, *, idempotency_key: str | None = None) -> None:
    """Send `portfolio_update`: a user's totals."""
    publish(
        topics.portfolio(user_id),
        messages.PortfolioUpdate,
        key="portfolio_update",
        update=update,
        idempotency_key=idempotency_key,
    )


def notify_portfolio_updates(update_by_user: Mapping[UserId, Any]) -> None:
    """Send `portfolio_update` to each of many users, as `notify_pnl_updates` does."""
    publish_to_each(topics.portfolio, messages.PortfolioUpdate, update_by_user, field="update", key="portfolio_update")


@notification(messages.PositionUpdate, topics.portfolio)
def notify_position_update(user_id: UserId, position: Any, *, idempotency_key: str | None = None) -> None:
    """Send `position_update`: one of a user's positions."""
    payload = to_payload(messages.Position, position, "position")
    publish(
        topics.portfolio(user_id),
        messages.PositionUpdate,
        key=_position_key(payload.symbol),
        position=payload,
        idempotency_key=idempotency_key,
    )


@notification(messages.TradeExecuted, topics.executions)
def notify_trade_executed(user_id: UserId, execution: Any, *, idempotency_key: str | None = None) -> None:
    """Send `trade_executed`: a fill."""
    publish(
        topics.executions(user_id),
        messages.TradeExecuted,
        execution=execution,
        idempotency_key=idempotency_key,
        durable=True,
    )


@notification(messages.TradeFailed, topics.executions)
def notify_trade_failed(user_id: UserId, execution: Any, error: str, *, idempotency_key: str | None = None) -> None:
    """Send `trade_failed`: an order that could not be executed, and why."""
    publish(
        topics.executions(user_id),
        messages.TradeFailed,
        execution=execution,
        error=error,
        idempotency_key=idempotency_key,
        durable=True,
    )


@notification(messages.OrderUpdate, topics.executions)
def notify_order_update(user_id: UserId, order: Any, *, idempotency_key: str | None = None) -> None:
    """Send `order_update`: an order's new state."""
    publish(
        topics.executions(user_id), messages.OrderUpdate, order=order, idempotency_key=idempotency_key, durable=True
    )


@notification(messages.SentimentUpdate, topics.sentiment)
def notify_sentiment_update(sentiment: Any, *, idempotency_key: str | None = None) -> None:
    """Send `sentiment_update` to everyone."""
    payload = to_payload(messages.Sentiment, sentiment, "sentiment")
    publish(
        topics.sentiment(),
        messages.SentimentUpdate,
        key=payload.scope,
        sentiment=payload,
        idempotency_key=idempotency_key,
    )


@notification(messages.RiskAlertRaised, topics.risk)
def notify_risk_alert(user_id: UserId, alert: Any, severity: str, *, idempotency_key: str | None = None) -> None:
    """Send `risk_alert` with its severity: INFO, WARNING or CRITICAL."""
    publish(
        topics.risk(user_id),
        messages.RiskAlertRaised,
        alert=alert,
        severity=severity,
        idempotency_key=idempotency_key,
        durable=True,
    )


@notification(messages.AlertAcknowledged, topics.risk)
def notify_alert_acknowledged(user_id: UserId, alert: Any, *, idempotency_key: str | None = None) -> None:
    """Send `alert_acknowledged` to all of a user's devices."""
    publish(
        topics.risk(user_id), messages.AlertAcknowledged, alert=alert, idempotency_key=idempotency_key, durable=True
    )


@notification(messages.PnlUpdate, topics.pnl)
def notify_pnl_update(user_id: UserId, pnl: Any, *, idempotency_key: str | None = None) -> None:
    """Send `pnl_update`."""
    publish(topics.pnl(user_id), messages.PnlUpdate, key="pnl_update", pnl=pnl, idempotency_key=idempotency_key)


def notify_pnl_updates(pnl_by_user: Mapping[UserId, Any]) -> None:
    """Send `pnl_update` to each of many users: one call, one pass. Raises `InvalidMessage`, and then sends none."""
    publish_to_each(topics.pnl, messages.PnlUpdate, pnl_by_user, field="pnl", key="pnl_update")


@notification(messages.GreeksUpdate, topics.underlying_options, by="underlying")
def notify_greeks_update(data: Any, *, idempotency_key: str | None = None) -> None:
    """Send `greeks_update` to everyone who follows the underlying."""
    _notify_underlying(messages.GreeksUpdate, messages.GreeksData, data, idempotency_key)


@notification(messages.VolatilityUpdate, topics.underlying_options, by="underlying")
def notify_volatility_update(data: Any, *, idempotency_key: str | None = None) -> None:
    """Send `volatility_update` to everyone who follows the underlying."""
    _notify_underlying(messages.VolatilityUpdate, messages.VolatilityData, data, idempotency_key)


@notification(messages.OptionChainUpdate, topics.underlying_options, by="underlying")
def notify_option_chain_update(data: Any, *, idempotency_key: str | None = None) -> None:
    """Send `option_chain_update` to everyone who follows the underlying."""
    _notify_underlying(messages.OptionChainUpdate, messages.OptionChain, data, idempotency_key)


@notification(messages.PortfolioGreeksUpdate, topics.user_options)
def notify_portfolio_greeks(user_id: UserId, data: Any, *, idempotency_key: str | None = None) -> None:
    """Send `portfolio_greeks`: a user's option positions together."""
    publish(
        topics.user_options(user_id),
        messages.PortfolioGreeksUpdate,
        key="portfolio_greeks",
        data=data,
        idempotency_key=idempotency_key,
    )


def forget_account(user_id: UserId, symbols: Iterable[str]) -> None:
    """Nobody keeps a user's totals and positions up to date any more: who subscribes gets the snapshot alone."""
    forget(topics.pnl(user_id), "pnl_update")
    forget(topics.portfolio(user_id), "portfolio_update")
    for symbol in symbols:
        forget(topics.portfolio(user_id), _position_key(symbol))


def _position_key(symbol: str) -> str:
    return f"position_update:{symbol}"


def forget_portfolio_greeks(user_id: UserId) -> None:
    """As `forget_account`, of a user's Greeks."""
    forget(topics.user_options(user_id), "portfolio_greeks")


def forget_expiry(underlying: str, expiry: date) -> None:
    """An expiry has passed: who subscribes to the underlying from now on gets nothing of it."""
    for message in (messages.GreeksUpdate, messages.VolatilityUpdate, messages.OptionChainUpdate):
        forget(topics.underlying_options(underlying), _expiry_key(message, expiry))


def _expiry_key(message: Any, expiry: date | None) -> str:
    return f"{type_of(message)}:{expiry}"


def _notify_underlying(message: Any, payload_type: Any, data: Any, idempotency_key: str | None) -> None:
    payload = to_payload(payload_type, data, "data")
    publish(
        topics.underlying_options(payload.underlying),
        message,
        key=_expiry_key(message, payload.expiry),
        data=payload,
        idempotency_key=idempotency_key,
    )
