"""Risk of all accounts: which orders are refused, which rules are near or over their limits, what that blocks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from django.utils import timezone

from apps.trading import bookkeeping
from apps.trading.desk.account import AccountState
from engines.market.instruments import Instrument
from engines.market.quotes import QuoteTick
from engines.trading.book import Position
from engines.trading.orders import Order
from engines.trading.pnl import AccountArrays, LivePnl
from engines.trading.risk.monitor import RiskEvent
from engines.trading.risk.numbers import VAR_RULES, AccountRisk
from engines.trading.risk.order_checks import OrderEstimate, Rejection, check_order, reduces
from engines.trading.risk.screen import LimitTable, RiskArrays, suspects
from engines.trading.risk.value_at_risk import ReturnHistory, value_at_risk


class RiskDesk:
    """The rules of every account; their memory is in each account's monitor."""

    def __init__(self) -> None:
        self._table = LimitTable()
        self.history = ReturnHistory()

    def adopt(self, state: AccountState) -> None:
        """Take over an account's limits, or what changed in them."""
        self._table.put(state.account_id, state.limits, watching=True)

    def refusal(
        self,
        state: AccountState,
        order: Order,
        instrument: Instrument | None,
        quote: QuoteTick | None,
        working: Sequence[Order],
    ) -> Rejection | None:
        """Why the limits refuse an order; None lets it through, and counts it. What nobody can trade is the broker's to
        refuse."""
        if instrument is None or instrument.kind == "index":
            return None
        now = timezone.now()
        quantity = order.signed(order.quantity)
        held = state.book.positions.get(order.symbol)
        same_side = [o for o in working if o.symbol == order.symbol and o.side == order.side]
        price = _price(order, quote)
        estimate = OrderEstimate(
            symbol=order.symbol,
            quantity=quantity,
            price=price,
            multiplier=instrument.multiplier,
            reduces=reduces(
                held.quantity if held else 0, quantity, sum(o.signed(o.leaves_quantity) for o in same_side)
            ),
        )
        refused = check_order(
            state.limits,
            numbers_of(state),
            estimate,
            rate=state.rate,
            now=now,
            blocked_by=state.monitor.blocked_by,
            pending=_pending(state, working, instrument.multiplier),
        )
        if refused is None:
            state.rate.add(now)
        return refused

    def check(self, live: LivePnl, states: Mapping[int, AccountState]) -> list[AccountState]:
        """The accounts that a rule may have something to say of, at the last marks."""
        if not states:
            return []
        arrays = live.arrays
        start = np.array([float(states[i].day_start_value) for i in arrays.account_ids.tolist()])
        margin = np.array([float(states[i].margin_blocked) for i in arrays.account_ids.tolist()])
        found = suspects(_risk_arrays(arrays, start, margin), self._table)
        return [states[account_id] for account_id in arrays.account_ids[found].tolist()]

    def tell(self, state: AccountState) -> bool:
        """Let the account's monitor look at its books, marked at the last prices; whether it has something new to
        remember. Call it in a transaction of the account."""
        before = state.monitor.state
        events = state.monitor.check(state.limits, numbers_of(state), timezone.now())
        self._table.put(state.account_id, state.limits, watching=state.monitor.watching)
        announce(state, events)
        return state.monitor.state != before

    def value(self, states: Iterable[AccountState], factors: Callable[[Position], tuple[str, float]]) -> None:
        """Work out value at risk for accounts that have a limit on it. `factors`: what a position depends on, and with
        how many rupees."""
        limited = [state for state in states if any(getattr(state.limits, rule) is not None for rule in VAR_RULES)]
        if not limited:
            return
        returns = self.history.returns()
        for state in limited:
            exposures: defaultdict[str, float] = defaultdict(float)
            for held in state.book.positions.values():
                if held.quantity:
                    factor, rupees = factors(held)
                    exposures[factor] += rupees
            found = value_at_risk(exposures, returns)
            state.value_at_risk = {rule: getattr(found, rule) if found else None for rule in VAR_RULES}
            self._table.put(state.account_id, state.limits, watching=True)  # the next check looks at it


def _price(order: Order, quote: QuoteTick | None) -> float:
    """What a unit may cost, or bring: a sale at its limit or at the market, whichever is more."""
    prices = [float(price) for price in (order.limit_price, order.stop_price) if price is not None]
    if quote is not None and (order.side == "SELL" or not prices):
        prices.append(quote.last)
    return max(prices, default=0.0)


def _pending(state: AccountState, working: Sequence[Order], multiplier: int) -> dict[str, float]:
    """Signed rupees, by symbol, of working orders that open, as if they were filled at their prices."""
    pending: defaultdict[str, float] = defaultdict(float)
    for order in working:
        held = state.book.positions.get(order.symbol)
        signed = order.signed(order.leaves_quantity)
        if not reduces(held.quantity if held else 0, signed):
            price = order.limit_price or order.stop_price or (held.last_price if held else 0)
            pending[order.symbol] += signed * float(price) * multiplier
    return pending


def announce(state: AccountState, events: Iterable[RiskEvent]) -> None:
    """Record and publish what rules have to say."""
    for event in events:
        bookkeeping.raise_alert(state.user_id, event)


def numbers_of(state: AccountState) -> AccountRisk:
    """The account at its books' last prices."""
    totals = state.book.totals()
    return AccountRisk(
        total_value=float(totals.total_value),
        day_start_value=float(state.day_start_value),
        day_pnl=float(totals.daily_pnl),
        peak_value=float(max(state.peak_value, totals.total_value)),
        gross_exposure=float(totals.gross_exposure),
        margin_used=float(state.margin_blocked),
        position_values={
            symbol: float(held.market_value) for symbol, held in state.book.positions.items() if held.quantity
        },
        **state.value_at_risk,
    )


def _risk_arrays(arrays: AccountArrays, start: np.ndarray, margin: np.ndarray) -> RiskArrays:
    return RiskArrays(
        account_ids=arrays.account_ids,
        total_value=arrays.total_value,
        day_start_value=start,
        day_pnl=arrays.daily_pnl,
        peak_value=arrays.peak,
        gross_exposure=arrays.gross_exposure,
        largest_position=arrays.largest_position,
        margin_used=margin,
    )
