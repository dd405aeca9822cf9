"""One account in the engine's memory."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from django.utils import timezone

from apps.trading import accounts, controls, models
from engines.market.instruments import Instrument
from engines.trading.book import ZERO, Book, Position, money
from engines.trading.charges import Product
from engines.trading.margin import margin_required
from engines.trading.performance import TradeStats
from engines.trading.risk.limits import RiskLimits
from engines.trading.risk.monitor import RiskMonitor
from engines.trading.risk.order_checks import OrderRate

log = logging.getLogger(__name__)


@dataclass(slots=True)
class AccountState:
    """The books, the record and the risk of an account. `watched`: whether somebody looks at its streams."""

    account_id: int
    user_id: int
    brokerage_plan: str
    book: Book
    record: TradeStats
    peak_value: Decimal
    max_drawdown: float
    sharpe: float | None
    day_start_value: Decimal
    margin_blocked: Decimal
    limits: RiskLimits
    monitor: RiskMonitor
    rate: OrderRate
    value_at_risk: dict[str, float | None]
    watched: bool = False
    touched: set[str] = field(default_factory=set)  # symbols that were filled, and not told of yet

    def write(self) -> None:
        """Write everything but the positions through."""
        models.Account.objects.filter(pk=self.account_id).update(
            cash=self.book.cash,
            day_start_value=self.day_start_value,
            peak_value=self.peak_value,
            max_drawdown=self.max_drawdown,
            sharpe=self.sharpe,
            margin_blocked=self.margin_blocked,
            risk_state=self.monitor.state,
            trade_count=self.record.trades,
            win_count=self.record.wins,
            loss_count=self.record.losses,
            gross_profit=self.record.gross_profit,
            gross_loss=self.record.gross_loss,
        )


def load(row: models.Account, prices: Mapping[str, Decimal]) -> AccountState:
    """The account as the database has it, marked at these prices."""
    limits, monitor = _risk_of(row)
    return AccountState(
        account_id=row.pk,
        user_id=row.user_id,
        brokerage_plan=row.brokerage_plan,
        book=accounts.book_of(row, row.positions.all(), prices),
        record=accounts.record_of(row),
        peak_value=row.peak_value,
        max_drawdown=row.max_drawdown,
        sharpe=row.sharpe,
        day_start_value=row.day_start_value,
        margin_blocked=row.margin_blocked,
        limits=limits,
        monitor=monitor,
        rate=OrderRate(),
        value_at_risk={},
    )


def _risk_of(row: models.Account) -> tuple[RiskLimits, RiskMonitor]:
    """Limits and their memory. An account whose rows make no sense is blocked, and holds up nobody else."""
    monitor, now = RiskMonitor(), timezone.now()
    try:
        limits = controls.limits_of(row)
        monitor.restore(row.risk_state)
    except ValueError:
        log.exception("the risk limits of account %s make no sense: it may only close positions", row.pk)
        limits = RiskLimits()
        monitor.engage("the limits of this account make no sense", now)
    if row.kill_switch:
        monitor.engage(row.kill_switch_reason, now)
    return limits, monitor


def margin_of_positions(book: Book, instruments: Mapping[str, Instrument], day: date) -> Decimal:
    """What open positions hold back of the cash: futures and written options their margin, shares sold short what they
    were sold for as well, since that is owed. What is bought and paid for holds nothing back."""
    return sum((_margin(held, instruments.get(held.symbol), day) for held in book.positions.values()), ZERO)


def _margin(held: Position, instrument: Instrument | None, day: date) -> Decimal:
    if instrument is None or not held.quantity or (held.quantity > 0 and not held.margined):
        return ZERO
    product: Product = "INTRADAY" if instrument.kind == "equity" else "NORMAL"
    margin = money(margin_required(instrument, held.quantity, held.last_price, product, day))
    return margin + abs(held.market_value) if instrument.kind == "equity" else margin
