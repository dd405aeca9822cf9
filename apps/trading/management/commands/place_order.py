"""`manage.py place_order`: an order from the terminal, followed to its end."""

from __future__ import annotations

import time
from decimal import Decimal, InvalidOperation
from typing import Any, get_args

from django.core.management import BaseCommand, CommandError
from django.core.management.base import CommandParser
from rich.console import Console
from rich.table import Table

from apps.accounts.models import User
from apps.streaming.demo import DEMO_EMAIL
from apps.trading import messages, models, orders

POLL_SECONDS = 0.1
EXAMPLE = "for example: manage.py place_order RELIANCE BUY 10 --limit 1400"


class Command(BaseCommand):
    help = (
        "Place an order for a user and watch what becomes of it, here and on every stream of that user. The engines "
        f"must run somewhere (manage.py serve, or run_engines). {EXAMPLE[0].upper()}{EXAMPLE[1:]}"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("symbol", help="for example RELIANCE, or an option such as NIFTY26D0125000CE")
        parser.add_argument("side", type=str.upper, choices=get_args(messages.Side))
        parser.add_argument("quantity", type=int, help="units; futures and options in whole lots")
        parser.add_argument("--limit", type=_price, help="worst price to accept; makes it a limit order")
        parser.add_argument("--stop", type=_price, help="price that sets the order off; makes it a stop order")
        parser.add_argument("--time-in-force", choices=get_args(messages.TimeInForce), default="DAY")
        parser.add_argument(
            "--product", choices=get_args(messages.Product), help="default: DELIVERY, or NORMAL for F&O"
        )
        parser.add_argument("--client-order-id", default="", help="the same id again is the same order")
        parser.add_argument("--user-email", default=DEMO_EMAIL, metavar="EMAIL", help=f"default: {DEMO_EMAIL}")
        parser.add_argument("--wait", type=float, default=10.0, metavar="SECONDS", help="how long to watch it (10)")

    def handle(self, **options: Any) -> None:
        user = User.objects.filter(email=options["user_email"]).first()
        if user is None:
            raise CommandError(
                f"there is no user {options['user_email']}; start `manage.py serve` once, or --user-email"
            )
        if options["quantity"] <= 0:
            raise CommandError(f"quantity must be above 0, got {options['quantity']}")
        wanted = orders.NewOrder(
            symbol=options["symbol"].upper(),
            side=options["side"],
            quantity=options["quantity"],
            order_type=_order_type(options["limit"], options["stop"]),
            limit_price=options["limit"],
            stop_price=options["stop"],
            time_in_force=options["time_in_force"],
            product=options["product"],
            client_order_id=options["client_order_id"],
        )
        try:
            row, is_new = orders.place(str(user.pk), wanted)
        except orders.OrderRefused as refused:
            raise CommandError(str(refused)) from None
        console = Console(file=self.stdout._out)
        console.print(f"Order {row.pk} of {user.email}" + ("" if is_new else " (placed before)"))
        self._watch(console, row, options["wait"])
        console.print(_table(row))
        if row.status == models.Order.Status.PENDING_NEW:
            raise CommandError("nobody has taken the order yet: are the engines running? It waits for them.")
        if row.status == models.Order.Status.REJECTED:
            raise CommandError(f"rejected: {row.reason}")

    def _watch(self, console: Console, row: models.Order, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        with console.status(f"{row.status} …") as status:
            while row.status in models.Order.OPEN and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
                row.refresh_from_db()
                status.update(f"{row.status} … {row.filled_quantity} of {row.quantity} filled")


def _order_type(limit: Decimal | None, stop: Decimal | None) -> messages.OrderType:
    if stop is not None:
        return "STOP" if limit is None else "STOP_LIMIT"
    return "MARKET" if limit is None else "LIMIT"


def _price(text: str) -> Decimal:
    try:
        price = Decimal(text)
    except InvalidOperation:
        raise ValueError(text) from None  # argparse says what came
    if not (price.is_finite() and 0 < price < Decimal(10) ** 8):
        raise ValueError(text)
    return price


def _table(row: models.Order) -> Table:
    table = Table(title=f"{row.side} {row.quantity} {row.symbol} {row.order_type}: {row.status}", title_justify="left")
    for column in ("at", "filled", "price", "charges", "realised"):
        table.add_column(column, justify="left" if column == "at" else "right")
    for fill in row.executions.order_by("executed_at"):
        table.add_row(
            f"{fill.executed_at:%H:%M:%S}",
            str(fill.quantity) if fill.price is not None else "",
            f"{fill.price:,.2f}" if fill.price is not None else "",
            f"{fill.charges['total']:,.2f}" if fill.charges else "",
            f"{fill.realised_pnl:,.2f}" if fill.realised_pnl is not None else "",
        )
    return table
