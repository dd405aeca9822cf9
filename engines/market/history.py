"""Bars of the past, by symbol, as columns: what is computed over many bars at once works on these."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from engines.market.quotes import Bar

Column: TypeAlias = npt.NDArray[np.float64]
Matrix: TypeAlias = npt.NDArray[np.float64]  # rows by columns
Flags: TypeAlias = npt.NDArray[np.bool_]
Times: TypeAlias = npt.NDArray[np.int64]  # seconds since 1970
Indexes: TypeAlias = npt.NDArray[np.int64]  # positions in something else

_PRICES = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True, slots=True, eq=False)
class BarSeries:
    """One symbol's bars in order of time, no time twice. `times`: seconds since 1970 at which each bar starts."""

    symbol: str
    times: Times
    open: Column
    high: Column
    low: Column
    close: Column
    volume: Column

    def __len__(self) -> int:
        return len(self.times)

    def part(self, start: int | None, stop: int | None) -> BarSeries:
        """The bars `start:stop`, as views of these."""
        columns = (getattr(self, name)[start:stop] for name in ("times", *_PRICES))
        return BarSeries(self.symbol, *columns)

    def bars(self) -> Iterator[Bar]:
        """The bars one by one; their times are UTC."""
        rows = zip(*(getattr(self, name).tolist() for name in ("times", *_PRICES)), strict=True)
        for time, *prices in rows:
            yield Bar(self.symbol, datetime.fromtimestamp(time, UTC), *prices)


History: TypeAlias = Mapping[str, BarSeries]


def history_of(bars: Iterable[Bar]) -> dict[str, BarSeries]:
    """By symbol. Bars may come in any order; of two of the same symbol and time the later one given counts."""
    rows: defaultdict[str, dict[int, tuple[float, ...]]] = defaultdict(dict)
    for bar in bars:
        prices = (bar.open, bar.high, bar.low, bar.close, bar.volume)
        rows[bar.symbol][int(bar.time.timestamp())] = prices
    return {symbol: _series(symbol, of_symbol) for symbol, of_symbol in rows.items()}


def _series(symbol: str, rows: Mapping[int, tuple[float, ...]]) -> BarSeries:
    times = np.array(sorted(rows), dtype=np.int64)
    values = np.array([rows[time] for time in times.tolist()], dtype=np.float64)
    return BarSeries(symbol, times, *np.ascontiguousarray(values.T))


class _Packed(msgspec.Struct, array_like=True):
    symbol: str
    times: bytes
    prices: tuple[bytes, ...]


def pack(history: History) -> bytes:
    """As bytes, for another process of this machine."""
    return msgspec.msgpack.encode(
        [
            _Packed(s.symbol, s.times.tobytes(), tuple(getattr(s, name).tobytes() for name in _PRICES))
            for s in history.values()
        ]
    )


def digest_of(history: History) -> str:
    """SHA-256, in hex, of all bars: the same whatever order the symbols come in, another if one number differs.
    Symbols without bars do not count."""
    return hashlib.sha256(
        pack({symbol: history[symbol] for symbol in sorted(history) if len(history[symbol])})
    ).hexdigest()


def unpack(packed: bytes) -> dict[str, BarSeries]:
    """What `pack` packed. Raises `msgspec.DecodeError` for anything else."""
    return {each.symbol: _unpacked(each) for each in msgspec.msgpack.decode(packed, type=list[_Packed])}


def _unpacked(packed: _Packed) -> BarSeries:
    columns = packed.times, *packed.prices
    if len(packed.prices) != len(_PRICES) or any(len(c) % 8 or len(c) != len(packed.times) for c in columns):
        raise msgspec.DecodeError(f"{packed.symbol}: its columns are not of one length")
    times, *prices = columns
    return BarSeries(
        packed.symbol,
        np.frombuffer(times, dtype=np.int64),
        *(np.frombuffer(column, dtype=np.float64) for column in prices),
    )
