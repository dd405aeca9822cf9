"""From a row of the database to the engine's own order."""

from __future__ import annotations

from apps.trading import models
from engines.trading.orders import Order


def restored_order(row: models.Order, brokerage_plan: str) -> Order:
    """The order as the paper broker knows it."""
    return Order(
        order_id=str(row.pk),
        account_id=row.account_id,
        symbol=row.symbol,
        side=row.side,  # type: ignore[arg-type]
        quantity=row.quantity,
        order_type=row.order_type,  # type: ignore[arg-type]
        limit_price=row.limit_price,
        stop_price=row.stop_price,
        time_in_force=row.time_in_force,  # type: ignore[arg-type]
        product=row.product,  # type: ignore[arg-type]
        client_order_id=row.client_order_id,
        brokerage_plan=brokerage_plan,  # type: ignore[arg-type]
        status=row.status,  # type: ignore[arg-type]
        filled_quantity=row.filled_quantity,
        filled_value=row.filled_value,
        brokerage=row.brokerage,
        blocked=row.blocked,
        triggered=row.triggered,
        reason=row.reason,
        reason_code=row.reason_code,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
