"""`/api/trading/`: instruments, the watchlist, orders, positions, limits, the kill switch, headlines."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, get_args

from django.http import HttpRequest
from ninja import Field, Router, Schema, Status
from ninja.errors import HttpError
from ninja.pagination import paginate

from apps.accounts.api import Problem, user_auth
from apps.streaming.paging import Pages
from apps.trading import accounts, controls, headlines, messages, models, orders, services

router = Router(auth=user_auth)

SYMBOL = r"^[A-Z0-9][A-Z0-9&_.\-]*$"
PRINTABLE = r"^[\x21-\x7e]*$"
TEXT = r"^[^\x00]*$"  # what a database takes
# As a DecimalField holds it: beyond that a database would round, or refuse.
OrderPrice = Annotated[Decimal, Field(gt=0, max_digits=12, decimal_places=4)]
STATUSES = ("OPEN", *get_args(messages.OrderStatus))


class InstrumentOut(Schema):
    symbol: str
    name: str
    kind: str
    source: str
    exchange: str
    lot_size: int
    tick_size: float
    underlying: str
    expiry: date | None
    strike: float | None
    option_type: str


class Watchlist(Schema):
    symbols: list[str]


class OrderIn(Schema):
    """`product`: DELIVERY or INTRADAY for shares, NORMAL for futures and options; DELIVERY or NORMAL when left out."""

    symbol: str = Field(..., max_length=40, pattern=SYMBOL, examples=["RELIANCE"])
    side: messages.Side
    quantity: int = Field(..., gt=0, le=10_000_000)
    order_type: messages.OrderType = "MARKET"
    limit_price: OrderPrice | None = None
    stop_price: OrderPrice | None = None
    time_in_force: messages.TimeInForce = "DAY"
    product: messages.Product | None = None
    client_order_id: str = Field(
        "", max_length=64, pattern=PRINTABLE, description="The same id again is the same order, placed once."
    )


class OrderOut(Schema):
    id: str
    client_order_id: str
    symbol: str
    side: str
    quantity: int
    filled_quantity: int
    leaves_quantity: int
    average_price: float | None
    order_type: str
    limit_price: float | None
    stop_price: float | None
    time_in_force: str
    product: str
    status: str
    cancel_requested: bool
    reason_code: str
    reason: str
    created_at: datetime
    updated_at: datetime

    @staticmethod
    def resolve_id(row: models.Order) -> str:
        return str(row.pk)

    @staticmethod
    def resolve_leaves_quantity(row: models.Order) -> int:
        return row.quantity - row.filled_quantity

    @staticmethod
    def resolve_average_price(row: models.Order) -> float | None:
        return round(float(row.filled_value) / row.filled_quantity, 4) if row.filled_quantity else None


class PositionOut(Schema):
    symbol: str
    quantity: int
    average_price: float
    last_price: float
    market_value: float
    unrealised_pnl: float
    realised_pnl: float
    daily_pnl: float
    charges: float


class Limits(Schema):
    """Shares are of the account's value, `mtm_target` and `mtm_stop` rupees; null switches a rule off."""

    daily_loss: float | None = None
    drawdown: float | None = None
    concentration: float | None = None
    gross_exposure: float | None = None
    margin_used: float | None = None
    orders_per_minute: int | None = None
    var_95: float | None = None
    var_99: float | None = None
    cvar_95: float | None = None
    cvar_99: float | None = None
    mtm_target: Decimal | None = None
    mtm_stop: Decimal | None = None


class KillSwitch(Schema):
    engaged: bool
    reason: str = Field("", max_length=200, pattern=TEXT)


class HeadlineIn(Schema):
    title: str = Field(..., min_length=1, max_length=300, pattern=TEXT)
    source: str = Field("", max_length=80, pattern=TEXT)
    url: str = Field("", max_length=500, pattern=PRINTABLE)
    published_at: datetime | None = None
    symbols: list[Annotated[str, Field(max_length=40, pattern=SYMBOL)]] | None = Field(
        None, max_length=50, description="Left out: they are found in the title."
    )


class HeadlinesIn(Schema):
    headlines: list[HeadlineIn] = Field(..., min_length=1, max_length=500)


class HeadlinesTaken(Schema):
    taken: int
    known_already: int


@router.get("/instruments/", response=list[InstrumentOut])
def instruments(request: HttpRequest, kind: str | None = None, underlying: str | None = None) -> Any:
    """What can be followed or traded; of one `kind` (index, equity, future, option), or of one `underlying`."""
    found = models.Instrument.objects.all()
    if kind is not None:
        found = found.filter(kind=kind)
    return found if underlying is None else found.filter(underlying=underlying)


@router.get("/watchlist/", response=Watchlist)
def watchlist(request: HttpRequest) -> Any:
    """The symbols whose signals you get from the start of a connection."""
    return {"symbols": services.watchlist(_user_id(request))}


@router.put("/watchlist/", response={200: Watchlist, 422: Problem})
def set_watchlist(request: HttpRequest, body: Watchlist) -> Any:
    """Replace the watchlist."""
    try:
        return Status(200, {"symbols": services.set_watchlist(_user_id(request), body.symbols)})
    except ValueError as error:
        return Status(422, {"error": str(error)})


@router.post("/orders/", response={201: OrderOut, 200: OrderOut, 409: Problem, 422: Problem, 429: Problem})
def place_order(request: HttpRequest, body: OrderIn) -> Any:
    """Place an order: 201, and PENDING_NEW until the engine has looked at it (the executions stream says what then).
    200: it is the order that was placed with this `client_order_id` before."""
    try:
        row, is_new = orders.place(_user_id(request), orders.NewOrder(**body.dict()))
    except orders.OrderRefused as refused:
        return Status(refused.status, {"error": str(refused)})
    return Status(201 if is_new else 200, row)


@router.get("/orders/", response=list[OrderOut])
@paginate(Pages)
def list_orders(request: HttpRequest, status: str | None = None, symbol: str | None = None) -> Any:
    """Your orders, newest first. `status=OPEN`: those that can still be filled."""
    if status is not None and status not in STATUSES:
        raise HttpError(422, f"status is {status[:40]!r}, it must be one of {', '.join(STATUSES)}")
    return orders.listed(_user_id(request), status=status, symbol=symbol)


@router.get("/orders/{order_id}/", response={200: OrderOut, 404: Problem})
def order(request: HttpRequest, order_id: str) -> Any:
    """One of your orders, by its id or your client order id."""
    row = orders.find(_user_id(request), order_id)
    return Status(404, _no_order(order_id)) if row is None else Status(200, row)


@router.delete("/orders/{order_id}/", response={202: OrderOut, 404: Problem, 409: Problem})
def cancel_order(request: HttpRequest, order_id: str) -> Any:
    """Cancel what is not filled of an order. 202: asked for; it may still be filled before the engine has seen it."""
    try:
        row = orders.request_cancel(_user_id(request), order_id)
    except orders.OrderRefused as refused:
        return Status(refused.status, {"error": str(refused)})
    return Status(404, _no_order(order_id)) if row is None else Status(202, row)


@router.get("/positions/", response=list[PositionOut])
def positions(request: HttpRequest) -> Any:
    """Your open positions at the last prices."""
    return accounts.positions(_user_id(request))


@router.get("/risk-limits/", response=Limits)
def risk_limits(request: HttpRequest) -> Any:
    """Your limits."""
    return controls.as_dict(controls.limits_of(accounts.account_of(_user_id(request))))


@router.patch("/risk-limits/", response={200: Limits, 422: Problem})
def set_risk_limits(request: HttpRequest, body: Limits) -> Any:
    """Set those limits that the body names."""
    try:
        limits = controls.set_limits(_user_id(request), body.dict(exclude_unset=True))
    except ValueError as error:
        return Status(422, {"error": str(error)})
    return Status(200, controls.as_dict(limits))


@router.get("/kill-switch/", response=KillSwitch)
def kill_switch(request: HttpRequest) -> Any:
    """Whether your trading is stopped, and why."""
    account = accounts.account_of(_user_id(request))
    return {"engaged": account.kill_switch, "reason": account.kill_switch_reason}


@router.put("/kill-switch/", response=KillSwitch)
def set_kill_switch(request: HttpRequest, body: KillSwitch) -> Any:
    """Refuse every order that opens a position; or let them again, which nothing but this does."""
    account = controls.set_kill_switch(_user_id(request), engaged=body.engaged, reason=body.reason)
    return {"engaged": account.kill_switch, "reason": account.kill_switch_reason}


@router.post("/headlines/", response={200: HeadlinesTaken, 403: Problem, 422: Problem})
def post_headlines(request: HttpRequest, body: HeadlinesIn) -> Any:
    """Give the sentiment engine news. For staff: everybody's sentiment changes with it."""
    if not request.auth.is_staff:  # type: ignore[attr-defined]
        return Status(403, {"error": "headlines are taken from staff only"})
    try:
        taken = headlines.take([headline.dict() for headline in body.headlines])
    except ValueError as error:
        return Status(422, {"error": str(error)})
    return Status(200, {"taken": taken, "known_already": len(body.headlines) - taken})


def _user_id(request: HttpRequest) -> str:
    return str(request.auth.pk)  # type: ignore[attr-defined]


def _no_order(order_id: str) -> dict[str, str]:
    return {"error": f"You have no order {order_id!r}"}
