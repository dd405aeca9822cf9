"""The paper broker: takes orders, fills them against quotes, says what happened.

It never looks at a clock and keeps no books: `now` is the market's time, funds come with each order, and what a fill
means for cash is in its event. Open orders are all it remembers; an order that ended is forgotten at once, with its
client order id (the database knows those for good).

How orders are filled:
- A quote fills only while the session runs (`is_open`), and if it has a bid and an ask that do not cross.
- Each side fills our orders in price-time priority, in whole lots, up to the quoted size (0: the feed does not say,
  then without bound). What one order took is gone for the next, until another quote comes.
- A limit order is filled at the quote, so at its limit or better. A market order pays slippage (`Slippage`).
- A stop is triggered when the last price reaches it, and may be filled by the same quote. It keeps its place in time.
- The rest of an IOC order is canceled at once. Everything else is DAY: it works until `end_of_session`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from itertools import count
from typing import cast

import msgspec

from engines.market.calendar import IST
from engines.market.instruments import Instrument
from engines.market.quotes import QuoteTick
from engines.trading.book import ZERO, money
from engines.trading.charges import Side, charges_of
from engines.trading.matching import Liquidity, OrderQueue, Slippage, Touch, touch_of
from engines.trading.orders import (
    CancelRejected,
    Order,
    OrderAccepted,
    OrderCanceled,
    OrderEvent,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OrderTriggered,
)
from engines.trading.rules import Funds, Market, Refusal, check_form, check_funds, cost_of_opening, is_expired

__all__ = ["Funds", "PaperBroker"]

_SIDES: tuple[Side, Side] = ("BUY", "SELL")


class PaperBroker:
    """For all accounts; in one thread. `is_open` says whether the exchange is open at a moment."""

    def __init__(
        self,
        instruments: Mapping[str, Instrument],
        *,
        is_open: Callable[[datetime], bool],
        slippage: Slippage | None = None,
    ) -> None:
        self._instruments = instruments
        self._is_open = is_open
        self._slippage = slippage or Slippage()
        self._orders: dict[str, Order] = {}
        self._arrivals: dict[str, int] = {}
        self._by_account: dict[int, dict[str, None]] = {}
        self._by_client_id: dict[tuple[int, str], str] = {}
        self._queues: dict[str, OrderQueue] = {}
        self._liquidity: dict[str, Liquidity] = {}
        self._next_arrival = count()

    def set_instruments(self, instruments: Mapping[str, Instrument]) -> None:
        """What can be traded from now on. Open orders in what is gone are not filled, and end with the session."""
        self._instruments = instruments
        for symbol in self._liquidity.keys() - instruments.keys():
            del self._liquidity[symbol]

    def open_orders(self, account_id: int) -> list[Order]:
        """The account's, who came first first."""
        return [self._orders[order_id] for order_id in self._by_account.get(account_id, ())]

    def blocked(self, account_id: int) -> Decimal:
        """What the account's open orders hold back of its funds."""
        return sum((order.blocked or ZERO for order in self.open_orders(account_id)), ZERO)

    def submit(
        self, order: Order, funds: Funds, quote: QuoteTick | None, previous_close: Decimal | None, now: datetime
    ) -> list[OrderEvent]:
        """Take a PENDING_NEW order, or reject it, and fill what this quote fills. No `quote` (none yet, or stale): it
        only waits. Without a `previous_close` there is no price band.

        If the account has an open order of the same `client_order_id`, or there is one of the same `order_id`, that
        wants the same, then this is that order again: the answer is `OrderAccepted` of it as it is. If it wants
        something else: `duplicate_order`. Raises `ValueError` for an order that is not PENDING_NEW, and for an open
        `order_id` with another content.
        """
        if order.status != "PENDING_NEW" or order.filled_quantity:
            raise ValueError(f"order {order.order_id} is {order.status}, only a PENDING_NEW one can be submitted")
        known = self._known(order)
        if known is not None:
            if known.same_content(order):
                return [OrderAccepted(known)]
            if known.order_id == order.order_id:
                raise ValueError(f"order {order.order_id} is open already, with another content")
            reason = f"client_order_id {order.client_order_id!r} is taken by order {known.order_id}, of another content"
            return [_rejected(order, Refusal("duplicate_order", reason), now)]
        market = Market(quote, previous_close)
        instrument = self._instruments.get(order.symbol)
        refusal = check_form(order, instrument, market, self._is_open, now)
        if refusal is not None:
            return [_rejected(order, refusal, now)]
        instrument = cast("Instrument", instrument)  # check_form refuses what is not known
        day, working = now.astimezone(IST).date(), self.open_orders(order.account_id)
        blocked = check_funds(order, instrument, market, funds=funds, working=working, slippage=self._slippage, on=day)
        if isinstance(blocked, Refusal):
            return [_rejected(order, blocked, now)]
        accepted = order.accept(blocked, now)
        self._add(accepted)
        events: list[OrderEvent] = [OrderAccepted(accepted)]
        if quote is not None and quote.symbol == order.symbol:
            events += self._match(quote, instrument, now)
        if order.time_in_force == "IOC" and order.order_id in self._orders:
            events.append(OrderCanceled(self._end(order.order_id, lambda o: o.cancel("IOC: no more at once", now))))
        return events

    def cancel(self, order: str | Order, now: datetime) -> list[OrderEvent]:
        """Cancel by id. Given the order itself, what has ended is answered by what became of it."""
        order_id = order if isinstance(order, str) else order.order_id
        if order_id in self._orders:
            return [OrderCanceled(self._end(order_id, lambda o: o.cancel("canceled by its owner", now)))]
        if isinstance(order, Order) and not order.is_open:
            return [CancelRejected(order_id, "too_late", f"The order is {order.status} already", order)]
        known = order if isinstance(order, Order) else None
        reason = f"There is no open order {order_id}: it has ended, or never was"[:200]
        return [CancelRejected(order_id, "unknown_order", reason, known)]

    def on_quotes(self, quotes: Iterable[QuoteTick], now: datetime) -> list[OrderEvent]:
        """Trigger and fill what these quotes reach, in their order. Give it no stale quote. Contracts that have expired
        end their orders instead."""
        events: list[OrderEvent] = []
        is_open = self._is_open(now)
        for quote in quotes:
            instrument = self._instruments.get(quote.symbol)
            if instrument is None or quote.symbol not in self._queues:
                continue
            if is_expired(instrument, now):
                events += self._expire(self._queues[quote.symbol].order_ids(), "the contract expired", now)
            elif is_open:
                events += self._match(quote, instrument, now)
        return events

    def end_of_session(self, now: datetime) -> list[OrderEvent]:
        """Every order that is still open is DAY, and expires; who came first first."""
        return self._expire(sorted(self._orders, key=self._arrivals.__getitem__), "the session ended", now)

    def restore(self, orders: Sequence[Order]) -> None:
        """Take back working orders as they were, in the order of their acceptance, which is their time priority.

        One whose `blocked` is not known blocks what it would if all that is left of it opened, at its limit, stop or
        average price. What was taken of a quote is not kept: go on with a new quote. Raises `ValueError`, and takes
        none, for one that is not NEW or PARTIALLY_FILLED, or is known already.
        """
        seen = set(self._orders)
        for order in orders:
            if order.status not in ("NEW", "PARTIALLY_FILLED"):
                raise ValueError(f"order {order.order_id} is {order.status}, only working orders can be restored")
            if order.order_id in seen:
                raise ValueError(f"order {order.order_id} is there already")
            seen.add(order.order_id)
        for order in orders:
            self._add(order if order.blocked is not None else self._with_blocked(order))

    def _with_blocked(self, order: Order) -> Order:
        instrument = self._instruments.get(order.symbol)
        price = order.limit_price or order.stop_price or order.average_price
        blocked = ZERO
        if instrument is not None and price:
            day = order.updated_at.astimezone(IST).date()
            blocked = cost_of_opening(order, instrument, order.leaves_quantity, price, day)
        return msgspec.structs.replace(order, blocked=blocked)

    # Matching

    def _match(self, quote: QuoteTick, instrument: Instrument, now: datetime) -> list[OrderEvent]:
        queue = self._queues[quote.symbol]
        events: list[OrderEvent] = []
        if 0 < quote.last < math.inf:
            reached = queue.triggered(money(quote.last))
            events += [OrderTriggered(self._trigger(order_id, now)) for order_id in reached]
        touch = touch_of(quote)
        if touch is None:
            return events
        liquidity = self._liquidity.get(quote.symbol)
        if liquidity is None:
            liquidity = self._liquidity[quote.symbol] = Liquidity()
        liquidity.see(quote)
        for side in _SIDES:
            while (order_id := queue.next_filled(side, touch.price(side))) is not None:
                filled = self._fill(order_id, touch, liquidity, instrument, now)
                if filled is None:
                    break
                events.append(filled)
        return events

    def _fill(
        self, order_id: str, touch: Touch, liquidity: Liquidity, instrument: Instrument, now: datetime
    ) -> OrderFilled | None:
        """Fill an order with what is left of the quote; None: not even a lot is."""
        order = self._orders[order_id]
        side, quantity = order.side, order.leaves_quantity
        size = touch.size(side)
        if size:
            quantity = min(quantity, size - liquidity.taken(side))
            quantity -= quantity % instrument.lot_size
            if not quantity:
                return None
        liquidity.take(side, quantity)
        if order.order_type in ("LIMIT", "STOP_LIMIT"):
            price = touch.price(side)
        else:
            price = self._slippage.price(side, touch, liquidity.taken(side), instrument.tick_size)
        charges = charges_of(
            instrument,
            side,
            quantity,
            price,
            order.product,
            now.astimezone(IST).date(),
            order.brokerage_plan,
            brokerage_so_far=order.brokerage,
        )
        after = order.fill(quantity, price, charges.brokerage, now)
        if after.is_open:
            self._orders[order_id] = after
        else:
            self._remove(order)
        return OrderFilled(after, quantity, price, charges)

    def _trigger(self, order_id: str, now: datetime) -> Order:
        order, arrival = self._orders[order_id], self._arrivals[order_id]
        queue = self._queues[order.symbol]
        queue.remove(order, arrival)
        after = self._orders[order_id] = order.trigger(now)
        queue.add(after, arrival)
        return after

    # What is open

    def _known(self, order: Order) -> Order | None:
        order_id = self._by_client_id.get((order.account_id, order.client_order_id), order.order_id)
        return self._orders.get(order_id) or self._orders.get(order.order_id)

    def _add(self, order: Order) -> None:
        order_id = order.order_id
        arrival = self._arrivals[order_id] = next(self._next_arrival)
        self._orders[order_id] = order
        self._by_account.setdefault(order.account_id, {})[order_id] = None
        if order.client_order_id:
            self._by_client_id[order.account_id, order.client_order_id] = order_id
        self._queues.setdefault(order.symbol, OrderQueue()).add(order, arrival)

    def _remove(self, order: Order) -> None:
        order_id = order.order_id
        queue = self._queues[order.symbol]
        queue.remove(order, self._arrivals.pop(order_id))
        if not queue:
            del self._queues[order.symbol]
        del self._orders[order_id]
        of_account = self._by_account[order.account_id]
        del of_account[order_id]
        if not of_account:
            del self._by_account[order.account_id]
        self._by_client_id.pop((order.account_id, order.client_order_id), None)

    def _end(self, order_id: str, end: Callable[[Order], Order]) -> Order:
        order = self._orders[order_id]
        after = end(order)
        self._remove(order)
        return after

    def _expire(self, order_ids: Iterable[str], reason: str, now: datetime) -> list[OrderEvent]:
        return [OrderExpired(self._end(order_id, lambda o: o.expire(reason, now))) for order_id in list(order_ids)]


def _rejected(order: Order, refusal: Refusal, now: datetime) -> OrderRejected:
    rejected = order.reject(refusal.reason, now, refusal.code)
    return OrderRejected(rejected, refusal.code, rejected.reason)
