"""From rows of the database to the payloads of messages."""

from __future__ import annotations

from decimal import Decimal

from msgspec import UNSET

from apps.trading import messages, models
from engines.trading import book
from engines.trading.performance import TradeStats
from engines.trading.sentiment.model import label_of


def signal(row: models.Signal) -> messages.Signal:
    return messages.Signal(
        id=str(row.id),
        symbol=row.symbol,
        signal_type=row.signal_type,  # type: ignore[arg-type]
        confidence_score=row.confidence_score,
        entry_price=float(row.entry_price),
        target_price=UNSET if row.target_price is None else float(row.target_price),
        stop_loss=UNSET if row.stop_loss is None else float(row.stop_loss),
        created_at=row.created_at,
        status=row.status,  # type: ignore[arg-type]
        strategy=row.strategy or UNSET,
        rationale=row.rationale or UNSET,
        valid_until=row.valid_until or UNSET,
        metadata=row.metadata or UNSET,
    )


def position(held: book.Position) -> messages.Position:
    return messages.Position(
        symbol=held.symbol,
        quantity=held.quantity,
        average_price=float(held.average_price),
        last_price=float(held.last_price),
        market_value=float(held.market_value),
        unrealised_pnl=float(held.unrealised_pnl),
        realised_pnl=float(held.realised_pnl),
        daily_pnl=float(held.day_pnl),
        charges=float(held.charges),
    )


def portfolio_totals(totals: book.Totals, margin_blocked: Decimal) -> messages.PortfolioTotals:
    return messages.PortfolioTotals(
        total_value=float(totals.total_value),
        total_pnl=float(totals.total_pnl),
        daily_pnl=float(totals.daily_pnl),
        position_count=totals.position_count,
        cash=float(totals.cash),
        margin_blocked=float(margin_blocked),
    )


def pnl(totals: book.Totals, record: TradeStats, sharpe: float | None, max_drawdown: float) -> messages.Pnl:
    return messages.Pnl(
        total_pnl=float(totals.total_pnl),
        realised_pnl=float(totals.realised_pnl),
        unrealised_pnl=float(totals.unrealised_pnl),
        daily_pnl=float(totals.daily_pnl),
        total_value=float(totals.total_value),
        charges=float(totals.charges),
        trade_count=record.trades,
        win_rate=record.win_rate,
        profit_factor=record.profit_factor,
        sharpe=sharpe,
        max_drawdown=min(1.0, max_drawdown),
    )


def order(row: models.Order) -> messages.Order:
    return messages.Order(
        id=str(row.id),
        symbol=row.symbol,
        side=row.side,  # type: ignore[arg-type]
        quantity=row.quantity,
        filled_quantity=row.filled_quantity,
        leaves_quantity=row.quantity - row.filled_quantity,
        status=row.status,  # type: ignore[arg-type]
        order_type=row.order_type,  # type: ignore[arg-type]
        limit_price=UNSET if row.limit_price is None else float(row.limit_price),
        stop_price=UNSET if row.stop_price is None else float(row.stop_price),
        time_in_force=row.time_in_force,  # type: ignore[arg-type]
        product=row.product,  # type: ignore[arg-type]
        average_price=float(book.money(row.filled_value / row.filled_quantity)) if row.filled_quantity else UNSET,
        client_order_id=row.client_order_id or UNSET,
        reason=row.reason or UNSET,
        reason_code=row.reason_code or UNSET,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def execution(row: models.Execution) -> messages.Execution:
    return messages.Execution(
        id=str(row.id),
        symbol=row.order.symbol,
        side=row.order.side,  # type: ignore[arg-type]
        quantity=row.quantity,
        price=UNSET if row.price is None else float(row.price),
        order_id=str(row.order_id),
        executed_at=row.executed_at,
        charges=row.charges["total"] if row.charges else UNSET,
        realised_pnl=UNSET if row.realised_pnl is None else float(row.realised_pnl),
        error=row.error or UNSET,
        metadata={"charges": row.charges} if row.charges else UNSET,
    )


def risk_alert(row: models.RiskAlert) -> messages.RiskAlert:
    return messages.RiskAlert(
        id=str(row.id),
        rule=row.rule,
        message=row.message,
        value=row.value,
        limit=row.limit,
        severity=row.severity,  # type: ignore[arg-type]
        symbol=row.symbol or UNSET,
        created_at=row.created_at,
        acknowledged_at=row.acknowledged_at,
    )


def sentiment(row: models.Sentiment) -> messages.Sentiment:
    return messages.Sentiment(
        scope=row.scope,
        score=row.score,
        label=label_of(row.score),
        components=row.components,
        weights=row.weights,
        updated_at=row.updated_at,
    )
