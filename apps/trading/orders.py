"""Orders as a user places and cancels them. They wait in the database, where the engine finds them at once."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

import msgspec
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from apps.trading import messages, models, present, websocket_utils
from apps.trading.controls import own_account

MAX_WAITING = 500  # orders of one account that may wait for the engine at a time


class OrderRefused(ValueError):
    """The order cannot even be taken down. `status` is what HTTP says."""

    def __init__(self, text: str, status: int = 422) -> None:
        super().__init__(text)
        self.status = status


class NewOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What a user wants done. Prices in rupees."""

    symbol: str
    side: messages.Side
    quantity: int
    order_type: messages.OrderType = "MARKET"
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    time_in_force: messages.TimeInForce = "DAY"
    product: messages.Product | None = None
    client_order_id: str = ""


def place(user_id: str, wanted: NewOrder) -> tuple[models.Order, bool]:
    """Take down an order, PENDING_NEW; whether it is a new one. The same `client_order_id` with the same content is the
    same order, however often it is sent. The engine then accepts or rejects it. Raises `OrderRefused`."""
    instrument = models.Instrument.objects.filter(symbol=wanted.symbol).first()
    if instrument is None:
        raise OrderRefused(f"Unknown symbol {wanted.symbol!r}")
    account = own_account(user_id)
    return _take_down(account, instrument, wanted)


def _take_down(account: models.Account, instrument: models.Instrument, wanted: NewOrder) -> tuple[models.Order, bool]:
    default = models.Order.Product.NORMAL if instrument.kind in ("future", "option") else models.Order.Product.DELIVERY
    content = {**msgspec.structs.asdict(wanted), "product": wanted.product or default}
    if wanted.client_order_id:
        earlier = _earlier(account, content)
        if earlier is not None:
            return earlier, False
    if account.orders.filter(status=models.Order.Status.PENDING_NEW).count() >= MAX_WAITING:
        raise OrderRefused(f"{MAX_WAITING} of your orders wait for the engine already; are the engines running?", 429)
    now = timezone.now()
    try:
        with transaction.atomic():
            row = models.Order.objects.create(account=account, **content, created_at=now, updated_at=now)
            websocket_utils.notify_order_update(account.user_id, present.order(row))
    except IntegrityError:  # the same id at the same moment
        earlier = _earlier(account, content)
        if earlier is None:
            raise
        return earlier, False
    return row, True


def _earlier(account: models.Account, content: dict[str, object]) -> models.Order | None:
    row = account.orders.filter(client_order_id=content["client_order_id"]).first()
    if row is None:
        return None
    different = [name for name, value in content.items() if getattr(row, name) != value]
    if different:
        raise OrderRefused(
            f"client_order_id {row.client_order_id!r} is taken by order {row.id}, of another {', '.join(different)}",
            409,
        )
    return row


def find(user_id: str, order_id: str) -> models.Order | None:
    """One of the user's orders, by its id or its client order id."""
    orders = models.Order.objects.filter(account__user_id=user_id)
    try:
        found = orders.filter(pk=UUID(order_id)).first()
    except ValueError:
        found = None
    return found or orders.filter(client_order_id=order_id).first()


def request_cancel(user_id: str, order_id: str) -> models.Order | None:
    """Ask the engine to cancel; `order_update` says when it has. None: the user has no such order. Raises
    `OrderRefused` for one that has ended."""
    row = find(user_id, order_id)
    if row is None:
        return None
    wanted = models.Order.objects.filter(pk=row.pk, status__in=models.Order.OPEN)
    if not wanted.update(cancel_requested=True):
        row.refresh_from_db()
        raise OrderRefused(f"The order is {row.status} already", 409)
    row.cancel_requested = True
    return row


def listed(user_id: str, *, status: str | None = None, symbol: str | None = None) -> QuerySet[models.Order]:
    """The user's orders, newest first; of this status (`OPEN`: of any that is not final) and this symbol."""
    orders = models.Order.objects.filter(account__user_id=user_id)
    if status == "OPEN":
        orders = orders.filter(status__in=models.Order.OPEN)
    elif status is not None:
        orders = orders.filter(status=status)
    return orders.filter(symbol=symbol) if symbol is not None else orders
