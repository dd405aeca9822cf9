"""The market of one expiry's options, as arrays by strike."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import date
from functools import cached_property

import msgspec
import numpy as np

from engines.market.instruments import Instrument, OptionType
from engines.market.quotes import QuoteTick
from engines.options.black76 import Array, Flags

GREATEST = 1e12
"""No price, open interest or volume is believed from here on."""
LEAST = 1e-6
"""No spot, forward or strike below this is."""


class SideQuotes(msgspec.Struct, frozen=True, dict=True):
    """The calls, or the puts: one item per strike. NaN or 0 is a price, interest or size that is not quoted; what is
    not positive or not finite is read as that. `volume` is the day's."""

    bid: Array
    ask: Array
    last: Array
    open_interest: Array
    volume: Array
    bid_size: Array
    ask_size: Array

    @cached_property
    def two_sided(self) -> Flags:
        """Has a bid and an ask that do not cross."""
        return (self.bid > 0) & (self.ask >= self.bid) & (self.ask < GREATEST)

    @cached_property
    def middle(self) -> Array:
        """Between bid and ask, NaN where not `two_sided`."""
        return np.where(self.two_sided, self._bid_or_0 / 2 + np.minimum(self.ask, GREATEST) / 2, math.nan)

    @cached_property
    def spread(self) -> Array:
        """Ask less bid, NaN where not `two_sided`."""
        return np.where(self.two_sided, np.minimum(self.ask, GREATEST) - self._bid_or_0, math.nan)

    @cached_property
    def price(self) -> Array:
        """The middle; else the last price, brought within the one side that is quoted; else NaN."""
        last = np.where((self.last > 0) & (self.last < GREATEST), self.last, math.nan)
        floor = self._bid_or_0
        ceiling = np.where(self.ask > 0, self.ask, GREATEST)
        within = np.where(floor <= ceiling, np.clip(last, floor, np.maximum(floor, ceiling)), last)
        return np.where(self.two_sided, self.middle, within)

    @cached_property
    def _bid_or_0(self) -> Array:
        return np.where((self.bid > 0) & (self.bid < GREATEST), self.bid, 0.0)

    @classmethod
    def of(cls, ticks: Iterable[QuoteTick | None], volumes: Mapping[str, float]) -> SideQuotes:
        """Of ticks in the order of the strikes, None where there is none."""
        rows = [
            _NOTHING
            if tick is None
            else (
                tick.bid,
                tick.ask,
                tick.last,
                tick.open_interest,
                volumes.get(tick.symbol, 0.0),
                tick.bid_size,
                tick.ask_size,
            )
            for tick in ticks
        ]
        return cls(*np.array(rows, dtype=np.float64).reshape(len(rows), 7).T.copy())


_NOTHING = (math.nan, math.nan, math.nan, 0.0, 0.0, 0.0, 0.0)


class ChainQuotes(msgspec.Struct, frozen=True):
    """One expiry's options. `strikes` rise strictly and are positive and finite, every array of a side is as long;
    raises `ValueError`. A `spot` that is not known is NaN."""

    underlying: str
    expiry: date
    spot: float
    strikes: Array
    calls: SideQuotes
    puts: SideQuotes

    def __post_init__(self) -> None:
        strikes = self.strikes
        believed = strikes.ndim == 1 and bool(np.all((strikes >= LEAST) & (strikes < GREATEST)))
        if not believed or not bool(np.all(np.diff(strikes) > 0)):
            raise ValueError(f"strikes must be positive, finite and strictly rising, came {strikes!r}")
        for side in (self.calls, self.puts):
            for name in side.__struct_fields__:
                shape = getattr(side, name).shape
                if shape != strikes.shape:
                    raise ValueError(f"{name} has shape {shape}, the strikes have {strikes.shape}")

    @classmethod
    def of(
        cls,
        underlying: str,
        expiry: date,
        spot: float,
        quotes: Mapping[str, QuoteTick],
        instruments: Iterable[Instrument],
        *,
        volumes: Mapping[str, float] | None = None,
    ) -> ChainQuotes:
        """From the latest ticks by symbol. Instruments of other underlyings, expiries or kinds are passed over; an
        option without a tick is one without a quote. `volumes` is the day's volume by symbol: a tick only says what
        traded since the tick before; without it volumes are 0."""
        symbols: dict[OptionType, dict[float, str]] = {"CE": {}, "PE": {}}
        for instrument in instruments:
            if (
                instrument.underlying == underlying
                and instrument.expiry == expiry
                and instrument.strike is not None
                and instrument.option_type is not None
            ):
                symbols[instrument.option_type][float(instrument.strike)] = instrument.symbol
        strikes = sorted(symbols["CE"].keys() | symbols["PE"].keys())
        calls, puts = (
            SideQuotes.of((quotes.get(symbols[side].get(strike, "")) for strike in strikes), volumes or {})
            for side in ("CE", "PE")
        )
        return cls(underlying, expiry, spot, np.array(strikes, dtype=np.float64), calls, puts)
