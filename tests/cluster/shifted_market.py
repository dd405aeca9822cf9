"""Daily bars to replay: as they were, then a market that moves four times as far each day."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Iterator
from datetime import date, timedelta
from itertools import islice
from pathlib import Path

from engines.market.feeds.replay import load_bars

STRETCH = 4.0
SYMBOLS = ("AAPL", "IBM", "MSFT")


def write_bars(shipped: Path, path: Path, *, calm_days: int, wild_days: int) -> None:
    """The first `calm_days` of the shipped bars, then the following `wild_days` with every move stretched."""
    by_day = defaultdict(list)
    for bar in load_bars(shipped).bars:
        if bar.symbol in SYMBOLS:
            by_day[bar.time.date()].append(bar)
    days = [bars for bars in by_day.values() if len(bars) == len(SYMBOLS)][: calm_days + wild_days]
    before: dict[str, tuple[float, float]] = {}  # the real close, and the close that was written
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("date", "symbol", "open", "high", "low", "close", "volume"))
        for number, (day, bars) in enumerate(zip(_weekdays(len(days)), days, strict=True)):
            for bar in bars:
                real, written = before.get(bar.symbol, (bar.open, bar.open))
                stretch = STRETCH if number >= calm_days else 1.0
                # What a stretched trend adds up to is taken out again, so that prices stay prices.
                centre = written * (bar.open / written) ** 0.02 if stretch > 1 else written
                prices = [
                    centre * math.exp(stretch * math.log(p / real)) for p in (bar.open, bar.high, bar.low, bar.close)
                ]
                before[bar.symbol] = bar.close, prices[-1]
                rows.writerow((day, bar.symbol, *(f"{price:.4f}" for price in prices), bar.volume))


def _weekdays(count: int) -> Iterator[date]:
    days = (date(2020, 1, 6) + timedelta(days=n) for n in range(2 * count + 2))
    return islice((day for day in days if day.weekday() < 5), count)
