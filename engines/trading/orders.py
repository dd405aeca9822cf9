"""Orders, their FIX states, and what happens to them.

An order is immutable; `accept`, `trigger`, `fill`, `cancel`, `expire` and `reject` give the order after it. They are
the only way to another state, and `TRANSITIONS` says which ways there are: any other raises `IllegalTransition`.

`quantity = filled_quantity + leaves_quantity` at every moment (FIX: OrderQty = CumQty + LeavesQty). Also of an order
that has ended: its `leaves_quantity` is what was never filled (FIX itself would send 0 then).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, TypeAlias

import msgspec

from engines.trading.book import ZERO, money
from engines.trading.charges import BrokeragePlan, Charges, Product, Side

OrderType = Literal["MARKET", "LIMIT", "STOP", "STOP_LIMIT"]
TimeInForce = Literal["DAY", "IOC"]
OrderStatus = Literal["PENDING_NEW", "NEW", "PARTIALLY_FILLED", "FILLED", "CANCELED", "REJECTED", "EXPIRED"]

TRANSITIONS: Mapping[OrderStatus, frozenset[OrderStatus]] = {
    "PENDING_NEW": frozenset(("NEW", "REJECTED", "CANCELED")),
    "NEW": frozenset(("NEW", "PARTIALLY_FILLED", "FILLED", "CANCELED", "EXPIRED")),
    "PARTIALLY_FILLED": frozenset(("PARTIALLY_FILLED", "FILLED", "CANCELED", "EXPIRED")),
    "FILLED": frozenset(),
    "CANCELED": frozenset(),
    "REJECTED": frozenset(),
    "EXPIRED": frozenset(),
}
"""The states that may follow each. NEW follows NEW when a stop is triggered."""

RejectCode = Literal[
    "unknown_symbol",
    "instrument_expired",
    "not_tradable",
    "exchange_closed",
    "incorrect_quantity",
    "invalid_price",
    "tick_size",
    "price_exceeds_band",
    "wrong_product",
    "unsupported_order",
    "not_enough_holdings",
    "not_enough_funds",
    "no_price",
    "duplicate_order",
]
CancelRejectCode = Literal["unknown_order", "too_late"]

ORD_REJ_REASONS: Mapping[str, int] = {
    "unknown_symbol": 1,
    "exchange_closed": 2,
    "not_enough_funds": 3,
    "instrument_expired": 4,
    "duplicate_order": 6,
    "not_tradable": 11,
    "wrong_product": 11,
    "unsupported_order": 11,
    "incorrect_quantity": 13,
    "price_exceeds_band": 16,
    "tick_size": 18,
    "invalid_price": 99,
    "not_enough_holdings": 0,
    "no_price": 0,
}
"""FIX OrdRejReason (tag 103, FIX 5.0 SP1) of each code; 0 is the broker's own."""


class IllegalTransition(ValueError):
    """The order cannot go from its state to the other."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What an account wants bought or sold, and how far that is. Quantities are units, prices rupees per unit.

    `filled_value`: the sum of quantity * price of its fills. `brokerage`: what these were charged; the plan caps that
    of an order. `blocked`: what it holds back of the account's funds while it is open; None: not known yet. `reason`
    (at most 200 characters) and `reason_code` say why it was rejected, or ended before it was filled.
    """

    order_id: str
    account_id: int
    symbol: str
    side: Side
    quantity: int
    order_type: OrderType = "MARKET"
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    time_in_force: TimeInForce = "DAY"
    product: Product = "DELIVERY"
    client_order_id: str = ""
    brokerage_plan: BrokeragePlan = "ZERO"
    status: OrderStatus = "PENDING_NEW"
    filled_quantity: int = 0
    filled_value: Decimal = ZERO
    brokerage: Decimal = ZERO
    blocked: Decimal | None = None
    triggered: bool = False
    reason: str = ""
    reason_code: str = ""
    created_at: datetime
    updated_at: datetime

    @property
    def leaves_quantity(self) -> int:
        """What is not filled: `quantity - filled_quantity`, always."""
        return self.quantity - self.filled_quantity

    @property
    def average_price(self) -> Decimal:
        """Of what is filled, to four places; 0 before the first fill."""
        return money(self.filled_value / self.filled_quantity) if self.filled_quantity else ZERO

    @property
    def is_open(self) -> bool:
        """Whether something can still happen to it."""
        return bool(TRANSITIONS[self.status])

    @property
    def is_stop(self) -> bool:
        return self.order_type in ("STOP", "STOP_LIMIT")

    @property
    def waits_for_trigger(self) -> bool:
        """Whether it is a stop that the market has not reached."""
        return not self.triggered and self.order_type in ("STOP", "STOP_LIMIT")

    def signed(self, quantity: int) -> int:
        """The quantity as a position counts it: negative when sold."""
        return quantity if self.side == "BUY" else -quantity

    def same_content(self, other: Order) -> bool:
        """Whether both want the same."""
        return _content(self) == _content(other)

    def accept(self, blocked: Decimal, now: datetime) -> Order:
        return self._become("NEW", now, blocked=blocked)

    def trigger(self, now: datetime) -> Order:
        """A stop whose price the market has reached. Raises `IllegalTransition` when it does not wait for that."""
        if not self.waits_for_trigger:
            raise IllegalTransition(f"order {self.order_id} does not wait for a trigger")
        return self._become(self.status, now, triggered=True)

    def fill(self, quantity: int, price: Decimal, brokerage: Decimal, now: datetime) -> Order:
        """Raises `IllegalTransition` for a quantity that is not from 1 to `leaves_quantity`, and for a stop that was
        not triggered."""
        left = self.leaves_quantity
        if not 1 <= quantity <= left or self.waits_for_trigger:
            raise IllegalTransition(
                f"order {self.order_id} ({self.status}, {left} left) cannot be filled by {quantity}"
            )
        remaining = left - quantity
        return self._become(
            "PARTIALLY_FILLED" if remaining else "FILLED",
            now,
            filled_quantity=self.filled_quantity + quantity,
            filled_value=self.filled_value + quantity * price,
            brokerage=self.brokerage + brokerage,
            blocked=money(self.blocked * remaining / left) if self.blocked and remaining else ZERO,
        )

    def cancel(self, reason: str, now: datetime) -> Order:
        return self._become("CANCELED", now, reason=reason[:200], blocked=ZERO)

    def expire(self, reason: str, now: datetime) -> Order:
        return self._become("EXPIRED", now, reason=reason[:200], blocked=ZERO)

    def reject(self, reason: str, now: datetime, code: str = "") -> Order:
        return self._become("REJECTED", now, reason=reason[:200], reason_code=code, blocked=ZERO)

    def _become(self, status: OrderStatus, now: datetime, **changes: Any) -> Order:
        if status not in TRANSITIONS[self.status]:
            raise IllegalTransition(f"order {self.order_id} is {self.status}, it cannot become {status}")
        return msgspec.structs.replace(self, status=status, updated_at=now, **changes)


def _content(order: Order) -> tuple[object, ...]:
    return (
        order.account_id,
        order.symbol,
        order.side,
        order.quantity,
        order.order_type,
        order.limit_price,
        order.stop_price,
        order.time_in_force,
        order.product,
    )


class OrderAccepted(msgspec.Struct, frozen=True):
    """The order works now. Of one that was sent twice: it works already, as it is here."""

    order: Order


class OrderTriggered(msgspec.Struct, frozen=True):
    """The market reached the stop price: a STOP is a market order from here on, a STOP_LIMIT a limit order."""

    order: Order


class OrderFilled(msgspec.Struct, frozen=True):
    """Units were bought or sold (`quantity` > 0 either way) at `price`."""

    order: Order
    quantity: int
    price: Decimal
    charges: Charges


class OrderCanceled(msgspec.Struct, frozen=True):
    """Its rest will not be filled: the user said so, or it was IOC."""

    order: Order


class OrderRejected(msgspec.Struct, frozen=True):
    """The order was not taken. `code` is stable, `reason` in words."""

    order: Order
    code: str
    reason: str

    @property
    def fix_reason(self) -> int:
        """FIX OrdRejReason (tag 103); 0 for a reason of the broker's own."""
        return ORD_REJ_REASONS.get(self.code, 0)


class OrderExpired(msgspec.Struct, frozen=True):
    """The session, or the contract, ended before it was filled."""

    order: Order


class CancelRejected(msgspec.Struct, frozen=True):
    """The order stays as it is. `order` is None when the broker was given no more than an id that it does not have."""

    order_id: str
    code: CancelRejectCode
    reason: str
    order: Order | None = None


OrderEvent: TypeAlias = (
    OrderAccepted | OrderTriggered | OrderFilled | OrderCanceled | OrderRejected | OrderExpired | CancelRejected
)
