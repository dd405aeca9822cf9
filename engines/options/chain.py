"""A modelled option chain: strikes around the forward, priced at the index's own realised volatility."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, datetime

import msgspec
import numpy as np

from engines.market.calendar import IST, SESSION_CLOSE, TRADING_DAYS_PER_YEAR
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
    """Annualised volatility of log returns, exponentially weighted (RiskMetrics, lambda 0.97)."""

    def __init__(self, interval_seconds: float, session_seconds: float, *, decay: float = 0.97) -> None:
        self._intervals_per_year = max(1.0, session_seconds / interval_seconds) * TRADING_DAYS_PER_YEAR
        self._decay = decay
        self._last: float | None = None
        self._variance: float | None = None

    def add(self, price: float) -> None:
        if self._last is not None:
            squared = math.log(price / self._last) ** 2
            if self._variance is None:
                self._variance = squared
            else:
                self._variance = self._decay * self._variance + (1 - self._decay) * squared
        self._last = price

    @property
    def annualised(self) -> float:
        """At least 5 %: a market that stood still for a while still has priced options."""
        return max(0.05, math.sqrt((self._variance or 0.0) * self._intervals_per_year))


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
