"""One feed for a whole process: its good quotes and closed bars, handed to everyone who computes on them."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, time, timedelta

import msgspec

from engines.market.bars import STANDARD_INTERVALS_SECONDS, MultiBarBuilder
from engines.market.calendar import IST
from engines.market.feeds.base import Feed
from engines.market.instruments import Instrument
from engines.market.quality import QuoteFilter
from engines.market.quotes import Bar, QuoteTick

STALE_SECONDS = 30.0
# Symbols of one feed are stamped a little apart: a bar waits so long, in market time, for what is still on its way.
GRACE = timedelta(seconds=2)
_BEFORE_EVERYTHING = datetime.min.replace(tzinfo=UTC)

log = logging.getLogger(__name__)


class MarketUpdate(msgspec.Struct, frozen=True):
    """The good quotes of one instant, and the bars that closed with it: `closed_bars` of the feed's own length, `bars`
    of all lengths, by seconds. One of the two may be empty."""

    quotes: Sequence[QuoteTick]
    closed_bars: Sequence[Bar]
    bars: Mapping[int, Sequence[Bar]] = msgspec.field(default_factory=dict)


Listener = Callable[[MarketUpdate], Awaitable[None]]


class MarketData:
    """Runs a feed. Listeners are called one after the other, in order of time; a slow one holds the market up.

    Quotes pass a `QuoteFilter` first. A good quote that is older than the symbol's newest still counts in its bar (see
    `bars`), but is not handed out: a price does not go back. `monotonic` is seconds of a clock that never goes back.
    """

    def __init__(self, feed: Feed, monotonic: Callable[[], float]) -> None:
        self.feed = feed
        self.last_quote_monotonic: float | None = None
        self.ended = False
        self.previous_close: dict[str, float] = {}
        """Of the market day before, by symbol: as the feed says, else the last price before the day changed, or of the
        feed's warm-up. Absent where none of them is known."""
        self._monotonic = monotonic
        self._started_monotonic: float | None = None
        self._filter = QuoteFilter(self._instrument)
        self._bars = MultiBarBuilder({*STANDARD_INTERVALS_SECONDS, feed.bar_seconds})
        self._listeners: list[Listener] = []
        self._instruments: dict[str, Instrument] = {}
        self._listed: Sequence[Instrument] = ()
        self._day_ends = _BEFORE_EVERYTHING  # the midnight (IST) that ends the market day
        self._rebased = 0

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)

    @property
    def quotes(self) -> Mapping[str, QuoteTick]:
        """The newest good quote of each symbol. A live view, which the market changes: copy what is to stay."""
        return self._filter.latest

    @property
    def rejected(self) -> Mapping[str, int]:
        """How many quotes were kept away, by reason (see `quality`)."""
        return self._filter.rejected

    @property
    def late(self) -> Mapping[int, int]:
        """How many quotes came after their bar had closed, by the bar's length in seconds."""
        return {seconds: builder.late for seconds, builder in self._bars.builders.items()}

    @property
    def market_time(self) -> datetime | None:
        """The newest good market time; None before the first quote."""
        return self._filter.market_time

    @property
    def quote_age_seconds(self) -> float | None:
        """Since the last good quote; None before the first."""
        return None if self.last_quote_monotonic is None else self._monotonic() - self.last_quote_monotonic

    @property
    def is_stale(self) -> bool:
        """No good quote for 30 seconds, or since the feed was started. A feed that has ended is not stale. It knows no
        session: a live feed is stale over night."""
        since = self._started_monotonic if self.last_quote_monotonic is None else self.last_quote_monotonic
        return not self.ended and since is not None and self._monotonic() - since > STALE_SECONDS

    async def run(self) -> None:
        """Until the feed ends (then `ended` is true) or the task is cancelled."""
        if self._started_monotonic is None:
            self._started_monotonic = self._monotonic()
        async for quotes in self.feed.batches():
            await self._tell(self.take(quotes))
        if self.market_time is not None:
            await self.close_until(self.market_time)
        self.ended = True
        log.info("the %s has ended", self.feed.description)

    def take(self, quotes: Sequence[QuoteTick]) -> MarketUpdate:
        """Sort the quotes of one instant into good and bad, keep what is kept of them, and close the bars that end."""
        latest, admit, previous_close = self._filter.latest, self._filter.admit, self.previous_close
        good: list[QuoteTick] = []
        newest: list[QuoteTick] = []
        for quote in quotes:
            before = latest.get(quote.symbol)
            if not admit(quote):
                continue
            good.append(quote)
            if quote.time >= self._day_ends:
                self._begin_day(quote, before)
            if quote.previous_close > 0.0:
                previous_close[quote.symbol] = quote.previous_close
            if latest[quote.symbol] is quote:
                newest.append(quote)
        if self._filter.rebased != self._rebased:
            self._rebase()
        bars = self._bars.add(good)
        if good:
            self.last_quote_monotonic = self._monotonic()
            market_time = self._filter.market_time
            if market_time is not None:
                for seconds, closed in self._bars.close_until(market_time - GRACE).items():
                    bars[seconds] += closed
        return MarketUpdate(newest, bars[self.feed.bar_seconds], bars)

    async def close_until(self, now: datetime) -> None:
        """Close the bars that have ended by the market time `now`, and tell the listeners: for a live feed that has
        fallen silent. Quotes of these bars that come later are left out."""
        bars = self._bars.close_until(now)
        await self._tell(MarketUpdate((), bars[self.feed.bar_seconds], bars))

    async def _tell(self, update: MarketUpdate) -> None:
        if not update.quotes and not any(update.bars.values()):
            return
        for listener in self._listeners:
            try:
                await listener(update)
            except Exception:
                # One engine's bug must not stop the market for the others.
                log.exception("an engine failed on the quotes of %s", self.market_time)

    def _begin_day(self, first: QuoteTick, before: QuoteTick | None) -> None:
        """The last prices become the previous closes; what has expired is forgotten."""
        day = first.time.astimezone(IST).date()
        if self._day_ends is _BEFORE_EVERYTHING:
            closes = {bar.symbol: bar.close for bar in self.feed.warmup() if bar.time.astimezone(IST).date() < day}
        else:
            closes = {symbol: quote.last for symbol, quote in self._filter.latest.items() if quote is not first}
            if before is not None:
                closes[first.symbol] = before.last
        self.previous_close.update(closes)
        self._day_ends = datetime.combine(day + timedelta(days=1), time(), IST)
        self._instrument("")  # reads the feed's list anew where that has changed
        expired = [i.symbol for i in self._instruments.values() if i.expiry is not None and i.expiry < day]
        self._filter.forget(expired)
        self._bars.forget(expired)
        for symbol in expired:
            self.previous_close.pop(symbol, None)

    def _rebase(self) -> None:
        """A wrong stamp had put the market's time forward: go back to what is true."""
        self._rebased = self._filter.rebased
        if self._filter.market_time is not None:
            self._bars.drop_after(self._filter.market_time)
            day = self._filter.market_time.astimezone(IST).date()
            self._day_ends = datetime.combine(day + timedelta(days=1), time(), IST)
        log.warning("a quote was stamped in the future; the market's time is %s again", self._filter.market_time)

    def _instrument(self, symbol: str) -> Instrument | None:
        listed = self.feed.instruments
        if symbol not in self._instruments and (listed is not self._listed or len(listed) != len(self._instruments)):
            self._instruments = {instrument.symbol: instrument for instrument in listed}
            self._listed = listed
        return self._instruments.get(symbol)
