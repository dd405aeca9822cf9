"""Bars built from quotes.

Bars cover the session, 09:15 to 15:30 IST, in intervals counted from its opening (as Indian charts are: an hour's bar
starts at 09:15, 10:15, …). A bar ends with its interval or with the session, so that a day's bar is the session's. A
quote stamped 15:30:00 is the session's last. Quotes outside the session make no bars: before it, feeds repeat
yesterday's close.

A quote of a bar that is still open is merged whatever the order inside the bar: open is the price of the earliest
market time, close of the latest. One of a bar that has closed is left out and counted. A bar closes with the first
quote of a later one of the same symbol, or by the clock (`close_until`), whichever comes first. An interval without
a quote has no bar.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from engines.market.calendar import IST, SESSION_OPEN, SESSION_SECONDS
from engines.market.quotes import DAY_SECONDS, Bar, QuoteTick

STANDARD_INTERVALS_SECONDS = (1, 60, 300, DAY_SECONDS)
_IST_OFFSET_SECONDS = 19_800  # +05:30, the whole year since 1945
_OPENS_AT = SESSION_OPEN.hour * 3_600 + SESSION_OPEN.minute * 60


class _OpenBar:
    """A bar being built. Times are seconds since 1970."""

    __slots__ = ("close", "earliest", "end", "high", "latest", "low", "open", "start", "symbol", "time", "volume")

    def __init__(self, quote: QuoteTick, moment: float, start: float, end: float, time: datetime) -> None:
        self.symbol = quote.symbol
        self.start, self.end, self.time = start, end, time
        self.earliest = self.latest = moment
        self.open = self.high = self.low = self.close = quote.last
        self.volume = quote.volume

    def bar(self) -> Bar:
        return Bar(self.symbol, self.time, self.open, self.high, self.low, self.close, self.volume)


class BarBuilder:
    """Bars of one length. `late` counts the quotes that came after their bar had closed, `outside_session` those that
    belong to no session. Raises `ValueError` for an interval that is not 1 to 86,400 seconds."""

    def __init__(self, interval_seconds: int) -> None:
        if not 1 <= interval_seconds <= DAY_SECONDS:
            raise ValueError(f"a bar is {interval_seconds} seconds long, it must be 1 to {DAY_SECONDS}")
        self.interval_seconds = interval_seconds
        self.late = 0
        self.outside_session = 0
        self._open: dict[str, _OpenBar] = {}
        self._closed_until: dict[str, float] = {}
        self._by_end: dict[float, dict[str, _OpenBar]] = {}
        self._moment = -1.0  # of the interval below
        self._start = self._end = -1.0
        self._time = datetime.fromtimestamp(0, IST)

    def add(self, quote: QuoteTick) -> Bar | None:
        """Take a quote; the bar that it closes, if it does."""
        return self.add_at(quote, quote.time.timestamp())

    def add_at(self, quote: QuoteTick, moment: float) -> Bar | None:
        """As `add`, with the quote's time in seconds since 1970, for who adds it to several builders."""
        if moment != self._moment:
            self._find_interval(moment)
        start = self._start
        bar = self._open.get(quote.symbol)
        if bar is None or bar.start != start:
            return self._begin(quote, moment, bar)
        price = quote.last
        if price > bar.high:
            bar.high = price
        elif price < bar.low:
            bar.low = price
        if moment >= bar.latest:
            bar.close, bar.latest = price, moment
        elif moment < bar.earliest:
            bar.open, bar.earliest = price, moment
        bar.volume += quote.volume
        return None

    def close_until(self, now: datetime) -> list[Bar]:
        """Close the bars whose interval has ended by the market time `now`, also of symbols that are not quoted; they
        are returned in order of their start. Quotes of these bars that come later are left out."""
        until = now.timestamp()
        if not self._by_end or min(self._by_end) > until:
            return []
        closed: list[Bar] = []
        for end in sorted(end for end in self._by_end if end <= until):
            for symbol, bar in self._by_end.pop(end).items():
                del self._open[symbol]
                self._closed_until[symbol] = end
                closed.append(bar.bar())
        return closed

    def drop_after(self, moment: datetime) -> None:
        """Forget the open bars that start after the moment: their quotes had a wrong time."""
        after = moment.timestamp()
        for bar in [bar for bar in self._open.values() if bar.start > after]:
            self._remove(bar)

    def forget(self, symbols: Iterable[str]) -> None:
        """Drop what is kept of symbols that are quoted no more, open bars too."""
        for symbol in symbols:
            bar = self._open.get(symbol)
            if bar is not None:
                self._remove(bar)
            self._closed_until.pop(symbol, None)

    def _begin(self, quote: QuoteTick, moment: float, before: _OpenBar | None) -> Bar | None:
        """Open a bar, unless the quote is late or outside the session; the bar that was open."""
        symbol, start = quote.symbol, self._start
        if start < 0:
            self.outside_session += 1
            return None
        if start < (self._closed_until.get(symbol, 0.0) if before is None else before.start):
            self.late += 1
            return None
        if before is not None:
            self._remove(before)
            self._closed_until[symbol] = before.end
        bar = _OpenBar(quote, moment, start, self._end, self._time)
        self._open[symbol] = bar
        self._by_end.setdefault(self._end, {})[symbol] = bar
        return None if before is None else before.bar()

    def _remove(self, bar: _OpenBar) -> None:
        del self._open[bar.symbol]
        of_end = self._by_end[bar.end]
        del of_end[bar.symbol]
        if not of_end:
            del self._by_end[bar.end]

    def _find_interval(self, moment: float) -> None:
        self._moment = moment
        into_day = (moment + _IST_OFFSET_SECONDS) % DAY_SECONDS
        into_session = into_day - _OPENS_AT
        if not 0 <= into_session <= SESSION_SECONDS:
            self._start = -1.0
            return
        opening = moment - into_session
        length = min(self.interval_seconds, SESSION_SECONDS)
        index = min(into_session // length, -(-SESSION_SECONDS // length) - 1)  # 15:30:00 ends the last bar
        start = round(opening + index * length)
        if start != self._start:
            self._start = float(start)
            self._end = float(min(start + length, round(opening) + SESSION_SECONDS))
            self._time = datetime.fromtimestamp(start, IST)


class MultiBarBuilder:
    """Bars of several lengths from the same quotes. Each length counts the quotes it leaves out in its `BarBuilder`."""

    def __init__(self, intervals_seconds: Iterable[int] = STANDARD_INTERVALS_SECONDS) -> None:
        self.builders: Mapping[int, BarBuilder] = {
            seconds: BarBuilder(seconds) for seconds in sorted(set(intervals_seconds))
        }
        self._adders = [(seconds, builder.add_at) for seconds, builder in self.builders.items()]

    def add(self, quotes: Sequence[QuoteTick]) -> dict[int, list[Bar]]:
        """Take quotes in the order they came; the bars that they close, by interval, with a list for every interval."""
        closed: dict[int, list[Bar]] = {seconds: [] for seconds in self.builders}
        moments = [quote.time.timestamp() for quote in quotes]
        for seconds, add_at in self._adders:
            bars = closed[seconds]
            for quote, moment in zip(quotes, moments, strict=True):
                bar = add_at(quote, moment)
                if bar is not None:
                    bars.append(bar)
        return closed

    def close_until(self, now: datetime) -> dict[int, list[Bar]]:
        """As `BarBuilder.close_until`, by interval, with a list for every interval."""
        return {seconds: builder.close_until(now) for seconds, builder in self.builders.items()}

    def drop_after(self, moment: datetime) -> None:
        for builder in self.builders.values():
            builder.drop_after(moment)

    def forget(self, symbols: Iterable[str]) -> None:
        gone = list(symbols)
        for builder in self.builders.values():
            builder.forget(gone)
