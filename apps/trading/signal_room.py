"""Runs the strategies: records and publishes their signals, and lets automatic accounts trade them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from uuid import uuid4

from apps.trading import bookkeeping, orders
from apps.trading.desk.desk import TradingDesk
from engines.market.data import MarketData, MarketUpdate
from engines.market.feeds.base import Feed
from engines.market.instruments import Instrument
from engines.market.quotes import DAY_SECONDS
from engines.trading.book import money
from engines.trading.calibration import Calibration
from engines.trading.signals import SignalEngine, SignalEvent
from engines.trading.strategies.base import all_strategies

POSITION_SHARE = Decimal("0.10")  # of its opening cash, what an automatic account puts on a signal


class SignalRoom:
    """The signals of one market."""

    def __init__(self, market: MarketData, desk: TradingDesk) -> None:
        self._market = market
        self._desk = desk
        self._unrecorded: deque[SignalEvent] = deque()
        self._followed: frozenset[str] = frozenset()
        self._shares: frozenset[str] = frozenset()
        self._engine = SignalEngine(
            all_strategies(),
            Calibration.load(_calibrated_on(market.feed)),
            new_id=lambda: str(uuid4()),
            bar_seconds=market.feed.bar_seconds,
        )

    def follow(self, instruments: Iterable[Instrument]) -> None:
        """Look at these shares and indices; only shares are traded, an index cannot be."""
        self._followed = frozenset(instrument.symbol for instrument in instruments)
        self._shares = frozenset(instrument.symbol for instrument in instruments if instrument.kind == "equity")

    @property
    def paused(self) -> bool:
        """Whether no new signals are opened: the feed is silent."""
        return self._engine.paused

    @paused.setter
    def paused(self, paused: bool) -> None:
        self._engine.paused = paused

    def begin(self, *, same_market: bool) -> None:
        """Warm up, and go on with the signals that were open; those of another market are cancelled."""
        for bar in self._market.feed.warmup():
            if bar.symbol in self._followed:
                self._engine.warm_up(bar)
        left = bookkeeping.open_signals()
        going_on = [event for event in left if same_market and event.symbol in self._followed]
        accepted = set(self._engine.restore(going_on))
        bookkeeping.cancel_signals([event.signal_id for event in left if event.signal_id not in accepted])

    def on_market(self, update: MarketUpdate, now: datetime) -> None:
        """Take one instant's quotes and bars. What could not be recorded is recorded with the next."""
        self._unrecorded += self._engine.on_quotes([quote for quote in update.quotes if quote.symbol in self._followed])
        for bar in update.closed_bars:
            if bar.symbol in self._followed:
                self._unrecorded += self._engine.on_bar(bar)
        while self._unrecorded:
            self.record(self._unrecorded[0], now)
            self._unrecorded.popleft()

    def record(self, event: SignalEvent, now: datetime) -> None:
        """Publish a signal's event, and place the orders that follow from it."""
        simulated = self._market.feed.simulated
        self._desk.record_and_place(
            lambda: bookkeeping.record_signal(event, simulated=simulated), self._orders(event), now
        )

    def save(self) -> None:
        """Keep what an open signal has seen so far."""
        bookkeeping.save_extremes(self._engine.open_signals)

    def _orders(self, event: SignalEvent) -> list[tuple[int, orders.NewOrder]]:
        """By user: every automatic account that watches the share goes with a new signal, and out when it ends."""
        if event.status == "ACTIVE" or event.symbol not in self._shares:
            return []
        wanted = [
            (user_id, self._wanted(event, user_id, held))
            for user_id, held in self._desk.automatic_accounts(event.symbol)
        ]
        return [
            (
                user_id,
                orders.NewOrder(
                    symbol=event.symbol,
                    side="BUY" if units > 0 else "SELL",
                    quantity=abs(units),
                    product="INTRADAY",
                    client_order_id=f"{event.signal_id}:{event.status}",
                ),
            )
            for user_id, units in wanted
            if units
        ]

    def _wanted(self, event: SignalEvent, user_id: int, held: int) -> int:
        """How many units to buy (or sell, below 0). One strategy's exit closes what the account holds the same way."""
        sign = 1 if event.direction == "BUY" else -1
        if event.status != "NEW":
            return -held if held * sign > 0 else 0
        target = sign * int(self._desk.opening_cash(user_id) * POSITION_SHARE / money(event.entry_price))
        return target - held if (target - held) * sign > 0 else 0


def _calibrated_on(feed: Feed) -> str:
    """Which measured tables fit the feed. For a live feed there are none: the answer is the driftless rate then."""
    if feed.simulated:
        return "simulated"
    return "daily" if feed.bar_seconds == DAY_SECONDS else "live"
