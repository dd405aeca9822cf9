"""The bars that models look at: the latest in memory, as columns, and a longer past in the database.

Kept are shares and indices (of contracts there are hundreds, each for some weeks), in the feed's own length of bars and
those that a model is made for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from django.db import transaction
from django.db.models import Min

from apps.ai_studio import models
from apps.streaming.feeds import shipped_bars_path
from engines.learning.features import WINDOW_BARS
from engines.market.calendar import IST, SESSION_SECONDS, is_session_day, session_close, session_open
from engines.market.data import MarketData
from engines.market.feeds.replay import load_bars
from engines.market.history import BarSeries, History, history_of
from engines.market.quotes import Bar

KEPT_BARS = 5_000  # per symbol and length, in the database
MAX_UNWRITTEN = 50_000  # while the database is away; the oldest go first
FOLLOWED = ("index", "equity")
_ROWS_PER_STATEMENT = 1_000
_LONGEST_ABSENCE = timedelta(days=30)  # beyond it nobody counts sessions
_PRICES = ("open", "high", "low", "close", "volume")
_KEY = ("market", "seconds", "symbol", "time")

_Length = tuple[int, str]  # seconds and symbol


class BarStore:
    """The bars of one market. `begin` once; then `take` what closes, and `write` it: all in one thread, but for
    `wants`."""

    def __init__(self, market: MarketData) -> None:
        self._feed = market.feed
        self._market = market.feed.description[:80]
        self.lengths: frozenset[int] = frozenset({market.feed.bar_seconds})
        """Seconds of the bars that are kept."""
        self._needed: frozenset[int] = frozenset()
        self._listed = -1
        self._symbols: frozenset[str] = frozenset()
        self._windows: dict[_Length, _Window] = {}
        self._broken_at: dict[_Length, int] = {}
        self._now: datetime | None = None  # the latest time that is known
        self._unwritten: dict[tuple[int, str, datetime], models.StoredBar] = {}

    def begin(self, now: datetime) -> None:
        """Go on from what is stored of this market, and from the feed's warm-up. `now` is the wall clock's time.

        A market that is not live goes on where its warm-up ends; what was stored of a later time is deleted: it was
        another run, and training on it would be looking into the future. The market's newest bar is written anew, so
        that `bars_for` finds the market that runs."""
        followed = self._followed()
        warmup = [bar for bar in self._feed.warmup() if bar.symbol in followed]
        stored = models.StoredBar.objects.filter(market=self._market)
        with transaction.atomic():
            if warmup and not self._feed.is_live:
                stored.filter(time__gt=max(bar.time for bar in warmup)).delete()
            models.StoredBar.objects.bulk_create(
                (self._row(self._feed.bar_seconds, bar) for bar in warmup),
                ignore_conflicts=True,  # what the market did before counts, not how a simulation says that it began
                batch_size=_ROWS_PER_STATEMENT,
            )
            newest = stored.order_by("-time").first()
            if newest is not None:
                newest.delete()
                newest.pk = None
                newest.save(force_insert=True)
        self._now = now
        self._windows.clear()
        self._broken_at.clear()
        self.refresh()
        for seconds in self.lengths:
            for symbol in sorted(followed):
                self._window(seconds, symbol)

    def refresh(self) -> None:
        """Look which lengths are needed: a model may have come."""
        of_market = models.Model.objects.filter(data_source=models.DataSource.MARKET)
        wanted = of_market.order_by().values_list("bar_seconds", flat=True).distinct()
        self.lengths = frozenset({self._feed.bar_seconds, *wanted}) | self._needed
        for key in [key for key in self._windows if key[0] not in self.lengths]:
            del self._windows[key]  # should it be needed again, bars will be missing

    def need(self, lengths: Iterable[int]) -> None:
        """Keep bars of these lengths, too: models predict on them, or predicted and have no outcome yet."""
        needed = frozenset(lengths)
        if needed != self._needed:
            self._needed = needed
            self.refresh()

    def wants(self, closed: Mapping[int, Sequence[Bar]]) -> bool:
        """Whether any of these bars, by seconds, are of a length that is kept."""
        return any(bars and seconds in self.lengths for seconds, bars in closed.items())

    def take(self, closed: Mapping[int, Sequence[Bar]]) -> dict[int, list[Bar]]:
        """Remember the bars that closed. Returns those that are kept, by seconds."""
        followed = self._followed()
        kept = {
            seconds: [bar for bar in bars if bar.symbol in followed]
            for seconds, bars in closed.items()
            if seconds in self.lengths
        }
        for seconds, bars in kept.items():
            for bar in bars:
                self._unwritten[seconds, bar.symbol, bar.time] = self._row(seconds, bar)
        while len(self._unwritten) > MAX_UNWRITTEN:
            del self._unwritten[next(iter(self._unwritten))]
        times = [bar.time for bars in kept.values() for bar in bars]
        self._now = max(times if self._now is None else [*times, self._now], default=None)
        for seconds, bars in kept.items():
            for bar in bars:
                self._window(seconds, bar.symbol).append(bar)
        return {seconds: bars for seconds, bars in kept.items() if bars}

    def write(self) -> None:
        """Store what was taken. What could not be stored is stored with the next."""
        if not self._unwritten:
            return
        models.StoredBar.objects.bulk_create(
            self._unwritten.values(),
            update_conflicts=True,  # a market that went back in time makes its bars anew
            unique_fields=_KEY,
            update_fields=_PRICES,
            batch_size=_ROWS_PER_STATEMENT,
        )
        self._unwritten.clear()

    def series(self, seconds: int, symbols: Iterable[str]) -> dict[str, BarSeries]:
        """The latest bars, at most `WINDOW_BARS`, of those symbols that have any."""
        followed = self._followed() if seconds in self.lengths else ()
        windows = ((symbol, self._window(seconds, symbol)) for symbol in symbols if symbol in followed)
        return {symbol: window.series(symbol) for symbol, window in windows if len(window)}

    def first_time(self) -> datetime | None:
        """When the earliest stored bar of this market began."""
        stored = models.StoredBar.objects.filter(market=self._market)
        time: datetime | None = stored.aggregate(first=Min("time"))["first"]
        return time

    def is_unbroken_since(self, seconds: int, symbol: str, time: datetime) -> bool:
        """Whether no bar of the symbol was missed after the one that began at `time`, while no engines ran."""
        broken_at = self._broken_at.get((seconds, symbol))
        return broken_at is None or time.timestamp() > broken_at

    def prune(self) -> None:
        """Keep the latest `KEPT_BARS` of each symbol and length of this market."""
        for seconds, symbol in list(self._windows):
            rows = models.StoredBar.objects.filter(market=self._market, seconds=seconds, symbol=symbol)
            times = rows.order_by("-time").values_list("time", flat=True)
            for time in times[KEPT_BARS : KEPT_BARS + 1]:
                rows.filter(time__lte=time).delete()

    def _followed(self) -> frozenset[str]:
        listed = self._feed.listed
        if listed != self._listed:
            self._symbols = frozenset(i.symbol for i in self._feed.instruments if i.kind in FOLLOWED)
            self._listed = listed
        return self._symbols

    def _window(self, seconds: int, symbol: str) -> _Window:
        window = self._windows.get((seconds, symbol))
        if window is None:
            window = _Window()
            rows = models.StoredBar.objects.filter(market=self._market, seconds=seconds, symbol=symbol)
            for row in reversed(list(rows.order_by("-time")[:WINDOW_BARS])):
                window.append(row)
            self._windows[seconds, symbol] = window
            if self._feed.is_live and self._now is not None and window.missed_since(self._now, seconds):
                self._broken_at[seconds, symbol] = window.last_time
        return window

    def _row(self, seconds: int, bar: Bar) -> models.StoredBar:
        prices = {name: getattr(bar, name) for name in _PRICES}
        return models.StoredBar(market=self._market, symbol=bar.symbol, seconds=seconds, time=bar.time, **prices)


class _Window:
    """One symbol's latest bars. Columns of twice the length, so that moving them is rare."""

    def __init__(self) -> None:
        self._times = np.empty(2 * WINDOW_BARS, dtype=np.int64)
        self._prices = np.empty((len(_PRICES), 2 * WINDOW_BARS))
        self._end = 0

    def __len__(self) -> int:
        return min(self._end, WINDOW_BARS)

    @property
    def last_time(self) -> int:
        return int(self._times[self._end - 1])

    def append(self, bar: Bar | models.StoredBar) -> None:
        """Bars of the same time or a later one are forgotten: the market went back."""
        time = int(bar.time.timestamp())
        if self._end and time <= self.last_time:
            self._end = int(np.searchsorted(self._times[: self._end], time))
        if self._end == len(self._times):
            self._times[:WINDOW_BARS] = self._times[WINDOW_BARS:]
            self._prices[:, :WINDOW_BARS] = self._prices[:, WINDOW_BARS:]
            self._end = WINDOW_BARS
        self._times[self._end] = time
        self._prices[:, self._end] = [getattr(bar, name) for name in _PRICES]
        self._end += 1

    def series(self, symbol: str) -> BarSeries:
        """A copy: the window moves on."""
        kept = slice(self._end - len(self), self._end)
        return BarSeries(symbol, self._times[kept].copy(), *self._prices[:, kept].copy())

    def missed_since(self, now: datetime, seconds: int) -> bool:
        """Whether the market was open for a whole bar or longer between the last bar's end and `now`."""
        if not self._end:
            return False
        bar = timedelta(seconds=min(seconds, SESSION_SECONDS))
        return _open_between(datetime.fromtimestamp(self.last_time, UTC) + bar, now) >= bar


def _open_between(start: datetime, end: datetime) -> timedelta:
    """For how long the session ran."""
    if end - start > _LONGEST_ABSENCE:
        return _LONGEST_ABSENCE
    total, day = timedelta(), start.astimezone(IST).date()
    while day <= end.astimezone(IST).date():
        if is_session_day(day):
            total += max(timedelta(), min(end, session_close(day)) - max(start, session_open(day)))
        day += timedelta(days=1)
    return total


# Training, from any process


def bars_for(model: models.Model, *, on_symbol: Callable[[], object] = lambda: None) -> History:
    """What the model is trained and backtested on: all bars of its source, of its length and its symbols; of all
    symbols when it names none. A symbol without bars is missing. Of several markets, the one that began or stored last
    counts.

    `on_symbol` is called before each symbol's bars are read from the database, while no query is under way: it may
    write, and raise."""
    if model.data_source == models.DataSource.SHIPPED:
        path = shipped_bars_path()
        history: History = _shipped(path, path.stat().st_mtime_ns)
        return {symbol: series for symbol, series in history.items() if not model.symbols or symbol in model.symbols}
    newest = models.StoredBar.objects.order_by("-pk").first()
    if newest is None:
        return {}
    of_length = models.StoredBar.objects.filter(market=newest.market, seconds=model.bar_seconds)
    rows = of_length.filter(pk__lte=newest.pk).order_by("time")  # the market goes on meanwhile
    stored = of_length.order_by("symbol").values_list("symbol", flat=True).distinct()
    found = {}
    for symbol in sorted(model.symbols or stored):
        on_symbol()
        values = rows.filter(symbol=symbol).values_list("time", *_PRICES)
        if values:
            found[symbol] = _series(symbol, values)
    return found


@lru_cache(maxsize=1)
def _shipped(path: Path, mtime_ns: int) -> History:  # noqa: ARG001 - a changed file is read anew
    return history_of(load_bars(path).bars)


def _series(symbol: str, rows: Iterable[tuple[Any, ...]]) -> BarSeries:
    taken = [(row[0].timestamp(), *row[1:]) for row in rows]
    columns = np.ascontiguousarray(np.array(taken, dtype=np.float64).T)
    return BarSeries(symbol, columns[0].astype(np.int64), *columns[1:])
