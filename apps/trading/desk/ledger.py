"""Writes what happens to orders and books, and publishes it: in one transaction, so that both happen or neither."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import msgspec
from django.utils import timezone

from apps.trading import models, present, websocket_utils
from apps.trading.accounts import COLUMNS
from apps.trading.desk.account import AccountState
from engines.market.instruments import Instrument
from engines.trading.book import Fill
from engines.trading.charges import Charges
from engines.trading.orders import CancelRejected, OrderEvent, OrderFilled, OrderRejected
from engines.trading.settlement import SettlementFill

_ORDER_COLUMNS = (
    "filled_quantity",
    "filled_value",
    "brokerage",
    "blocked",
    "triggered",
    "status",
    "reason",
    "reason_code",
)


class Ledger:
    """Rows of open orders, by id; everything else is written through."""

    def __init__(self) -> None:
        self.rows: dict[str, models.Order] = {}

    def record(self, state: AccountState, event: OrderEvent, instrument: Instrument | None) -> None:
        """Write an order's event and what follows from it. Call it in a transaction of the account."""
        if isinstance(event, CancelRejected):  # it has ended: its row says how
            return
        order = event.order
        row = self.rows[order.order_id]
        for name in _ORDER_COLUMNS:
            setattr(row, name, getattr(order, name))
        if isinstance(event, OrderRejected):
            self._failed(state, row)
        if isinstance(event, OrderFilled):
            assert instrument is not None  # noqa: S101 - the broker fills nothing that it does not know
            self.fill(
                state,
                row,
                quantity=order.signed(event.quantity),
                price=event.price,
                charges=event.charges,
                instrument=instrument,
            )
        row.updated_at = timezone.now()
        row.save(update_fields=[*_ORDER_COLUMNS, "updated_at"])
        websocket_utils.notify_order_update(state.user_id, present.order(row))
        if not order.is_open:
            del self.rows[order.order_id]

    def fill(
        self,
        state: AccountState,
        row: models.Order,
        *,
        quantity: int,
        price: Decimal,
        charges: Charges,
        instrument: Instrument,
    ) -> None:
        """Book a fill (`quantity` < 0: sold) and tell of it."""
        outcome = state.book.fill(
            Fill(
                symbol=row.symbol,
                quantity=quantity,
                price=price,
                charges=charges.total,
                margined=instrument.kind == "future",
                multiplier=instrument.multiplier,
            )
        )
        state.record = state.record.after(outcome)
        execution = models.Execution.objects.create(
            order=row,
            quantity=abs(quantity),
            price=price,
            charges={name: float(value) for name, value in amounts(charges).items()},
            realised_pnl=outcome.realised if outcome.closed_quantity else None,
            executed_at=timezone.now(),
        )
        save_position(state, row.symbol)
        websocket_utils.notify_trade_executed(state.user_id, present.execution(execution))
        state.touched.add(row.symbol)

    def settle(self, state: AccountState, fill: SettlementFill, instrument: Instrument) -> None:
        """Book the settlement of an expired contract, as an order that is filled already."""
        now = timezone.now()
        row = models.Order.objects.create(
            account_id=state.account_id,
            symbol=fill.symbol,
            side=models.Side.BUY if fill.quantity > 0 else models.Side.SELL,
            quantity=abs(fill.quantity),
            product=models.Order.Product.NORMAL,
            filled_quantity=abs(fill.quantity),
            filled_value=abs(fill.quantity) * fill.price,
            status=models.Order.Status.FILLED,
            reason="settled in cash at expiry",
            created_at=now,
            updated_at=now,
        )
        self.fill(state, row, quantity=fill.quantity, price=fill.price, charges=fill.charges, instrument=instrument)
        websocket_utils.notify_order_update(state.user_id, present.order(row))

    def refuse(self, row: models.Order) -> None:
        """Reject an order that made the desk stumble: it would do so for ever."""
        row.status = models.Order.Status.REJECTED
        row.reason_code, row.reason = "internal_error", "the order could not be dealt with; this is our mistake"
        row.updated_at = timezone.now()
        row.save(update_fields=["status", "reason_code", "reason", "updated_at"])
        websocket_utils.notify_order_update(row.account.user_id, present.order(row))

    def _failed(self, state: AccountState, row: models.Order) -> None:
        execution = models.Execution.objects.create(
            order=row, quantity=row.quantity, error=row.reason, executed_at=timezone.now()
        )
        websocket_utils.notify_trade_failed(state.user_id, present.execution(execution), row.reason)


def amounts(charges: Charges) -> Mapping[str, Decimal]:
    """The charges by kind, and their `total`."""
    return {**msgspec.structs.asdict(charges), "total": charges.total}


def save_position(state: AccountState, symbol: str) -> None:
    """Write one position through."""
    held = state.book.positions[symbol]
    models.Position.objects.update_or_create(
        account_id=state.account_id, symbol=symbol, defaults={name: getattr(held, name) for name in COLUMNS}
    )


def save_positions(state: AccountState) -> None:
    """Write all positions through."""
    models.Position.objects.bulk_create(
        [
            models.Position(
                account_id=state.account_id,
                symbol=symbol,
                **{name: getattr(held, name) for name in COLUMNS},
            )
            for symbol, held in state.book.positions.items()
        ],
        update_conflicts=True,
        unique_fields=("account", "symbol"),
        update_fields=COLUMNS,
    )
