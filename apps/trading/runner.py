"""Drives the trading engines with market data and publishes what they find."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, date, datetime

from django.db import DatabaseError
from django.utils import timezone

from apps.streaming.runtime import runtime
from apps.streaming.threads import in_engine_thread
from apps.trading import bookkeeping, models, option_board, services
from engines.market.calendar import IST
from engines.market.data import MarketData, MarketUpdate
from engines.options.chain import STRIKE_STEP, RealisedVolatility
from engines.trading.sentiment import sentiments
from engines.trading.signals import SignalEvent, TrendRule

log = logging.getLogger(__name__)

MARK_SECONDS = 1.0
PRUNE_SECONDS = 600.0
OPTIONS_SECONDS = 1.0
SENTIMENT_SECONDS = 2.0


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
        self._rule = TrendRule()
        self._rows: dict[int, models.Signal] = {}
        self._marker = bookkeeping.Marker()
        self._last: dict[str, float] = {}
        self._reference: dict[str, float] = {}
        self._market_day: date | None = None
        self._volatility = {
            symbol: RealisedVolatility(market.feed.bar_seconds)
            for symbol in STRIKE_STEP
            if symbol in {instrument.symbol for instrument in market.feed.instruments}
        }
        self._prune_due = Every(PRUNE_SECONDS, monotonic)
        self._mark_due = Every(MARK_SECONDS, monotonic)
        self._options_due = Every(OPTIONS_SECONDS, monotonic)
        self._sentiment_due = Every(SENTIMENT_SECONDS, monotonic)

    async def start(self) -> None:
        """Make the instruments known, tidy up after an earlier run, and warm the indicators up."""
        source = models.Instrument.Source.SIMULATED if self._market.feed.simulated else models.Instrument.Source.REPLAY
        await in_engine_thread(services.register_instruments)(self._market.feed.instruments, source)
        await in_engine_thread(bookkeeping.forget_market)()
        left_over = await in_engine_thread(bookkeeping.cancel_left_over_signals)()
        for bar in self._market.feed.warmup():
            self._rule.warm_up(bar)
            self._reference[bar.symbol] = bar.close
            if bar.symbol in self._volatility:
                self._volatility[bar.symbol].add(bar)
        self._market.listen(self.on_market)
        log.info("trading engines follow the %s (%d signals left over)", self._market.feed.description, left_over)

    async def run(self) -> None:
        """Nothing happens here by the clock alone: `on_market` does it all."""

    async def stop(self) -> None:
        """Nothing to give back."""

    async def on_market(self, update: MarketUpdate) -> None:
        """Take the quotes of one instant."""
        market_time = update.quotes[0].time
        await self._start_day(market_time)
        events = [event for quote in update.quotes for event in self._rule.on_quote(quote)]
        self._last.update((quote.symbol, quote.last) for quote in update.quotes)
        for bar in update.closed_bars:
            events += self._rule.on_bar(bar)
            if bar.symbol in self._volatility:
                self._volatility[bar.symbol].add(bar)
        if events:
            await in_engine_thread(self._record)(events, market_time)
        if self._prune_due():
            await in_engine_thread(bookkeeping.prune)(timezone.now())
        if self._mark_due():
            await in_engine_thread(self._marker.mark)(self._last)
        if self._sentiment_due():
            await in_engine_thread(bookkeeping.save_sentiments)(sentiments(self._reference, self._last))
        if self._options_due() and self._volatility:
            spots = {symbol: self._last[symbol] for symbol in self._volatility if symbol in self._last}
            volatility = {symbol: self._volatility[symbol].annualised for symbol in spots}
            await in_engine_thread(option_board.publish)(spots, volatility, market_time.astimezone(IST))

    async def _start_day(self, market_time: datetime) -> None:
        """On a new market day the last prices become the previous close, for sentiment and for the day's P&L."""
        day = market_time.astimezone(IST).date()
        if day != self._market_day:
            self._reference.update(self._last)
            self._market_day = day
            await in_engine_thread(self._marker.mark)(dict(self._reference), new_day=day)

    def _record(self, events: list[SignalEvent], market_time: datetime) -> None:
        for event in events:
            try:
                self._record_one(event, market_time)
            except DatabaseError:
                log.exception("the signal %s was lost", event)

    def _record_one(self, event: SignalEvent, market_time: datetime) -> None:
        row = self._rows.get(event.number)
        if row is None:
            self._rows[event.number] = bookkeeping.open_signal(
                event, market_time.astimezone(UTC), simulated=self._market.feed.simulated
            )
        else:
            bookkeeping.change_signal(row, event)
        if not event.is_open:
            self._rows.pop(event.number, None)
        bookkeeping.trade_on_signal(event, self._last[event.symbol])
