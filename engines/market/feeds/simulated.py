"""A simulated NSE-like market: seeded, correlated, with volatility that clusters and a session's shape.

Log returns of a step are `beta * market + loading * sector + own`; the market's variance follows GARCH(1,1)
(Bollerslev 1986), and all of it is scaled by a U-shaped curve over the session, high at open and close. Options on the
indices: `option_market`.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

import msgspec
import numpy as np
from numpy.typing import NDArray

from engines.market.bars import BarBuilder
from engines.market.calendar import (
    IST,
    SESSION_SECONDS,
    TRADING_DAYS_PER_YEAR,
    is_session_day,
    next_session_day,
    previous_session_day,
    session_open,
)
from engines.market.feeds.base import Sleep
from engines.market.feeds.option_market import OptionMarket
from engines.market.instruments import NSE_UNIVERSE, Instrument
from engines.market.quotes import Bar, QuoteTick

INTERVAL_SECONDS = 0.25
OPTION_SECONDS = 1.0  # of real time, from one quote of the options to the next
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
_OVERNIGHT_YEARS = (_OVERNIGHT_VOLATILITY / _MARKET_VOLATILITY) ** 2  # trading time with as much variance
_TICK = 0.05


class SimulatedFeed:
    """Implements `Feed`. The same seed, start and speed make the same market, with or without `options` on its indices.

    It goes on from the close of the session before `start`, at usual prices, or from where `resume` says; the warm-up
    is what led there. Raises `ValueError` (when first read) for days of whose options the reference data knows nothing.
    """

    description = "simulated NSE-like market"
    simulated = True
    is_live = False
    bar_seconds = 60

    def __init__(self, *, start: date, sleep: Sleep, speed: float = 60.0, seed: int = 7, options: bool = True) -> None:
        self._sleep = sleep
        self._seed = seed
        self._with_options = options
        self._step_seconds = max(1.0, INTERVAL_SECONDS * speed)
        self._pause_seconds = self._step_seconds / speed
        self._option_steps = max(1, math.ceil(OPTION_SECONDS / self._pause_seconds - 1e-9))
        self._symbols = [instrument.symbol for instrument in NSE_UNIVERSE]
        level, beta, own = (np.array(column) for column in zip(*(_PARAMETERS[s] for s in self._symbols), strict=True))
        self._beta, self._own_volatility = beta, own
        sectors = sorted({instrument.sector for instrument in NSE_UNIVERSE if instrument.sector})
        self._sector_index = np.array(
            [sectors.index(i.sector) if i.sector else len(sectors) for i in NSE_UNIVERSE], dtype=np.intp
        )
        self._sector_count = len(sectors)
        self._from = _Standing(previous_session_day(start), float(SESSION_SECONDS))
        self._from_prices: NDArray[np.float64] = level.astype(np.float64)
        self._instruments: Sequence[Instrument] = NSE_UNIVERSE
        self._listed = 0
        self._warmup: Sequence[Bar] | None = None
        self._running = False

    @property
    def instruments(self) -> Sequence[Instrument]:
        """The indices and equities, then the options."""
        self._get_ready()
        return self._instruments

    @property
    def listed(self) -> int:
        self._get_ready()
        return self._listed

    def resume(self, prices: Mapping[str, float], market_time: datetime) -> None:
        """Go on from these prices; symbols that are not among the indices and equities are ignored (options are priced
        anew), and those that are missing start from their usual price. A time outside of sessions counts as the close
        before it. Raises `ValueError` for a price that is none, and `RuntimeError` once quotes have been made."""
        if self._running:
            raise RuntimeError("the market runs already; resume comes before batches")
        known = {place: prices[symbol] for place, symbol in enumerate(self._symbols) if symbol in prices}
        for place, price in known.items():
            if not 0 < price < math.inf:
                raise ValueError(f"the price of {self._symbols[place]} is {price}, it must be positive and finite")
        for place, price in known.items():
            self._from_prices[place] = price
        local = market_time.astimezone(IST)
        elapsed = (local - session_open(local.date())).total_seconds()
        if is_session_day(local.date()) and elapsed >= 0:
            self._from = _Standing(local.date(), min(elapsed, float(SESSION_SECONDS)))
        else:
            self._from = _Standing(previous_session_day(local.date()), float(SESSION_SECONDS))
        self._warmup = None

    def warmup(self) -> Sequence[Bar]:
        """120 one-minute bars of the indices and equities, which end at the prices the market goes on from."""
        return self._get_ready()

    async def batches(self) -> AsyncIterator[Sequence[QuoteTick]]:
        self._get_ready()
        self._running = True
        while True:
            yield self._step()
            await self._sleep(self._pause_seconds)

    def _get_ready(self) -> Sequence[Bar]:
        """Run the warm-up, the first time, and list the options."""
        if self._warmup is not None:
            return self._warmup
        self._rng = np.random.default_rng(self._seed)
        self._variance_factor = 1.0
        self._price = self._from_prices.copy()
        self._previous_close = np.zeros(len(self._price))
        self._steps = 0
        self._option_sessions = self._option_night_years = 0.0
        bars = self._run_warmup()
        self._options = OptionMarket(self._seed) if self._with_options else None
        if self._options is not None:
            following = self._at.after(self._step_seconds)
            same_day = following.day == self._at.day
            self._options.list_contracts(following.day, self._spots(self._previous_close if same_day else self._price))
            self._options.recentre(following.day, self._spots(self._price), self._spots(self._previous_close))
            self._list()
        self._warmup = bars
        return bars

    def _run_warmup(self) -> Sequence[Bar]:
        """Walk to where the market goes on from, then scale the walk so that its last whole bar closes at those
        prices."""
        walk, closes = [self._from], 0
        count = (WARMUP_BARS + 1) * max(1, math.ceil(self.bar_seconds / self._step_seconds))
        while len(walk) <= count:
            walk.append(walk[-1].before(self._step_seconds))
        if walk[-1].day == self._from.day:  # the close of the day before is to be known
            walk += [_Standing(self._from.day, 0.0), _Standing(previous_session_day(self._from.day), SESSION_SECONDS)]
            closes = 2
        self._at = walk.pop()
        builder = BarBuilder(self.bar_seconds)
        bars: list[Bar] = []
        for number, standing in enumerate(reversed(walk), start=1):
            self._move(standing)
            if number >= closes:
                bars += [bar for quote in self._quotes() if (bar := builder.add(quote)) is not None]
        bars = [*bars, *builder.close_until(self._at.moment)][-WARMUP_BARS * len(self._symbols) :]
        last_close = {bar.symbol: bar.close for bar in bars}
        factor = self._from_prices / np.array([last_close[symbol] for symbol in self._symbols])
        self._previous_close = _on_tick(self._previous_close * factor)
        self._price = self._from_prices.copy()
        scales = dict(zip(self._symbols, factor.tolist(), strict=True))
        return [_scaled(bar, scales[bar.symbol]) for bar in bars]

    def _step(self) -> Sequence[QuoteTick]:
        """Advance the market by one step and quote the indices and equities, and in every so many steps the options."""
        following = self._at.after(self._step_seconds)
        new_day = following.day != self._at.day
        before = self._spots(self._price)
        self._move(following)
        quotes = self._quotes()
        options = self._options
        if options is None:
            return quotes
        if new_day:
            self._option_night_years += _OVERNIGHT_YEARS
        else:
            self._option_sessions += self._step_seconds / SESSION_SECONDS
        changed = new_day and options.list_contracts(following.day, before)
        if self._steps % self._option_steps == 0:
            spots = self._spots(self._price)
            changed |= options.recentre(following.day, spots, self._spots(self._previous_close))
            quotes += options.quote(following.moment, spots, self._option_sessions, self._option_night_years)
            self._option_sessions = self._option_night_years = 0.0
        self._steps += 1
        if changed:
            self._list()
        return quotes

    def _list(self) -> None:
        if self._options is not None:
            self._instruments = [*NSE_UNIVERSE, *self._options.instruments]
            self._listed += 1

    def _spots(self, prices: NDArray[np.float64]) -> dict[str, float]:
        return dict(zip(self._symbols, _on_tick(prices).tolist(), strict=True))

    def _move(self, to: _Standing) -> None:
        """The prices of a later instant of the same session, or of one of the next."""
        seconds = to.elapsed_seconds - self._at.elapsed_seconds
        if to.day != self._at.day:
            self._previous_close = _on_tick(self._price)
            self._price = self._price * np.exp(self._beta * self._rng.normal(0.0, _OVERNIGHT_VOLATILITY))
            seconds = max(to.elapsed_seconds, self._step_seconds)
        self._at = to
        self._price = self._price * np.exp(self._returns(seconds))

    def _quotes(self) -> list[QuoteTick]:
        time = self._at.moment
        last = _on_tick(self._price)
        half_spread = np.maximum(_TICK, _on_tick(last * 5e-5))
        volume = np.round(self._rng.gamma(2.0, 1e7 * self._step_seconds / 60.0 / last))
        sizes = self._rng.integers(50, 2_000, (2, len(last)), endpoint=True).tolist()
        columns = (last.tolist(), half_spread.tolist(), volume.tolist(), *sizes, self._previous_close.tolist())
        return [
            QuoteTick(s, time, round(p, 2), round(p - h, 2), round(p + h, 2), v, bids, asks, 0, round(close, 2))
            for s, p, h, v, bids, asks, close in zip(self._symbols, *columns, strict=True)
        ]

    def _returns(self, seconds: float) -> NDArray[np.float64]:
        shock = self._rng.standard_normal()
        scale = np.sqrt(_years(seconds)) * self._session_shape()
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
        position = 2.0 * self._at.elapsed_seconds / SESSION_SECONDS - 1.0
        return 0.7 + 0.9 * position * position


class _Standing(msgspec.Struct, frozen=True):
    """An instant of a session: its day, and seconds since its opening, 0 to `SESSION_SECONDS`."""

    day: date
    elapsed_seconds: float

    @property
    def moment(self) -> datetime:
        return (session_open(self.day) + timedelta(seconds=self.elapsed_seconds)).astimezone(UTC)

    def after(self, seconds: float) -> _Standing:
        if self.elapsed_seconds + seconds <= SESSION_SECONDS:
            return _Standing(self.day, self.elapsed_seconds + seconds)
        return _Standing(next_session_day(self.day), 0.0)

    def before(self, seconds: float) -> _Standing:
        if self.elapsed_seconds >= seconds:
            return _Standing(self.day, self.elapsed_seconds - seconds)
        return _Standing(previous_session_day(self.day), float(SESSION_SECONDS))


def _years(seconds: float) -> float:
    """Trading time, in years of 252 sessions."""
    return seconds / SESSION_SECONDS / TRADING_DAYS_PER_YEAR


def _on_tick(prices: NDArray[np.float64]) -> NDArray[np.float64]:
    rounded: NDArray[np.float64] = np.round(np.round(prices / _TICK) * _TICK, 2)
    return rounded


def _scaled(bar: Bar, factor: float) -> Bar:
    opened, high, low, close = _on_tick(np.array([bar.open, bar.high, bar.low, bar.close]) * factor).tolist()
    return Bar(bar.symbol, bar.time, opened, high, low, close, bar.volume)
