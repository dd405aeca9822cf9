"""The account's risk limits in a backtest: the rules and the monitor of live trading, asked at marks and fills."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

from engines.backtest.daily import DailyRisk
from engines.backtest.market import HistoricalMarket
from engines.backtest.spec import NO_LIMITS
from engines.market.quotes import QuoteTick
from engines.trading.book import Book, Totals
from engines.trading.orders import Order
from engines.trading.risk.limits import RiskLimits
from engines.trading.risk.monitor import RiskMonitor
from engines.trading.risk.numbers import VAR_RULES, AccountRisk
from engines.trading.risk.order_checks import OrderEstimate, OrderRate, Rejection, check_order, reduces


class RiskWatch:
    """Rules that are broken refuse orders that open; nothing is sold because of them. A block that a person has to
    lift is never lifted here. With no limit set it does nothing."""

    def __init__(self, limits: RiskLimits, book: Book, market: HistoricalMarket) -> None:
        self._limits, self._book = limits, book
        self.is_on = limits != NO_LIMITS
        self._monitor, self._rate = RiskMonitor(), OrderRate()
        self._day_start = self._peak = book.opening_cash
        self._one_day: dict[str, float] = {}
        self._daily = DailyRisk(market) if any(getattr(limits, rule) is not None for rule in VAR_RULES) else None

    def start_day(self, day: date, value: Decimal) -> None:
        """A market day begins; the account is worth `value`."""
        if self.is_on:
            self._monitor.start_day(day)
            self._day_start = value

    def end_day(self, day: date) -> None:
        """All closes of the day are known: work out value at risk anew."""
        if self._daily is not None:
            held = {s: float(p.market_value) for s, p in self._book.positions.items() if p.quantity}
            # who holds nothing risks nothing; `None`: there is too little history
            self._one_day = (self._daily.of(held, day) or {}) if held else dict.fromkeys(VAR_RULES, 0.0)

    def check(self, now: datetime) -> None:
        """The books changed: let the rules look at them."""
        if self.is_on:
            totals = self._book.totals()
            self._peak = max(self._peak, totals.total_value)
            self._monitor.check(self._limits, self._numbers(totals), now)

    def refusal(self, order: Order, quote: QuoteTick, now: datetime) -> Rejection | None:
        """Why the limits refuse an order; `None` lets it through, and counts it."""
        if not self.is_on:
            return None
        held = self._book.positions.get(order.symbol)
        quantity = order.signed(order.quantity)
        refused = check_order(
            self._limits,
            self._numbers(self._book.totals()),
            OrderEstimate(
                symbol=order.symbol,
                quantity=quantity,
                price=quote.last,
                reduces=reduces(held.quantity if held else 0, quantity),
            ),
            rate=self._rate,
            now=now,
            blocked_by=self._monitor.blocked_by,
        )
        if refused is None:
            self._rate.add(now)
        return refused

    def _numbers(self, totals: Totals) -> AccountRisk:
        return AccountRisk(
            total_value=float(totals.total_value),
            day_start_value=float(self._day_start),
            day_pnl=float(totals.daily_pnl),
            peak_value=float(max(self._peak, totals.total_value)),
            gross_exposure=float(totals.gross_exposure),
            margin_used=0.0,  # what is bought and paid for blocks nothing, and no order waits
            position_values={s: float(p.market_value) for s, p in self._book.positions.items() if p.quantity},
            **self._one_day,
        )
