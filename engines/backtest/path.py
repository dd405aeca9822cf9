"""How the price is taken to have moved inside a bar, of which only four prices are known."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from itertools import pairwise

from engines.market.quotes import Bar, QuoteTick


def path_of(bar: Bar, levels: Collection[float], *, falls_first: bool) -> list[float]:
    """Opening, one extreme, the other, close. With `falls_first` the low comes before the high: whoever is long, and
    has a stop and a target in the bar, meets the stop. A level that is passed on the way is visited exactly; one that
    the opening is beyond already is not passed, and the opening is what trades.
    """
    extremes = (bar.low, bar.high) if falls_first else (bar.high, bar.low)
    path = [bar.open]
    for start, end in pairwise((bar.open, *extremes, bar.close)):
        low, high = min(start, end), max(start, end)
        path += sorted((level for level in levels if low < level < high), reverse=end < start)
        path.append(end)
    return path


def quote_at(symbol: str, time: datetime, price: float) -> QuoteTick:
    """A quote without spread and sizes: a bar knows neither. Who trades pays slippage instead."""
    return QuoteTick(symbol, time, last=price, bid=price, ask=price)
