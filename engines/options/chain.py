"""A modelled option chain: strikes around the forward, priced at the index's own realised volatility."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, datetime

import msgspec
import numpy as np

from engines.market.calendar import IST, SESSION_CLOSE, SESSION_SECONDS, TRADING_DAYS_PER_YEAR
from engines.market.quotes import DAY_SECONDS, Bar
from engines.options.black76 import Greeks, greeks

RATE = 0.065
STRIKES_EACH_SIDE = 10
STRIKE_STEP = {"NIFTY": 50.0, "BANKNIFTY": 100.0}
_MIN_YEARS = 60 / (365 * 86_400)  # the last minute: beyond it a chain has no time value left to model
_SECONDS_PER_YEAR = 365 * 86_400


class Chain(msgspec.Struct, frozen=True):
    """One expiry's options; arrays in `calls` and `puts` are by strike."""

    underlying: str
    expiry: date
    spot: float
    forward: float
    volatility: float
    strikes: Sequence[float]
    calls: Greeks
    puts: Greeks


class RealisedVolatility:
    """Annualised volatility of log returns, exponentially weighted (RiskMetrics, lambda 0.97).

    Of bars shorter than a day only returns within a session count: over night the market moves without trading, and
    that says nothing about a minute.
    """

    def __init__(self, bar_seconds: int, *, decay: float = 0.97) -> None:
        self._daily = bar_seconds >= DAY_SECONDS
        self._decay = decay
        self._last: Bar | None = None
        self._variance_per_second: float | None = None

    def add(self, bar: Bar) -> None:
        last, self._last = self._last, bar
        if last is None or not (self._daily or last.time.date() == bar.time.date()):
            return
        seconds = SESSION_SECONDS if self._daily else (bar.time - last.time).total_seconds()
        squared = math.log(bar.close / last.close) ** 2 / seconds
        before = self._variance_per_second
        self._variance_per_second = squared if before is None else self._decay * before + (1 - self._decay) * squared

    @property
    def annualised(self) -> float:
        """At least 5 %: a market that stood still for a while still has priced options."""
        per_year = SESSION_SECONDS * TRADING_DAYS_PER_YEAR
        return max(0.05, math.sqrt((self._variance_per_second or 0.0) * per_year))


def years_to_expiry(now: datetime, expiry: date) -> float:
    """Calendar years until 15:30 IST of the expiry, at least a minute."""
    closes = datetime.combine(expiry, SESSION_CLOSE, IST)
    return max(_MIN_YEARS, (closes - now).total_seconds() / _SECONDS_PER_YEAR)


def modelled_chain(underlying: str, spot: float, volatility: float, now: datetime, expiry: date) -> Chain:
    """The chain of one expiry. The forward is the spot carried at `RATE`."""
    years = years_to_expiry(now, expiry)
    forward = spot * math.exp(RATE * years)
    step = STRIKE_STEP[underlying]
    middle = round(forward / step) * step
    strikes = middle + step * np.arange(-STRIKES_EACH_SIDE, STRIKES_EACH_SIDE + 1, dtype=np.float64)
    return Chain(
        underlying=underlying,
        expiry=expiry,
        spot=spot,
        forward=forward,
        volatility=volatility,
        strikes=strikes.tolist(),
        calls=greeks(forward, strikes, years, volatility, RATE, is_call=True),
        puts=greeks(forward, strikes, years, volatility, RATE, is_call=False),
    )
