"""The bars of a backtest: those of its symbols and days, in the order in which they became known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from engines.backtest.spec import BacktestSpec
from engines.market.history import BarSeries, Column, History, Indexes, Times
from engines.market.quotes import DAY_SECONDS, Bar
from engines.trading.book import LARGEST_PRICE, PLACES

MIN_BAR_TIMES = 60
_IST_OFFSET_SECONDS = 19_800  # +05:30, the whole year since 1945
EPOCH = date(1970, 1, 1)


class BacktestFailed(ValueError):
    """The bars cannot be tested on. The message is for the user."""


class Moment(NamedTuple):
    """The bars that start at one time, in the order of their symbols."""

    time: datetime
    bars: Sequence[Bar]


@dataclass(frozen=True, slots=True, eq=False)
class HistoricalMarket:
    """`series`: the bars of the tested days, by symbol, in the order of the symbols; `earlier`: those before. `days`:
    market days (IST) that have a bar. `bar_seconds`: the smallest distance of two bars, a day at most."""

    series: Mapping[str, BarSeries]
    earlier: Mapping[str, BarSeries]
    days: tuple[date, ...]
    bar_seconds: int

    def moments(self) -> Iterator[tuple[date, list[Moment]]]:
        """Day by day, all moments in order."""
        times = np.concatenate([series.times for series in self.series.values()])
        codes = np.concatenate([np.full(len(series), code) for code, series in enumerate(self.series.values())])
        order = np.lexsort((codes, times))
        bars = [series.bars() for series in self.series.values()]
        rows = zip(day_numbers(times[order]).tolist(), times[order].tolist(), codes[order].tolist(), strict=True)
        for number, of_day in groupby(rows, key=itemgetter(0)):
            yield EPOCH + timedelta(days=number), list(_moments(of_day, bars))


def _moments(rows: Iterator[tuple[int, int, int]], bars: Sequence[Iterator[Bar]]) -> Iterator[Moment]:
    # A symbol's rows are in order of time, so its next bar is always the one that the row means.
    for time, of_time in groupby(rows, key=itemgetter(1)):
        yield Moment(datetime.fromtimestamp(time, UTC), [next(bars[code]) for _, _, code in of_time])


def historical_market(
    history: History, spec: BacktestSpec, probabilities: Mapping[str, Column] | None = None
) -> HistoricalMarket:
    """What `spec` asks for. With `probabilities`, all symbols are those that have some, and the first day is that on
    which the first is known: a model is not measured on what it says nothing of. Raises `BacktestFailed`, and
    `ValueError` for probabilities that do not fit the bars."""
    known = history if probabilities is None else {s: bars for s, bars in history.items() if s in probabilities}
    symbols = sorted(set(spec.symbols) or set(known))
    unknown = [symbol for symbol in symbols if symbol not in history]
    if unknown:
        raise BacktestFailed(f"there are no bars of {', '.join(unknown)[:200]}; there are of {_some(history)}")
    strange = [symbol for symbol in symbols if symbol not in known]
    if strange:
        raise BacktestFailed(f"the model was not trained on {', '.join(strange)[:200]}, but on {_some(known)}")
    start, end = spec.start or date.min, spec.end or date.max
    spoken = None if probabilities is None else _first_spoken(history, symbols, probabilities, start, end)
    start = max(start, spoken or start)
    series, earlier, days = {}, {}, set[int]()
    for symbol in symbols:
        whole = history[symbol]
        _check_prices(whole)
        first, stop = _rows(whole.times, start, end)
        if first < stop:
            part = series[symbol] = whole.part(first, stop)
            earlier[symbol] = whole.part(None, first)
            days.update(np.unique(day_numbers(part.times)).tolist())
        elif spec.symbols:
            raise BacktestFailed(f"{symbol} has no bars {_between(spec)}")
    times = np.unique(np.concatenate([part.times for part in series.values()])) if series else np.empty(0, np.int64)
    if len(times) < MIN_BAR_TIMES:
        raise BacktestFailed(_too_few(len(times), history, symbols, spec, spoken))
    gaps = [int(np.diff(history[symbol].times).min()) for symbol in series if len(history[symbol]) > 1]
    bar_seconds = min([DAY_SECONDS, *gaps])
    return HistoricalMarket(series, earlier, tuple(EPOCH + timedelta(days=n) for n in sorted(days)), bar_seconds)


def day_numbers(times: Times) -> Indexes:
    """The market day (IST) of each time, as days since 1970."""
    return (times + _IST_OFFSET_SECONDS) // DAY_SECONDS


def _rows(times: Times, start: date, end: date) -> tuple[int, int]:
    """The rows `first:stop` of these days."""
    bounds = np.array([(start - EPOCH).days, (end - EPOCH).days + 1])
    first, stop = np.searchsorted(day_numbers(times), bounds)
    return int(first), int(stop)


def _first_spoken(
    history: History, symbols: Sequence[str], probabilities: Mapping[str, Column], start: date, end: date
) -> date:
    found = []
    for symbol in symbols:
        times, known = history[symbol].times, probabilities[symbol]
        if len(known) != len(times):
            raise ValueError(
                f"probabilities of {symbol}: got {len(known)}, needed is one for each of its {len(times)} bars"
            )
        first, stop = _rows(times, start, end)
        spoken = np.flatnonzero(np.isfinite(known[first:stop]))
        if len(spoken):
            found.append(int(day_numbers(times[first + spoken[:1]])[0]))
    if not found:
        raise BacktestFailed(
            "the model predicts nothing out of sample in these days: what it was trained on cannot be tested on"
        )
    return EPOCH + timedelta(days=min(found))


def _check_prices(series: BarSeries) -> None:
    for name in ("open", "high", "low", "close"):
        prices: Column = getattr(series, name)
        wrong = np.flatnonzero(~((prices >= float(PLACES)) & (prices <= float(LARGEST_PRICE))))
        if len(wrong):
            row = int(wrong[0])
            when = datetime.fromtimestamp(int(series.times[row]), UTC)
            raise BacktestFailed(
                f"the {name} of {series.symbol} at {when:%Y-%m-%d %H:%M} UTC is {prices[row]:g}: "
                f"a price is from {PLACES} to 10^12"
            )


def _too_few(found: int, history: History, symbols: Sequence[str], spec: BacktestSpec, spoken: date | None) -> str:
    needed = f"at least {MIN_BAR_TIMES} are needed"
    if spoken is not None:
        before = spec.start or date.min, spoken - timedelta(days=1)
        silent = [_rows(history[symbol].times, *before) for symbol in symbols]
        if any(first < stop for first, stop in silent):
            until = f" until {spec.end}" if spec.end else ""
            return (
                f"the model speaks out of sample only from {spoken}: {found} trading times{until}, {needed}; test later"
                " days, give the model more bars, or train it with a smaller min_train_share"
            )
    return f"{found} trading times {_between(spec)}, {needed}"


def _between(spec: BacktestSpec) -> str:
    since = f"from {spec.start} " if spec.start else ""
    return f"{since}until {spec.end}" if spec.end else f"{since}until now"


def _some(history: History) -> str:
    names = sorted(history)
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "") or "nothing"
