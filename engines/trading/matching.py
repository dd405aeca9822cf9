"""Which of our own orders of a symbol are filled by a quote, in which order, and at what price.

Price-time priority: market orders (and triggered stops) first, then the better limit, then who came first.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

import msgspec

from engines.market.quotes import QuoteTick
from engines.trading.book import ZERO, money
from engines.trading.charges import Side
from engines.trading.orders import Order

_BEST = Decimal("-Infinity")
_BASIS_POINT = Decimal("0.0001")


class Touch(msgspec.Struct, frozen=True):
    """The best bid and offer of a quote, both of them there and not crossed. A size of 0: the feed does not say."""

    bid: Decimal
    ask: Decimal
    bid_size: int
    ask_size: int

    def price(self, side: Side) -> Decimal:
        """What who is on this side meets: the ask when buying, the bid when selling."""
        return self.ask if side == "BUY" else self.bid

    def size(self, side: Side) -> int:
        return self.ask_size if side == "BUY" else self.bid_size


def touch_of(quote: QuoteTick) -> Touch | None:
    """None for a quote that fills nothing: one-sided, empty, crossed, or not a number."""
    if not 0 < quote.bid <= quote.ask < math.inf:
        return None
    return Touch(money(quote.bid), money(quote.ask), max(quote.bid_size, 0), max(quote.ask_size, 0))


class Slippage(msgspec.Struct, frozen=True):
    """How much worse than the quote a market order is filled; deterministic. Limit orders have none.

        price * basis_points / 10,000 + (ask - bid) * spread_share * taken / size

    `taken` is what our orders have taken of the quoted `size`, this fill included; all of it where the feed does not
    say the size. The price is rounded to the tick, against the order. By default, taking all that is quoted costs half
    a spread.
    """

    basis_points: Decimal = ZERO
    spread_share: Decimal = Decimal("0.5")

    def price(self, side: Side, touch: Touch, taken: int, tick: Decimal) -> Decimal:
        """What the fill is done at; never under a tick."""
        at, size = touch.price(side), touch.size(side)
        slip = at * self.basis_points * _BASIS_POINT
        impact = (touch.ask - touch.bid) * self.spread_share
        slip += impact * taken / size if size else impact
        if not slip:
            return at
        if side == "BUY":
            return money(((at + slip) / tick).to_integral_value(ROUND_CEILING) * tick)
        return max(money(((at - slip) / tick).to_integral_value(ROUND_FLOOR) * tick), min(at, tick))


class Liquidity:
    """What our orders have taken of a symbol's latest quote, by side. Another quote brings new size."""

    def __init__(self) -> None:
        self._quote: QuoteTick | None = None
        self._taken: dict[Side, int] = {"BUY": 0, "SELL": 0}

    def see(self, quote: QuoteTick) -> None:
        """This is the quote now. The same one seen again brings nothing."""
        if quote != self._quote:
            self._quote = quote
            self._taken = {"BUY": 0, "SELL": 0}

    def taken(self, side: Side) -> int:
        return self._taken[side]

    def take(self, side: Side, quantity: int) -> None:
        self._taken[side] += quantity


class OrderQueue:
    """The open orders of one symbol, by id, sorted as they will be filled or triggered."""

    def __init__(self) -> None:
        self._working: dict[Side, list[tuple[Decimal, int, str]]] = {"BUY": [], "SELL": []}
        self._stops: dict[Side, list[tuple[Decimal, int, str]]] = {"BUY": [], "SELL": []}

    def __bool__(self) -> bool:
        return any(self._working.values()) or any(self._stops.values())

    def order_ids(self) -> list[str]:
        """All of them, who came first first."""
        entries = [entry for lists in (self._working, self._stops) for found in lists.values() for entry in found]
        return [order_id for _, _, order_id in sorted(entries, key=lambda entry: entry[1])]

    def add(self, order: Order, arrival: int) -> None:
        """`arrival` is the order's place in time, its own."""
        entries, entry = self._place(order, arrival)
        insort(entries, entry)

    def remove(self, order: Order, arrival: int) -> None:
        """The order as it was added: of the same prices and `triggered`."""
        entries, entry = self._place(order, arrival)
        del entries[bisect_left(entries, entry)]

    def triggered(self, last: Decimal) -> list[str]:
        """The stops that this price reaches (it is at or above the stop of a purchase, at or below that of a sale), who
        came first first. They stay until they are removed."""
        found = []
        for side, stops in self._stops.items():
            reached = last if side == "BUY" else -last
            for key, arrival, order_id in stops:
                if key > reached:
                    break
                found.append((arrival, order_id))
        return [order_id for _, order_id in sorted(found)]

    def next_filled(self, side: Side, price: Decimal) -> str | None:
        """Whose turn it is at this opposite price; None: it is too far for everybody."""
        working = self._working[side]
        if not working:
            return None
        key, _, order_id = working[0]
        return order_id if key <= (-price if side == "BUY" else price) else None

    def _place(self, order: Order, arrival: int) -> tuple[list[tuple[Decimal, int, str]], tuple[Decimal, int, str]]:
        """The list it belongs to, and where: the smaller the key, the sooner its turn."""
        if order.waits_for_trigger:
            price, sign, entries = order.stop_price, 1 if order.side == "BUY" else -1, self._stops[order.side]
        else:
            price = order.limit_price if order.order_type in ("LIMIT", "STOP_LIMIT") else None
            sign, entries = -1 if order.side == "BUY" else 1, self._working[order.side]
        return entries, (_BEST if price is None else sign * price, arrival, order.order_id)
