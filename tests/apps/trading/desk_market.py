"""A market and a desk that a test moves by hand, and everything that was published, read as a client reads it."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any

from apps.streaming.runtime import runtime
from apps.trading import orders, services
from apps.trading.desk.desk import TradingDesk
from apps.trading.models import Instrument as InstrumentRow
from engines.market.calendar import IST
from engines.market.instruments import NSE_UNIVERSE, Instrument
from engines.market.quotes import QuoteTick

MONDAY = datetime(2026, 11, 23, 10, 0, tzinfo=IST)


class DeskMarket:
    """`quote` moves a price, and lets the desk fill and mark; `published` is what clients got, by topic."""

    INSTRUMENTS = NSE_UNIVERSE

    def __init__(self, monkeypatch: Any, instruments: tuple[Instrument, ...] = NSE_UNIVERSE) -> None:
        self.now = MONDAY
        self.quotes: dict[str, QuoteTick] = {}
        self.previous_close: dict[str, float] = {}
        self.instruments = instruments
        self.published: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        services.register_instruments(instruments, InstrumentRow.Source.SIMULATED)
        broker = runtime().broker
        send = broker.publish_many_soon

        def record(drafts: Any) -> int:
            for draft in drafts:
                self.published[draft.topic.name].append(json.loads(draft.body))
            return send(drafts)

        monkeypatch.setattr(broker, "publish_many_soon", record)
        self.desk = self.new_desk()

    def new_desk(self) -> TradingDesk:
        desk = TradingDesk(quotes=self.quotes, previous_close=self.previous_close)
        desk.begin("a market of the tests")
        desk.set_instruments(self.instruments)
        return desk

    def quote(self, symbol: str, last: float, *, spread: float = 0.05, size: int = 0, seconds: float = 1.0) -> None:
        self.now += timedelta(seconds=seconds)
        tick = QuoteTick(
            symbol, self.now, last, round(last - spread, 2), round(last + spread, 2), bid_size=size, ask_size=size
        )
        self.previous_close.setdefault(symbol, last)
        self.quotes[symbol] = tick
        self.desk.on_quotes([tick], self.now)
        self.desk.mark(self.now)

    def place(self, user: Any, symbol: str, side: str, quantity: int, **fields: Any) -> Any:
        """Place an order as the API does, and let the desk take it."""
        row, _ = orders.place(str(user.pk), orders.NewOrder(symbol=symbol, side=side, quantity=quantity, **fields))
        self.take_requests()
        row.refresh_from_db()
        return row

    def take_requests(self) -> None:
        self.desk.take_requests(self.now)

    def of(self, topic: str, type_: str) -> list[dict[str, Any]]:
        return [message for message in self.published[topic] if message["type"] == type_]
