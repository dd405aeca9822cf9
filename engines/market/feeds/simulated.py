"""A simulated NSE-like market: seeded, correlated, with volatility that clusters and a session's shape.

Log returns of a step are `beta * market + loading * sector + own`; the market's variance follows GARCH(1,1)
(Bollerslev 1986), and all of it is scaled by a U-shaped curve over the session, high at open and close.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, timedelta

import numpy as np
from numpy.typing import NDArray

from engines.market.calendar import SESSION_SECONDS, TRADING_DAYS_PER_YEAR, next_session_day, session_open
from engines.market.feeds.base import Sleep
from engines.market.instruments import NSE_UNIVERSE, Instrument
from engines.market.quotes import Bar, BarBuilder, QuoteTick

INTERVAL_SECONDS = 0.25
WARMUP_BARS = 120

# Roughly the level, beta to the market and own yearly volatility of each, as of 2025.
_PARAMETERS: dict[str, tuple[float, float, float]] = {
    "NIFTY": (25_000.0, 1.00, 0.00),
    "BANKNIFTY": (56_000.0, 1.05, 0.03),
    "RELIANCE": (1_400.0, 1.05, 0.17),
    "HDFCBANK": (980.0, 1.00, 0.13),
    "ICICIBANK": (1_400.0, 1.05, 0.14),
    "SBIN": (900.0, 1.15, 0.17),
    "AXISBANK": (1_180.0, 1.15, 0.18),
    "INFY": (1_500.0, 0.90, 0.18),
    "TCS": (3_050.0, 0.80, 0.16),
    "ITC": (410.0, 0.60, 0.14),
    "HINDUNILVR": (2_500.0, 0.55, 0.15),
    "LT": (3_700.0, 1.15, 0.17),
    "M&M": (3_500.0, 1.10, 0.20),
    "BHARTIARTL": (2_000.0, 0.80, 0.17),
}
_MARKET_VOLATILITY = 0.13
_SECTOR_VOLATILITY = 0.08
_GARCH_ALPHA, _GARCH_BETA = 0.09, 0.90
_OVERNIGHT_VOLATILITY = 0.006
_TICK = 0.05


class SimulatedFeed:
    """Implements `Feed`. The same seed and start make the same market."""

    description = "simulated NSE-like market"
    simulated = True
    bar_seconds = 60

    def __init__(self, *, start: date, sleep: Sleep, speed: float = 60.0, seed: int = 7) -> None:
        self.instruments: Sequence[Instrument] = NSE_UNIVERSE
        self._sleep = sleep
        self._rng = np.random.default_rng(seed)
        self._step_seconds = max(1.0, INTERVAL_SECONDS * speed)
        self._pause_seconds = self._step_seconds / speed
        self._day = start
        self._elapsed_seconds = 0.0
        self._symbols = [instrument.symbol for instrument in NSE_UNIVERSE]
        level, beta, own = (np.array(column) for column in zip(*(_PARAMETERS[s] for s in self._symbols), strict=True))
        self._price: NDArray[np.float64] = level.astype(np.float64)
        self._beta, self._own_volatility = beta, own
        sectors = sorted({instrument.sector for instrument in NSE_UNIVERSE if instrument.sector})
        self._sector_index = np.array(
            [sectors.index(i.sector) if i.sector else len(sectors) for i in NSE_UNIVERSE], dtype=np.intp
        )
        self._sector_count = len(sectors)
        self._variance_factor = 1.0
        self._warmup = self._run_warmup()

    def warmup(self) -> Sequence[Bar]:
        return self._warmup

    async def batches(self) -> AsyncIterator[Sequence[QuoteTick]]:
        while True:
            yield self._step()
            await self._sleep(self._pause_seconds)

    def _run_warmup(self) -> Sequence[Bar]:
        bars: list[Bar] = []
        builder = BarBuilder(self.bar_seconds)
        while len(bars) < WARMUP_BARS * len(self._symbols):
            bars += [bar for quote in self._step() if (bar := builder.add(quote)) is not None]
        return bars

    def _step(self) -> Sequence[QuoteTick]:
        """Advance the market by one step and quote everything."""
        self._elapsed_seconds += self._step_seconds
        if self._elapsed_seconds > SESSION_SECONDS:
            self._elapsed_seconds = 0.0
            self._day = next_session_day(self._day)
            self._price *= np.exp(self._beta * self._rng.normal(0.0, _OVERNIGHT_VOLATILITY))
        self._price *= np.exp(self._returns())
        moment = session_open(self._day) + timedelta(seconds=self._elapsed_seconds)
        time = moment.astimezone(UTC)
        last = np.round(self._price / _TICK) * _TICK
        half_spread = np.maximum(_TICK, np.round(last * 5e-5 / _TICK) * _TICK)
        volume = np.round(self._rng.gamma(2.0, 1e7 * self._step_seconds / 60.0 / last))
        return [
            QuoteTick(s, time, round(p, 2), round(p - h, 2), round(p + h, 2), v)
            for s, p, h, v in zip(self._symbols, last.tolist(), half_spread.tolist(), volume.tolist(), strict=True)
        ]

    def _returns(self) -> NDArray[np.float64]:
        step_years = self._step_seconds / SESSION_SECONDS / TRADING_DAYS_PER_YEAR
        shock = self._rng.standard_normal()
        scale = np.sqrt(step_years) * self._session_shape()
        market = _MARKET_VOLATILITY * np.sqrt(self._variance_factor) * scale * shock
        self._variance_factor = (
            1.0 - _GARCH_ALPHA - _GARCH_BETA + self._variance_factor * (_GARCH_ALPHA * shock * shock + _GARCH_BETA)
        )
        sectors = np.append(self._rng.standard_normal(self._sector_count) * _SECTOR_VOLATILITY * scale, 0.0)
        own = self._rng.standard_normal(len(self._symbols)) * self._own_volatility * scale
        returns: NDArray[np.float64] = self._beta * market + sectors[self._sector_index] + own
        return returns

    def _session_shape(self) -> float:
        """Volatility over the session relative to its mean: 1.6 at open and close, 0.7 at noon."""
        position = 2.0 * self._elapsed_seconds / SESSION_SECONDS - 1.0
        return 0.7 + 0.9 * position * position
