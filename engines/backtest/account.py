"""The account of a backtest: orders to the paper broker, what is filled into the books, each position a trade."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from itertools import count

import msgspec

from engines.backtest.market import HistoricalMarket
from engines.backtest.results import Trade
from engines.backtest.risk import RiskWatch
from engines.backtest.spec import BacktestSpec
from engines.market.calendar import IST
from engines.market.instruments import Instrument
from engines.market.quotes import QuoteTick
from engines.trading.book import PLACES, ZERO, Book, Fill, FillOutcome
from engines.trading.charges import Side
from engines.trading.matching import Slippage
from engines.trading.orders import Order, OrderFilled, OrderRejected
from engines.trading.paper_broker import Funds, PaperBroker
from engines.trading.performance import TradeStats
from engines.trading.rules import Market, cost_of_opening, worst_price

_ACCOUNT_ID = 1
TOO_SMALL = "position_too_small"


class _Holding(msgspec.Struct, frozen=True):
    """How an open position came about."""

    opened_on: date
    price: Decimal
    charges: Decimal


class BacktestAccount:
    """Buys and sells at once, at the quote that it is given. `refused` counts, by code, orders that the limits or the
    broker refused, and those too small for a unit (`TOO_SMALL`). `record` is of the trades after charges."""

    def __init__(self, spec: BacktestSpec, market: HistoricalMarket) -> None:
        # Historical prices are adjusted for splits, so they lie on no exchange's tick: theirs is the books' grid.
        self._instruments = {s: Instrument(s, s, "equity", tick_size=PLACES) for s in market.series}
        self._spec = spec
        self._share = Decimal(str(spec.position_share))
        self._slippage = Slippage(Decimal(str(spec.slippage_basis_points)), spread_share=ZERO)
        self._broker = PaperBroker(
            self._instruments,
            is_open=lambda _now: True,  # bars are of when the market was open, whichever it is
            slippage=self._slippage,
        )
        self.book = Book(spec.opening_cash)
        self.risk = RiskWatch(spec.limits, self.book, market)
        self.trades: list[Trade] = []
        self.record = TradeStats()
        self.refused: Counter[str] = Counter()
        self.traded_value = ZERO
        self._holdings: dict[str, _Holding] = {}
        self._numbers = count(1)

    def holds(self, symbol: str) -> bool:
        return symbol in self._holdings

    def start_day(self, day: date) -> None:
        """A market day begins at the last prices."""
        self.book.start_day({})
        if self.risk.is_on:
            self.risk.start_day(day, self.book.totals().total_value)

    def mark(self, prices: Mapping[str, float], now: datetime) -> None:
        """These are the prices now."""
        self.book.mark(prices)
        self.risk.check(now)

    def buy(self, quote: QuoteTick, budget: Decimal | None, now: datetime) -> None:
        """Open a position for the budget (by default the spec's share of the equity), or for the cash that there is.

        The quantity is the largest that the broker's own estimate (the market, its slippage and reserve, charges) finds
        affordable.
        """
        if budget is None:
            budget = self.book.totals().total_value * self._share
        order, instrument = self._order("BUY", quote.symbol, 1, now), self._instruments[quote.symbol]
        price = worst_price(order, Market(quote, None), self._slippage, instrument.tick_size)
        assert price is not None  # noqa: S101 - the quote has one
        day = now.astimezone(IST).date()
        cash = self.book.cash
        quantity = _largest(order, instrument, price, min(budget, cash), day)
        if quantity or cost_of_opening(order, instrument, 1, price, day) > cash:
            self._send(msgspec.structs.replace(order, quantity=max(quantity, 1)), quote, now)
        else:
            self.refused[TOO_SMALL] += 1

    def sell(self, quote: QuoteTick, reason: str, now: datetime) -> None:
        """Close the position, all of it."""
        self._send(
            self._order("SELL", quote.symbol, self.book.positions[quote.symbol].quantity, now), quote, now, reason
        )

    def _order(self, side: Side, symbol: str, quantity: int, now: datetime) -> Order:
        return Order(
            order_id=str(next(self._numbers)),
            account_id=_ACCOUNT_ID,
            symbol=symbol,
            side=side,
            quantity=quantity,
            brokerage_plan=self._spec.brokerage_plan,
            created_at=now,
            updated_at=now,
        )

    def _send(self, order: Order, quote: QuoteTick, now: datetime, reason: str = "") -> None:
        refused = self.risk.refusal(order, quote, now)
        if refused is not None:
            self.refused[refused.code] += 1
            return
        held = {symbol: self.book.positions[symbol].quantity for symbol in self._holdings}
        for event in self._broker.submit(order, Funds(self.book.cash, held), quote, None, now):
            if isinstance(event, OrderRejected):
                self.refused[event.code] += 1
            elif isinstance(event, OrderFilled):
                self._book_fill(event, reason, now)

    def _book_fill(self, filled: OrderFilled, reason: str, now: datetime) -> None:
        order, charges = filled.order, filled.charges.total
        outcome = self.book.fill(Fill(order.symbol, order.signed(filled.quantity), filled.price, charges))
        self.traded_value += filled.quantity * filled.price
        day = now.astimezone(IST).date()
        if order.side == "BUY":
            self._holdings[order.symbol] = _Holding(day, filled.price, charges)
        else:
            opened = self._holdings.pop(order.symbol)
            self._note_trade(filled, outcome, opened, reason, day)
        self.risk.check(now)

    def _note_trade(self, filled: OrderFilled, outcome: FillOutcome, opened: _Holding, reason: str, day: date) -> None:
        charges = opened.charges + filled.charges.total
        pnl = outcome.realised - charges
        self.record = self.record.after(msgspec.structs.replace(outcome, realised=pnl))
        self.trades.append(
            Trade(
                symbol=filled.order.symbol,
                quantity=filled.quantity,
                opened_on=opened.opened_on,
                closed_on=day,
                entry_price=opened.price,
                exit_price=filled.price,
                pnl=pnl,
                charges=charges,
                reason=reason,
            )
        )


def _largest(order: Order, instrument: Instrument, price: Decimal, budget: Decimal, day: date) -> int:
    """How many units cost at most the budget, charges included."""
    quantity = int(budget / price)
    while quantity > 0:
        cost = cost_of_opening(order, instrument, quantity, price, day)
        if cost <= budget:
            break
        quantity = min(quantity - 1, int(quantity * budget / cost) + 1)
    return quantity
