"""A modelled option market on simulated indices: quotes from a volatility surface, with sizes, volume, open interest.

Fair value is Black-76 on the forward (the spot carried at `RATE`) with the volatility of a moving, arbitrage-free
surface (see `volatility_surface`). Bid and ask are the ticks outside fair value ± half a spread, so that fair value,
and with it every no-arbitrage relation, lies between them. Nobody sends orders here: sizes, volume and open interest
are drawn, not traded; see docs/explanation/engines/simulated-market.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal

import msgspec
import numpy as np
from numpy.typing import NDArray

from engines.market.calendar import TRADING_DAYS_PER_YEAR, expiries, previous_session_day, session_close
from engines.market.feeds.volatility_surface import SurfaceParameters, VolatilitySurface
from engines.market.instruments import Instrument, option_instruments
from engines.market.quotes import QuoteTick
from engines.market.reference_data import strike_step
from engines.options.black76 import greeks
from engines.options.chain import RATE

Array = NDArray[np.float64]
EXPIRIES = 2
STRIKES_EACH_SIDE = 20
RECENTRE_STRIKES = 10
TICK = 0.05
SURFACES: Mapping[str, SurfaceParameters] = {
    "NIFTY": SurfaceParameters(level=0.13, long_level=0.145, index_volatility=0.13),
    "BANKNIFTY": SurfaceParameters(level=0.16, long_level=0.17, index_volatility=0.16, skew=-0.35),
}
_SECONDS_PER_YEAR = 365 * 86_400.0
_LEAST_SECONDS = 1.0  # at the closing of its last day an option still has a price
# Half a spread is (_HALF_TICK + _HALF_SHARE of the price) x (1 + _WIDENING x standard deviations from the money).
_HALF_TICK, _HALF_SHARE, _WIDENING, _MOST_DEVIATIONS = 0.05, 0.002, 0.5, 5.0
# Lots at the money, in the nearest expiry and the one after: traded per session, and open.
_LOTS_PER_SESSION = (400_000.0, 60_000.0)
_OPEN_LOTS = (120_000.0, 50_000.0)
_OPENING_SHARE = 0.08  # of what trades, by how much open interest changes (one standard deviation)
_OPEN_REVERSION = 0.5  # per session, of open interest to its usual size
_ROUND_STRIKES = ((10, 2.5), (2, 1.4))  # a multiple of so many strike steps attracts so much more
_IN_THE_MONEY = 0.4  # and in the money so much less
_MEDIAN_LOTS_QUOTED = 12.0


class _Rows(msgspec.Struct, frozen=True):
    """What is fixed of the listed contracts: one item per contract."""

    instruments: Sequence[Instrument]
    symbols: Sequence[str]
    chain: NDArray[np.intp]  # position in `chains`
    chains: Sequence[tuple[str, date]]
    strikes: Array
    is_call: NDArray[np.bool_]
    lots: NDArray[np.int64]
    attraction: Array  # of the strike, by how round it is
    nearness: NDArray[np.intp]  # 0 of the nearest expiry, 1 of the next


class _Fair(msgspec.Struct, frozen=True):
    price: Array
    deviations: Array  # standard deviations from the forward to the strike, signed


class OptionMarket:
    """Options on the indices of `SURFACES`: the two nearest expiries, 41 strikes around the spot, calls and puts.

    `list_contracts` says which at the start of a day and `recentre` as the spot moves; `quote` advances the market and
    quotes all of them. The same seed and calls make the same quotes.
    """

    def __init__(self, seed: int) -> None:
        self.instruments: Sequence[Instrument] = ()
        self._rng = np.random.default_rng([seed, 76])
        self._surfaces = {underlying: VolatilitySurface(parameters) for underlying, parameters in SURFACES.items()}
        self._centres: dict[tuple[str, date], Decimal] = {}
        self._spots: dict[str, float] = {}
        self._rows = _rows_of([])
        self._last = self._previous_close = np.zeros(0)
        self._open = np.zeros(0)  # open interest in lots

    def list_contracts(self, day: date, spots: Mapping[str, float]) -> bool:
        """The contracts of the market day `day`, before its first quote; `spots` are the closes of the session before.
        What has expired goes, the last prices of the others become their previous closes, new ones start from their
        fair value at that close. Whether anything changed. Raises `ValueError` for days that `reference_data` does not
        know."""
        self._previous_close = np.where(self._last > 0, self._last, self._previous_close)
        current = [(underlying, expiry) for underlying in SURFACES for expiry in expiries(underlying, day, EXPIRIES)]
        kept = [i for i in self.instruments if (i.underlying, i.expiry) in current]
        self._centres = {chain: centre for chain, centre in self._centres.items() if chain in current}
        new = [chain for chain in current if chain not in self._centres]
        return self._relist(kept, new, day, spots) | self.recentre(day, spots, spots)

    def recentre(self, day: date, spots: Mapping[str, float], closes: Mapping[str, float]) -> bool:
        """List the strikes around the spot where it has moved by more than 10 of them; the others stay. `closes` are
        those of the session before. Whether anything changed."""
        moved = [
            (underlying, expiry)
            for (underlying, expiry), centre in self._centres.items()
            if abs(spots[underlying] - float(centre)) > RECENTRE_STRIKES * float(strike_step(underlying, day))
        ]
        return bool(moved) and self._relist(self.instruments, moved, day, spots, closes)

    def quote(
        self, moment: datetime, spots: Mapping[str, float], sessions: float, night_years: float = 0.0
    ) -> list[QuoteTick]:
        """Quotes of everything that is listed, after `sessions` (a fraction of one) of trading since the last ones, and
        a night that counts as `night_years` of trading for the volatility, but in which nothing trades."""
        years = sessions / TRADING_DAYS_PER_YEAR + night_years
        for underlying, surface in self._surfaces.items():
            index_return = math.log(spots[underlying] / self._spots.get(underlying, spots[underlying]))
            surface.advance(index_return, years, self._rng.standard_normal())
        self._spots = {underlying: spots[underlying] for underlying in SURFACES}
        rows, rng, count = self._rows, self._rng, len(self._rows.symbols)
        fair = self._fair(rows, spots, moment)
        distance = np.minimum(np.abs(fair.deviations), _MOST_DEVIATIONS)
        half = (_HALF_TICK + _HALF_SHARE * fair.price) * (1 + _WIDENING * distance)
        bid = np.maximum(np.floor((fair.price - half) / TICK), 0.0)  # in ticks, as all until the end
        ask = np.maximum(np.ceil((fair.price + half) / TICK), bid + 1)
        traded_at = np.round((fair.price + half * rng.uniform(-0.8, 0.8, count)) / TICK)
        last = np.clip(traded_at, np.maximum(bid, 1.0), ask)
        activity = _activity(rows, fair.deviations)
        volume = rng.poisson(activity * np.take(_LOTS_PER_SESSION, rows.nearness) * sessions)
        self._open = self._change_open_interest(activity, volume, sessions)
        sizes = np.ceil(_MEDIAN_LOTS_QUOTED * (0.2 + activity) * rng.lognormal(0.0, 0.7, (2, count)))
        sizes = sizes.astype(np.int64) * rows.lots
        self._last = last * TICK
        time = moment.astimezone(UTC)
        columns = (
            np.round(self._last, 2),
            np.round(bid * TICK, 2),
            np.round(ask * TICK, 2),
            (volume * rows.lots).astype(np.float64),
            np.where(bid > 0, sizes[0], 0),
            sizes[1],
            self._open.astype(np.int64) * rows.lots,
            np.round(self._previous_close, 2),
        )
        return [
            QuoteTick(symbol, time, *values)
            for symbol, *values in zip(rows.symbols, *(column.tolist() for column in columns), strict=True)
        ]

    def _fair(self, rows: _Rows, spots: Mapping[str, float], moment: datetime) -> _Fair:
        seconds = [(session_close(expiry) - moment).total_seconds() for _, expiry in rows.chains]
        chain_years = np.maximum(seconds, _LEAST_SECONDS) / _SECONDS_PER_YEAR
        chain_forwards = np.array([spots[underlying] for underlying, _ in rows.chains]) * np.exp(RATE * chain_years)
        years, forwards = chain_years[rows.chain], chain_forwards[rows.chain]
        log_moneyness = np.log(rows.strikes / forwards)
        volatility = np.empty(len(rows.strikes))
        deviation = np.empty(len(rows.strikes))  # of ln(spot at expiry), at the money
        for position, (underlying, _) in enumerate(rows.chains):
            its = rows.chain == position
            surface = self._surfaces[underlying]
            volatility[its] = surface.volatility(log_moneyness[its], years[its])
            deviation[its] = math.sqrt(surface.variance_at_the_money(chain_years[position : position + 1])[0])
        priced = greeks(forwards, rows.strikes, years, volatility, RATE, is_call=rows.is_call)
        return _Fair(priced.price, log_moneyness / deviation)

    def _change_open_interest(self, activity: Array, volume: NDArray[np.int64], sessions: float) -> Array:
        """Some of what trades opens or closes positions; over days it goes back to what the strike usually has."""
        usual = activity * np.take(_OPEN_LOTS, self._rows.nearness)
        opened = volume * _OPENING_SHARE * self._rng.standard_normal(len(volume))
        reverted = (usual - self._open) * -math.expm1(-_OPEN_REVERSION * sessions)
        changed: Array = np.maximum(self._open + opened + reverted, 0.0)
        return changed

    def _relist(
        self,
        kept: Sequence[Instrument],
        around_the_spot: Iterable[tuple[str, date]],
        day: date,
        spots: Mapping[str, float],
        closes: Mapping[str, float] | None = None,
    ) -> bool:
        by_symbol = {instrument.symbol: instrument for instrument in kept}
        for underlying, expiry in around_the_spot:
            step = strike_step(underlying, day)
            centre = round(Decimal(spots[underlying]) / step) * step
            self._centres[underlying, expiry] = centre
            wanted = [centre + step * n for n in range(-STRIKES_EACH_SIDE, STRIKES_EACH_SIDE + 1)]
            for new in option_instruments(underlying, expiry, (s for s in wanted if s > 0), day):
                by_symbol.setdefault(new.symbol, new)
        before = {symbol: row for row, symbol in enumerate(self._rows.symbols)}
        if by_symbol.keys() == before.keys():
            return False
        rows = _rows_of(sorted(by_symbol.values(), key=_listing_order))
        fair = self._fair(rows, closes or spots, session_close(previous_session_day(day)))
        base = np.maximum(np.round(fair.price / TICK) * TICK, TICK)
        opening = _activity(rows, fair.deviations) * np.take(_OPEN_LOTS, rows.nearness)
        opening *= self._rng.lognormal(0.0, 0.3, len(opening))
        old = np.array([before.get(symbol, -1) for symbol in rows.symbols], dtype=np.intp)
        self._previous_close = _carried(self._previous_close, old, base)
        self._last = _carried(self._last, old, np.zeros(len(old)))
        self._open = _carried(self._open, old, opening)
        self._rows, self.instruments = rows, rows.instruments
        return True


def _carried(values: Array, old: NDArray[np.intp], fresh: Array) -> Array:
    """The values of contracts that were listed before, at their new places, and fresh ones of the others."""
    if not len(values):
        return fresh
    carried: Array = np.where(old >= 0, values[old], fresh)
    return carried


def _listing_order(instrument: Instrument) -> tuple[int, date, Decimal, str]:
    place = list(SURFACES).index(instrument.underlying)
    return place, instrument.expiry or date.max, instrument.strike or Decimal(0), instrument.option_type or ""


def _rows_of(instruments: Sequence[Instrument]) -> _Rows:
    of_chain = [(i.underlying, i.expiry) for i in instruments if i.expiry is not None]
    chains = sorted(set(of_chain))
    nearest = dict(reversed(chains))
    strikes = np.array([float(i.strike or 0) for i in instruments])
    steps = np.array([float(strike_step(i.underlying, i.expiry)) for i in instruments if i.expiry is not None])
    attraction = np.ones(len(strikes))
    for multiple, times in reversed(_ROUND_STRIKES):
        attraction[strikes % (multiple * steps) == 0] = times
    return _Rows(
        instruments=instruments,
        symbols=[i.symbol for i in instruments],
        chain=np.array([chains.index(chain) for chain in of_chain], dtype=np.intp),
        chains=chains,
        strikes=strikes,
        is_call=np.array([i.option_type == "CE" for i in instruments], dtype=np.bool_),
        lots=np.array([i.lot_size for i in instruments], dtype=np.int64),
        attraction=attraction,
        nearness=np.array([int(expiry != nearest[u]) for u, expiry in of_chain], dtype=np.intp),
    )


def _activity(rows: _Rows, deviations: Array) -> Array:
    """How much is done in each contract, 1 at the money: less far away and in the money, more at round strikes."""
    in_the_money = np.where(rows.is_call, deviations < -0.25, deviations > 0.25)
    width = np.maximum(np.abs(deviations) - 0.25, 0.0) / 1.5
    activity: Array = rows.attraction * np.where(in_the_money, _IN_THE_MONEY, 1.0) / (1 + width**2)
    return activity
