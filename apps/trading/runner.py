"""Drives the trading engines with market data. What they find is written and published by the desk, the signal room,
the option board and the bookkeeping."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import date, datetime

from django.utils import timezone

from apps.streaming.audience import watched
from apps.streaming.background import every
from apps.streaming.runtime import runtime
from apps.streaming.threads import in_engine_thread
from apps.trading import bookkeeping, headlines, services, topics
from apps.trading.desk.desk import TradingDesk
from apps.trading.desk.fence import TermOver
from apps.trading.mood import Mood
from apps.trading.option_board import OptionBoard
from apps.trading.signal_room import SignalRoom
from engines.market.calendar import IST
from engines.market.data import MarketData, MarketUpdate
from engines.market.instruments import Instrument

log = logging.getLogger(__name__)

REQUESTS_SECONDS = 0.1
WATCH_SECONDS = 1.0
MARK_SECONDS = 0.25  # pnl_update at most four times a second
RISK_SECONDS = 1.0
SLOW_SECONDS = 10.0  # value at risk; what open signals have seen
OPTIONS_SECONDS = 1.0
SENTIMENT_SECONDS = 2.0
PRUNE_SECONDS = 600.0
TRADED = ("index", "equity")  # kinds that strategies and sentiment look at


class Every:
    """True once per period of real time."""

    def __init__(self, seconds: float, monotonic: Callable[[], float]) -> None:
        self._seconds = seconds
        self._monotonic = monotonic
        self._due = monotonic()

    def __call__(self) -> bool:
        now = self._monotonic()
        if now < self._due:
            return False
        self._due = now + self._seconds
        return True


class TradingRunner:
    """One per process that runs engines. `start` once, then it follows the market."""

    def __init__(self, market: MarketData) -> None:
        monotonic = runtime().clock.monotonic
        self._market = market
        self._desk = TradingDesk(quotes=market.quotes, previous_close=market.previous_close)
        self._signals = SignalRoom(market, self._desk)
        self._options = OptionBoard(market)
        self._mood = Mood(market)
        self._market_day: date | None = None
        self._listed = -1
        self._followed: tuple[Instrument, ...] = ()
        self._periodic: list[tuple[Every, Callable[[datetime], object]]] = [
            (Every(seconds, monotonic), work)
            for seconds, work in (
                (MARK_SECONDS, self._desk.mark),
                (RISK_SECONDS, lambda _: self._desk.check_risk()),
                (OPTIONS_SECONDS, self._options.publish),
                (SENTIMENT_SECONDS, lambda _: self._publish_mood()),
                (SLOW_SECONDS, lambda _: self._desk.value_risk(self._options.deltas)),
                (SLOW_SECONDS, lambda _: self._signals.save()),
                (PRUNE_SECONDS, _prune),
            )
        ]

    async def start(self) -> None:
        """Go on from what the database holds."""
        await in_engine_thread(self._begin)()
        self._market.listen(self.on_market)
        log.info("trading engines follow the %s", self._market.feed.description)

    async def run(self) -> None:
        """What happens by the clock, also while no quote comes: new orders, cancellations, who watches."""
        await asyncio.gather(
            every(REQUESTS_SECONDS, in_engine_thread(self._take_requests)),
            every(WATCH_SECONDS, self._look_who_watches),
            every(WATCH_SECONDS, self._close_bars),
        )

    async def stop(self) -> None:
        """Nothing to give back: everything is written already."""

    async def on_market(self, update: MarketUpdate) -> None:
        """Take the quotes of one instant."""
        await in_engine_thread(self._on_market)(update)

    def _begin(self) -> None:
        feed = self._market.feed
        same_market = self._desk.begin(feed.description)
        bookkeeping.forget_market()
        if same_market:
            prices, market_time = bookkeeping.where_it_stopped()
            if market_time is not None:
                feed.resume(prices, market_time)
        self._list_instruments()
        self._signals.begin(same_market=same_market)
        for bar in feed.warmup():
            self._options.add_bar(bar)

    def _list_instruments(self) -> None:
        feed = self._market.feed
        if feed.listed == self._listed:
            return
        self._listed = feed.listed
        services.register_instruments(feed.instruments, services.source_of(feed))
        self._desk.set_instruments(feed.instruments)
        self._options.set_instruments(feed.instruments)
        followed = tuple(instrument for instrument in feed.instruments if instrument.kind in TRADED)
        if followed != self._followed:  # contracts come and go far more often
            self._followed = followed
            self._signals.follow(followed)
            self._mood.follow(followed)

    def _on_market(self, update: MarketUpdate) -> None:
        now = self._market.market_time
        if now is None:
            return
        self._list_instruments()
        day = now.astimezone(IST).date()
        if day != self._market_day and not self._start_day(day, now):
            return  # nothing is right before the day has begun: the next quotes try again
        self._options.add_quotes(update.quotes)
        for bar in update.closed_bars:
            self._options.add_bar(bar)
        _guarded(lambda: self._desk.on_quotes(update.quotes, now))
        _guarded(lambda: self._signals.on_market(update, now))
        for due, work in self._periodic:
            if due():
                _guarded(lambda work=work: work(now))

    def _start_day(self, day: date, now: datetime) -> bool:
        """Whether the books are in the day now."""
        if not _guarded(lambda: self._desk.start_day(day, now)):
            return False
        began, self._market_day = self._market_day, day
        if began is not None:
            _guarded(lambda: self._options.end_day(began))
        return True

    def _publish_mood(self) -> None:
        self._mood.publish(self._options.pcr, self._options.volatility_index, timezone.now())

    def _take_requests(self) -> None:
        """At a live market's time: also when it is silent, and after it has closed."""
        now = runtime().clock.now() if self._market.feed.is_live else self._market.market_time
        self._signals.paused = self._desk.paused = self._market.is_stale or self._market.ended
        _guarded(lambda: self._desk.take_requests(now))

    async def _close_bars(self) -> None:
        """A live market's bars end by the clock, also when nothing is traded, or the session is over."""
        if self._market.feed.is_live:
            await self._market.close_until(runtime().clock.now())

    async def _look_who_watches(self) -> None:
        user_ids = self._desk.user_ids
        looking = await watched(topics.pnl, user_ids) | await watched(topics.portfolio, user_ids)
        await in_engine_thread(self._desk.watch)(looking)
        self._options.watched = frozenset(await watched(topics.user_options, user_ids))


def _prune(market_time: datetime) -> None:
    now = timezone.now()
    bookkeeping.prune(now)
    headlines.prune(now)
    services.drop_expired_instruments(market_time.astimezone(IST).date())


def _guarded(step: Callable[[], object]) -> bool:
    """One engine's trouble must not stop the others; the next quotes try again. Whether it went well."""
    try:
        step()
    except TermOver:
        log.warning("another process runs the engines: these write nothing until they stop")
    except Exception:
        # Nothing of the step counts: it was one transaction, and memory is read from the database anew.
        log.exception("an engine's step failed; it is tried again")
    else:
        return True
    return False
