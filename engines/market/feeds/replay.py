"""Replay of historical daily bars from CSV or Parquet.

Each bar is walked open, nearer extreme, other extreme, close: down first when it closed higher, up first when it
closed lower (the usual assumption where the order inside a bar is not known).
"""

from __future__ import annotations

import csv
import gzip
import math
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import IO, Any

import msgspec

from engines.market.calendar import SESSION_SECONDS, session_open
from engines.market.feeds.base import Sleep
from engines.market.files import BadRow, UnusableFile
from engines.market.instruments import Instrument
from engines.market.quotes import DAY_SECONDS, Bar, QuoteTick

WARMUP_DAYS = 120
DEFAULT_SPEED = float(SESSION_SECONDS)  # one trading day per second
_STEPS_PER_LEG = 4
_LEGS = 3
_HALF_SPREAD = 2e-4
MIN_PRICE, MAX_PRICE = 0.01, 1e9
_SYMBOL = re.compile(r"[A-Z0-9][A-Z0-9&_.\-]{0,39}")
_COLUMNS = ("date", "open", "high", "low", "close")


class BarFile(msgspec.Struct, frozen=True):
    """Good bars, in order of date and symbol, and the rows that were not."""

    bars: Sequence[Bar]
    bad_rows: Sequence[BadRow]


def load_bars(path: Path) -> BarFile:
    """Read `date,symbol,open,high,low,close,volume` (CSV, gzipped CSV or Parquet; any order and case of columns;
    without `symbol` the file's name is the symbol). Raises `UnusableFile`."""
    bars: dict[tuple[date, str], Bar] = {}
    bad_rows: list[BadRow] = []
    for line, row in _rows(path):
        try:
            day, bar = _bar(row, path)
        except (ValueError, TypeError, KeyError) as error:
            bad_rows.append(BadRow(path.name, line, str(error)))
            continue
        if (day, bar.symbol) in bars:
            bad_rows.append(BadRow(path.name, line, f"a second bar of {bar.symbol} on {day}"))
        else:
            bars[day, bar.symbol] = bar
    if not bars:
        first = f"; the first problem: {bad_rows[0]}" if bad_rows else ""
        raise UnusableFile(f"{path}: no row can be used{first}")
    return BarFile([bars[key] for key in sorted(bars)], bad_rows)


class ReplayFeed:
    """Implements `Feed`. It ends with the file: starting over would look like a crash of the market."""

    simulated = False
    is_live = False
    bar_seconds = DAY_SECONDS
    listed = 0

    def __init__(self, file: BarFile, *, name: str, sleep: Sleep, speed: float = DEFAULT_SPEED) -> None:
        self.description = f"replay of {name}"
        symbols = sorted({bar.symbol for bar in file.bars})
        self.instruments: Sequence[Instrument] = [Instrument(symbol, symbol, "equity") for symbol in symbols]
        self._sleep = sleep
        self._pause_seconds = SESSION_SECONDS / speed / (_LEGS * _STEPS_PER_LEG + 1)
        self._days = [list(bars) for _, bars in groupby(file.bars, key=lambda bar: bar.time)]
        self._warmup_days = min(WARMUP_DAYS, len(self._days) // 2)

    def resume(self, prices: Mapping[str, float], market_time: datetime) -> None:
        """Ignored: a replay always starts at the same bar of its file."""

    def warmup(self) -> Sequence[Bar]:
        return [bar for day in self._days[: self._warmup_days] for bar in day]

    async def batches(self) -> AsyncIterator[Sequence[QuoteTick]]:
        for day in self._days[self._warmup_days :]:
            for quotes in _walk(day):
                yield quotes
                await self._sleep(self._pause_seconds)


def _walk(day: Sequence[Bar]) -> Iterator[Sequence[QuoteTick]]:
    """One day's quotes: `_STEPS_PER_LEG` per leg, all symbols at each instant."""
    steps = _LEGS * _STEPS_PER_LEG
    opening = session_open(day[0].time.date())
    for step in range(steps + 1):
        time = (opening + timedelta(seconds=step * SESSION_SECONDS / steps)).astimezone(UTC)
        yield [_quote(bar, time, step) for bar in day]


def _quote(bar: Bar, time: datetime, step: int) -> QuoteTick:
    down_first = bar.close >= bar.open
    extremes = (bar.low, bar.high) if down_first else (bar.high, bar.low)
    points = (bar.open, *extremes, bar.close)
    leg, part = divmod(step, _STEPS_PER_LEG)
    start = points[min(leg, _LEGS)]
    end = points[min(leg + 1, _LEGS)]
    price = start + (end - start) * part / _STEPS_PER_LEG
    return QuoteTick(
        bar.symbol,
        time,
        price,
        price * (1 - _HALF_SPREAD),
        price * (1 + _HALF_SPREAD),
        bar.volume / (_LEGS * _STEPS_PER_LEG + 1),
    )


def _rows(path: Path) -> Iterable[tuple[int, Mapping[str, Any]]]:
    """Rows with lower-case column names, and the line (Parquet: the row, counted from 1) each came from."""
    try:
        if path.suffix == ".parquet":
            import pyarrow.parquet  # noqa: PLC0415 - heavy, and only for such files

            table = pyarrow.parquet.read_table(path)
            names = [name.lower() for name in table.column_names]
            _check_columns(path, names)
            yield from enumerate(table.rename_columns(names).to_pylist(), start=1)
            return
        with _open_text(path) as file:
            reader = csv.DictReader(file)
            reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
            _check_columns(path, reader.fieldnames)
            for row in reader:
                yield reader.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UnusableFile(f"{path}: {error}") from None
    except ValueError as error:
        if isinstance(error, UnusableFile):
            raise
        raise UnusableFile(f"{path}: {error}") from None  # pyarrow's errors are ValueErrors


def _open_text(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _check_columns(path: Path, names: Iterable[str]) -> None:
    missing = [column for column in _COLUMNS if column not in set(names)]
    if missing:
        raise UnusableFile(f"{path}: the column(s) {', '.join(missing)} are missing; needed are {', '.join(_COLUMNS)}")


def _bar(row: Mapping[str, Any], path: Path) -> tuple[date, Bar]:
    day = _date(row["date"])
    symbol = str(row["symbol"] if "symbol" in row else path.name.split(".")[0]).strip().upper()
    if not _SYMBOL.fullmatch(symbol):
        raise ValueError(f"symbol is {symbol[:60]!r}, it must be 1 to 40 of A-Z, 0-9, '&', '_', '.' and '-'")
    prices = {name: float(row[name]) for name in ("open", "high", "low", "close")}
    volume = float(row.get("volume") or 0)
    for name, price in prices.items():
        if not (math.isfinite(price) and MIN_PRICE <= price <= MAX_PRICE):
            raise ValueError(f"{name} is {row[name]!r}, it must be a number from {MIN_PRICE:g} to {MAX_PRICE:g}")
    if not math.isfinite(volume) or volume < 0:
        raise ValueError(f"volume is {row.get('volume')!r}, it must not be negative")
    if min(prices.values()) < prices["low"] or max(prices.values()) > prices["high"]:
        raise ValueError(f"open and close must lie between low {prices['low']:g} and high {prices['high']:g}")
    return day, Bar(symbol, session_open(day), **prices, volume=volume)


def _date(value: Any) -> date:
    if isinstance(value, datetime):
        return value.date()
    return value if isinstance(value, date) else date.fromisoformat(str(value).strip()[:10])
