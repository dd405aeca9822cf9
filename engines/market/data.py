"""One feed for a whole process: its quotes and closed bars, handed to everyone who computes on them."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from engines.market.feeds.base import Feed
from engines.market.quotes import Bar, BarBuilder, QuoteTick

log = logging.getLogger(__name__)


class MarketUpdate(msgspec.Struct, frozen=True):
    """The quotes of one instant, and the bars that they closed."""

    quotes: Sequence[QuoteTick]
    closed_bars: Sequence[Bar]


Listener = Callable[[MarketUpdate], Awaitable[None]]


class MarketData:
    """Runs a feed. Listeners are called one after the other, in order of time; a slow one holds the market up."""

    def __init__(self, feed: Feed, monotonic: Callable[[], float]) -> None:
        self.feed = feed
        self.last_quote_monotonic: float | None = None
        self.ended = False
        self._monotonic = monotonic
        self._builder = BarBuilder(feed.bar_seconds)
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)

    @property
    def quote_age_seconds(self) -> float | None:
        """Since the last quote; None before the first."""
        return None if self.last_quote_monotonic is None else self._monotonic() - self.last_quote_monotonic

    async def run(self) -> None:
        """Until the feed ends (then `ended` is true) or the task is cancelled."""
        async for quotes in self.feed.batches():
            self.last_quote_monotonic = self._monotonic()
            bars = [bar for quote in quotes if (bar := self._builder.add(quote)) is not None]
            update = MarketUpdate(quotes, bars)
            for listener in self._listeners:
                try:
                    await listener(update)
                except Exception:
                    # One engine's bug must not stop the market for the others.
                    log.exception("an engine failed on the quotes of %s", quotes[0].time)
        self.ended = True
        log.info("the %s has ended", self.feed.description)
