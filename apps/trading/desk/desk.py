"""The trading desk: takes orders, fills them, keeps all books, marks them, watches their risk.

Everything is in memory and written through: after each call the database, what was published and memory agree. If a
call fails, nothing of it counts: memory is read from the database anew before the next.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from django.utils import timezone

from apps.trading import accounts, bookkeeping, controls, models, orders, services
from apps.trading.desk import account as account_state
from apps.trading.desk import publishing
from apps.trading.desk.account import AccountState
from apps.trading.desk.fence import Fence
from apps.trading.desk.ledger import Ledger, save_positions
from apps.trading.desk.restoring import restored_order
from apps.trading.desk.risk import RiskDesk, announce
from engines.market.calendar import IST, is_open, previous_session_day
from engines.market.instruments import Instrument
from engines.market.quotes import QuoteTick
from engines.trading.book import Position, money
from engines.trading.orders import CancelRejected, Order, OrderCanceled, OrderEvent, OrderRejected
from engines.trading.paper_broker import Funds, PaperBroker
from engines.trading.performance import sharpe
from engines.trading.pnl import LivePnl
from engines.trading.rules import is_expired
from engines.trading.settlement import SettlementFill, settlement_fills

log = logging.getLogger(__name__)

DAYS_OF_SHARPE = 252
REQUESTS_AT_ONCE = 1_000

QUOTE_AGE = timedelta(seconds=60)  # an older quote fills no new order

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def _all_or_nothing(
    method: Callable[Concatenate[TradingDesk, Arguments], Result],
) -> Callable[Concatenate[TradingDesk, Arguments], Result]:
    """Begin with memory as the database has it; whatever a call that failed left behind is thrown away."""

    @wraps(method)
    def call(desk: TradingDesk, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        desk.ensure_loaded()
        try:
            return method(desk, *args, **kwargs)
        except BaseException:
            desk.is_stale = True
            raise

    return call


class TradingDesk:
    """One per process that runs engines; every method in the engines' thread. Times are the market's."""

    def __init__(self, *, quotes: Mapping[str, QuoteTick], previous_close: Mapping[str, float]) -> None:
        self.paused = False
        """Whether the quotes are old: the feed is silent, or has ended. Orders are taken then, and wait."""
        self.is_stale = True
        """Whether memory is not what the database says."""
        self._quotes = quotes
        self._previous_close = previous_close
        self._market_time: datetime | None = None
        self._instruments: dict[str, Instrument] = {}
        self._expiring: dict[str, Instrument] = {}
        self._states: dict[int, AccountState] = {}
        self._by_user: dict[int, AccountState] = {}
        self._live = LivePnl()
        self._ledger = Ledger()
        self._risk = RiskDesk()
        self._broker = PaperBroker({}, is_open=is_open)
        self._prices: dict[str, Decimal] = {}
        self._saved: dict[str, Decimal] = {}
        self._fence: Fence | None = None

    @property
    def user_ids(self) -> list[int]:
        """Everybody who has an account."""
        return list(self._by_user)

    # Beginning

    def begin(self, market: str) -> bool:
        """Take a new term, and everything that the database has; whether the market is that of the term before."""
        self._fence = Fence(market)
        self.is_stale = True
        self.ensure_loaded()
        return self._fence.same_market

    def set_instruments(self, instruments: Iterable[Instrument]) -> None:
        """What can be traded now: contracts were listed, or have expired."""
        # What is held goes on being known after the feed lists it no more, until it is closed or settled.
        held = services.instruments_of(self._live.symbols)
        self._instruments = {**held, **{instrument.symbol: instrument for instrument in instruments}}
        self._expiring.update((s, i) for s, i in self._instruments.items() if i.expiry is not None)
        self._broker.set_instruments(self._instruments)

    def ensure_loaded(self) -> None:
        """Read everything from the database, if memory is not what it says. Raises what the database raises."""
        if not self.is_stale:
            return
        watched = {state.user_id for state in self._states.values() if state.watched}
        self._live, self._ledger, self._risk = LivePnl(), Ledger(), RiskDesk()
        for symbol, day, close in bookkeeping.daily_closes():
            self._risk.history.add_close(symbol, day, close)
        self._saved = accounts.last_prices()
        self._prices = {**self._prices, **self._saved}
        self._states, self._by_user = {}, {}
        for row in models.Account.objects.prefetch_related("positions").select_related("risk_limits"):
            self._adopt(row)
        self._broker = PaperBroker(self._instruments, is_open=is_open)
        working = models.Order.objects.filter(status__in=models.Order.OPEN).exclude(
            status=models.Order.Status.PENDING_NEW
        )
        rows = list(working.order_by("created_at"))
        self._ledger.rows = {str(row.pk): row for row in rows}
        self._broker.restore([self._order(row) for row in rows])
        self.is_stale = False
        self.watch(watched)

    def _adopt(self, row: models.Account) -> AccountState:
        state = account_state.load(row, self._prices)
        self._states[row.pk] = self._by_user[row.user_id] = state
        self._live.put(row.pk, state.book, peak=state.peak_value, max_drawdown=state.max_drawdown)
        self._risk.adopt(state)
        return state

    def _state(self, account_id: int) -> AccountState:
        return self._states.get(account_id) or self._adopt(models.Account.objects.get(pk=account_id))

    # Orders

    @_all_or_nothing
    def take_requests(self, now: datetime | None) -> None:
        """Look for new orders, cancellations and changed controls in the database, and act on them. Orders wait until
        the market has a time."""
        self._take_controls()
        if now is None or self._market_time is None:
            return
        waiting = models.Order.objects.filter(status=models.Order.Status.PENDING_NEW).order_by("created_at")
        for row in waiting[:REQUESTS_AT_ONCE]:
            try:
                self._submit(row, now)
            except (ValueError, LookupError, ArithmeticError):
                log.exception("order %s cannot be dealt with: it is refused, the others go on", row.pk)
                self.is_stale = True
                self.ensure_loaded()
                self._write(self._ledger.refuse, row)
        wanted = models.Order.objects.filter(cancel_requested=True, status__in=models.Order.OPEN)
        for order_id in list(wanted.values_list("pk", flat=True)):
            if str(order_id) in self._ledger.rows:
                self._apply(self._broker.cancel(str(order_id), now))

    @_all_or_nothing
    def record_and_place(
        self, record: Callable[[], object], wanted: Iterable[tuple[int, orders.NewOrder]], now: datetime
    ) -> None:
        """Record something, and place the orders (by user) that follow from it, in one transaction; then act on them.
        Should the process end in between, they are taken at the next start."""
        assert self._fence is not None  # noqa: S101 - begin() comes first
        with self._fence.transaction():
            record()
            placed = [orders.place(str(user_id), order) for user_id, order in wanted]
        for row, is_new in placed:
            if is_new:
                self._submit(row, now)

    @_all_or_nothing
    def automatic_accounts(self, symbol: str) -> list[tuple[int, int]]:
        """Whoever trades this symbol's signals automatically: (user, units held)."""
        watching = models.WatchlistItem.objects.filter(instrument_id=symbol, user__account__auto_trade=True)
        found = []
        for user_id, account_id in watching.order_by("user_id").values_list("user_id", "user__account__pk"):
            held = self._state(account_id).book.positions.get(symbol)
            found.append((user_id, held.quantity if held else 0))
        return found

    def opening_cash(self, user_id: int) -> Decimal:
        """What the user's account began with."""
        return self._by_user[user_id].book.opening_cash

    @_all_or_nothing
    def on_quotes(self, quotes: Sequence[QuoteTick], now: datetime) -> None:
        """Fill what these quotes fill."""
        self._market_time = now
        self._apply(self._broker.on_quotes(quotes, now))

    def _order(self, row: models.Order) -> Order:
        return restored_order(row, self._state(row.account_id).brokerage_plan)

    def _submit(self, row: models.Order, now: datetime) -> None:
        state = self._state(row.account_id)
        order = self._order(row)
        self._ledger.rows[order.order_id] = row
        instrument, quote = self._instruments.get(order.symbol), self._quotes.get(order.symbol)
        refused = self._risk.refusal(state, order, instrument, quote, self._broker.open_orders(state.account_id))
        if row.cancel_requested:
            self._apply([OrderCanceled(order.cancel("canceled before it was taken", now))])
            return
        if refused is not None:
            rejected = order.reject(refused.reason, now, refused.code)
            self._apply([OrderRejected(rejected, refused.code, rejected.reason)])
            return
        close = self._previous_close.get(order.symbol)
        margin = account_state.margin_of_positions(state.book, self._instruments, now.astimezone(IST).date())
        held = {symbol: position.quantity for symbol, position in state.book.positions.items() if position.quantity}
        funds = Funds(available=state.book.cash - margin, held=held)
        if quote is not None and (self.paused or now - quote.time > QUOTE_AGE):
            quote = None  # too old to be filled against
        self._apply(self._broker.submit(order, funds, quote, None if close is None else money(close), now))

    def _apply(self, events: Iterable[OrderEvent]) -> None:
        """Write and publish events, account by account."""
        by_account: defaultdict[int, list[OrderEvent]] = defaultdict(list)
        for event in events:
            if not isinstance(event, CancelRejected):  # what has ended says itself how
                by_account[event.order.account_id].append(event)
        for account_id, of_account in by_account.items():
            self._write(self._record, self._state(account_id), of_account)

    def _write(self, call: Callable[Arguments, None], *args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        """In a transaction of this term."""
        assert self._fence is not None  # noqa: S101 - begin() comes first
        with self._fence.transaction():
            call(*args, **kwargs)

    def _record(self, state: AccountState, events: Sequence[OrderEvent]) -> None:
        for event in events:
            if not isinstance(event, CancelRejected):
                self._ledger.record(state, event, self._instruments.get(event.order.symbol))
        self._after_change(state)

    def _after_change(self, state: AccountState) -> None:
        """Its orders or books changed: mark it, work out its margin and risk anew, write it, tell who watches."""
        state.touched.update(held.symbol for held in state.book.mark(self._prices))
        self._save_prices(state.book.positions, self._market_time or timezone.now())
        self._live.put(state.account_id, state.book)
        self._take_peak(state)
        positions = account_state.margin_of_positions(state.book, self._instruments, self._day)
        state.margin_blocked = positions + self._broker.blocked(state.account_id)
        self._risk.tell(state)
        state.write()
        if state.watched:
            publishing.publish_positions(state, [state.book.positions[symbol] for symbol in sorted(state.touched)])
            publishing.publish_account(state)
        state.touched.clear()

    # Controls

    def _take_controls(self) -> None:
        """Limits and switches that were set since the last look."""
        for account_id in list(models.Account.objects.filter(controls_changed=True).values_list("pk", flat=True)):
            self._write(self._control, self._state(account_id))

    def _control(self, state: AccountState) -> None:
        row = models.Account.objects.select_for_update().get(pk=state.account_id)
        now = timezone.now()
        try:
            state.limits = controls.limits_of(row)
        except ValueError:
            log.exception("the risk limits of account %s make no sense: the old ones hold", row.pk)
        state.brokerage_plan = row.brokerage_plan
        if row.kill_switch:
            announce(state, state.monitor.engage(row.kill_switch_reason, now))
        elif row.reset_requested:
            announce(state, state.monitor.reset("its owner", now))
        models.Account.objects.filter(pk=row.pk).update(controls_changed=False, reset_requested=False)
        self._risk.adopt(state)
        self._risk.tell(state)
        state.write()

    # Marks

    @_all_or_nothing
    def mark(self, now: datetime) -> None:
        """Mark all accounts at the latest prices, and tell who watches."""
        self._prices.update((s, money(quote.last)) for s, quote in self._quotes.items() if quote.last > 0)
        self._live.mark(self._prices)
        self._write(self._publish_marks, now)

    def _publish_marks(self, now: datetime) -> None:
        self._save_prices((s for s in self._prices if s in self._live.symbols or self._is_kept(s)), now)
        watched = [state for state in self._states.values() if state.watched]
        for state in watched:
            publishing.publish_positions(state, state.book.mark(self._prices))
            if self._take_peak(state):
                state.write()
        totals = self._live.totals(state.account_id for state in watched)
        publishing.publish_totals(list(zip(watched, totals, strict=True)))

    def _save_prices(self, symbols: Iterable[str], now: datetime) -> None:
        """What positions are marked at is in the database, for snapshots."""
        changed = {s: self._prices[s] for s in symbols if s in self._prices and self._prices[s] != self._saved.get(s)}
        if changed:
            bookkeeping.save_prices(changed, now)
            self._saved.update(changed)

    def _is_kept(self, symbol: str) -> bool:
        """Whether a price is kept though nobody holds it: the next start goes on from it."""
        instrument = self._instruments.get(symbol)
        return instrument is not None and instrument.kind in ("index", "equity")

    def _take_peak(self, state: AccountState) -> bool:
        """Take over the account's peak and drawdown; whether they changed."""
        before = state.peak_value, state.max_drawdown
        state.peak_value, state.max_drawdown = self._live.peak_and_max_drawdown(state.account_id)
        return (state.peak_value, state.max_drawdown) != before

    @_all_or_nothing
    def check_risk(self) -> None:
        """Let the rules look at every account that one may have something to say of."""
        for state in self._risk.check(self._live, self._states):
            state.book.mark(self._prices)
            self._write(self._tell_risk, state)

    @_all_or_nothing
    def value_risk(self, deltas: Mapping[str, float]) -> None:
        """Work out value at risk anew; an option counts as its delta (by symbol) in units of its underlying."""

        def factors(held: Position) -> tuple[str, float]:
            instrument = self._instruments.get(held.symbol)
            if instrument is None or not instrument.underlying:
                return held.symbol, float(held.market_value)
            spot = float(self._prices.get(instrument.underlying, 0))
            delta = deltas.get(held.symbol, 0.0) if instrument.kind == "option" else 1.0
            return instrument.underlying, held.quantity * held.multiplier * delta * spot

        for state in self._states.values():
            state.book.mark(self._prices)
        self._risk.value(self._states.values(), factors)

    def _tell_risk(self, state: AccountState) -> None:
        if self._risk.tell(state):
            state.write()

    # Who watches

    @_all_or_nothing
    def watch(self, user_ids: Collection[int]) -> None:
        """These users look at their account now. Who begins to gets everything; what nobody sees is not kept."""
        for state in self._states.values():
            looks = state.user_id in user_ids
            if looks and not state.watched:
                self._write(self._show, state)
            elif state.watched and not looks:
                publishing.forget_account(state)
            state.watched = looks

    def _show(self, state: AccountState) -> None:
        state.book.mark(self._prices)
        if self._take_peak(state):
            state.write()
        publishing.publish_everything(state)

    # Days

    @property
    def _day(self) -> date:
        return (self._market_time or timezone.now()).astimezone(IST).date()

    @_all_or_nothing
    def start_day(self, day: date, now: datetime) -> None:
        """A market day begins: yesterday's orders expire, contracts that are over are settled, and the day's profit and
        loss counts from the previous closes. Nothing on the day that the books are in already, as after a restart. If
        it fails, call it again: accounts that are in the day are not moved twice."""
        assert self._fence is not None  # noqa: S101 - begin() comes first
        self._market_time = now
        if self._fence.day == day:
            return
        before = self._fence.day
        self._apply(self._broker.end_of_session(now))
        self.settle(now)
        closes = {s: money(price) for s, price in self._previous_close.items()}
        self._keep_closes({s: close for s, close in closes.items() if self._is_kept(s)}, day)
        self._prices.update(closes)
        self._live.mark(closes)
        for account_id in list(self._states):
            self._write(self._start_day, self._states[account_id], before, day, closes)
        self._fence.enter_day(day)

    def settle(self, now: datetime) -> None:
        """Close what has expired, in cash, at the underlying's last price before it did."""
        for state in list(self._states.values()):
            held = {s: p.quantity for s, p in state.book.positions.items() if p.quantity}
            fills = settlement_fills(held, self._expiring, self._prices, now)
            if fills:
                self._write(self._settle, state, fills)
        self._expiring = {s: i for s, i in self._expiring.items() if not is_expired(i, now) or s in self._live.symbols}

    def _settle(self, state: AccountState, fills: Sequence[SettlementFill]) -> None:
        for fill in fills:
            self._ledger.settle(state, fill, self._expiring[fill.symbol])
        self._after_change(state)

    def _keep_closes(self, closes: Mapping[str, Decimal], day: date) -> None:
        """They are of the session before the day."""
        before = previous_session_day(day)
        bookkeeping.save_closes(closes, before)
        for symbol, close in closes.items():
            self._risk.history.add_close(symbol, before, float(close))

    def _start_day(self, state: AccountState, before: date | None, day: date, closes: Mapping[str, Decimal]) -> None:
        row = models.Account.objects.get(pk=state.account_id)
        if row.day == day:
            return
        state.book.mark(self._prices)
        if before is not None:
            value = state.book.totals().total_value
            row.daily_values.update_or_create(day=before, defaults={"value": value})
            newest = row.daily_values.order_by("-day").values_list("value", flat=True)[: DAYS_OF_SHARPE + 1]
            state.sharpe = sharpe([float(each) for each in reversed(newest)])
        state.book.start_day(closes)
        state.day_start_value = state.book.totals().total_value
        models.Account.objects.filter(pk=row.pk).update(day=day)
        save_positions(state)
        announce(state, state.monitor.start_day(day))
        state.touched.update(symbol for symbol, held in state.book.positions.items() if held.quantity)
        self._after_change(state)
