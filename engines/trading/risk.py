"""Risk rules of an account: daily loss and concentration, with hysteresis."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Literal

import msgspec

from engines.trading.book import Position

Severity = Literal["WARNING", "CRITICAL"]

WORTHLESS = 1_000.0  # the share that a position has of an account that is worth nothing
WARNING_AT = 0.8
REARM_AT = 0.9


class RiskLimits(msgspec.Struct, frozen=True):
    """Shares of the account's value that a day may lose, and that one position may be."""

    daily_loss: float = 0.02
    concentration: float = 0.25


class RiskBreach(msgspec.Struct, frozen=True):
    """A rule reached a level. `value` and `limit` are shares of the account's value."""

    rule: str
    severity: Severity
    message: str
    value: float
    limit: float
    symbol: str = ""


class RiskMonitor:
    """Reports each level of each rule once; again only after the value fell well below it (`REARM_AT`)."""

    def __init__(self) -> None:
        self._raised: set[tuple[str, str, Severity]] = set()

    def check(
        self, limits: RiskLimits, day_start_value: Decimal, total_value: Decimal, positions: Iterable[Position]
    ) -> list[RiskBreach]:
        """The breaches that are new with these numbers."""
        breaches = []
        if day_start_value > 0:
            loss = float((day_start_value - total_value) / day_start_value)
            text = "The day's loss is {value:.2%} of the account"
            breaches += self._levels("daily_loss", "", loss, limits.daily_loss, text)
        for position in positions:
            share = float(abs(position.market_value) / total_value) if total_value > 0 else WORTHLESS
            if position.quantity == 0:
                share = 0.0
            breaches += self._levels(
                "concentration",
                position.symbol,
                share,
                limits.concentration,
                f"{position.symbol} is {{value:.2%}} of the account",
            )
        return breaches

    def _levels(self, rule: str, symbol: str, value: float, limit: float, text: str) -> list[RiskBreach]:
        breaches = []
        levels: tuple[tuple[Severity, float], ...] = (("WARNING", limit * WARNING_AT), ("CRITICAL", limit))
        for severity, level in levels:
            key = (rule, symbol, severity)
            if not value < level:  # NaN counts as a breach
                if key not in self._raised:
                    self._raised.add(key)
                    message = f"{text.format(value=value)}; the limit is {limit:.0%}"
                    breaches.append(RiskBreach(rule, severity, message, round(value, 6), level, symbol))
            elif value < level * REARM_AT:
                self._raised.discard(key)
        return breaches
