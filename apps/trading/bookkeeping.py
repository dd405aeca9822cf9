"""What the engines' results do to the database, and the publications that follow. Synchronous; run in a thread.

Each function is one transaction; what it publishes goes out when that commits.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal

from django.db import DatabaseError, transaction
from django.utils import timezone

from apps.streaming.validation import to_payload
from apps.trading import messages, models, present, services, websocket_utils
from engines.trading.book import Book, money
from engines.trading.risk import RiskBreach, RiskLimits, RiskMonitor
from engines.trading.sentiment import Sentiment
from engines.trading.signals import STRATEGY, SignalEvent

log = logging.getLogger(__name__)

POSITION_SHARE = Decimal("0.10")
KEPT_FOR = timedelta(hours=6)


@transaction.atomic
def open_signal(event: SignalEvent, market_time: datetime, *, simulated: bool) -> models.Signal:
    """Record and broadcast a new signal."""
    row = models.Signal.objects.create(
        symbol=event.symbol,
        signal_type=event.direction,
        status=event.status,
        confidence_score=event.confidence,
        entry_price=money(event.entry_price),
        target_price=money(event.target_price),
        stop_loss=money(event.stop_loss),
        strategy=STRATEGY,
        rationale=f"the fast average crossed {'above' if event.direction == 'BUY' else 'below'} the slow one",
        metadata={"market_time": market_time.isoformat(), "simulated": simulated},
        created_at=timezone.now(),
    )
    websocket_utils.broadcast_signal(present.signal(row))
    return row


@transaction.atomic
def change_signal(row: models.Signal, event: SignalEvent) -> None:
    """Record and broadcast a signal's new status."""
    if event.exit_price is not None:
        row.metadata = {**row.metadata, "exit_price": event.exit_price}
    _move(row, event.status)


def cancel_left_over_signals() -> int:
    """Close the signals of an earlier run, which nobody watches any more. How many there were."""
    rows = list(models.Signal.objects.filter(user=None, strategy=STRATEGY, status__in=models.Signal.OPEN))
    for row in rows:
        _move(row, models.Signal.Status.CANCELLED)
    return len(rows)


def _move(row: models.Signal, status: str) -> None:
    row.status = status
    row.save(update_fields=["status", "metadata", "updated_at"])
    websocket_utils.broadcast_signal_update(present.signal(row))


@transaction.atomic
def forget_market() -> None:
    """Drop what was computed from another feed, or another run of this one: it is not of this market."""
    models.Sentiment.objects.all().delete()
    models.OptionChain.objects.all().delete()
    models.OptionPosition.objects.filter(account__auto_trade=True).delete()


def prune(now: datetime) -> None:
    """Drop what the engines wrote more than `KEPT_FOR` ago and nobody will ask for."""
    ours = models.Signal.objects.filter(user=None, strategy=STRATEGY).exclude(status__in=models.Signal.OPEN)
    ours.filter(created_at__lt=now - KEPT_FOR).delete()
    automatic = models.Order.objects.filter(account__auto_trade=True)
    automatic.filter(created_at__lt=now - KEPT_FOR).delete()
    models.RiskAlert.objects.filter(created_at__lt=now - KEPT_FOR, user__account__auto_trade=True).delete()


def trade_on_signal(event: SignalEvent, price: float) -> None:
    """Let every account that trades automatically follow a signal on a share that it watches."""
    watched = {"user__watchlist__instrument_id": event.symbol, "user__watchlist__instrument__kind": "equity"}
    for account in models.Account.objects.filter(auto_trade=True, **watched):
        _follow(account.pk, event, money(price))


@transaction.atomic
def _follow(account_id: int, event: SignalEvent, price: Decimal) -> None:
    account = models.Account.objects.select_for_update().get(pk=account_id)
    book = services.load_book(account)
    held = book.positions[event.symbol].quantity if event.symbol in book.positions else 0
    wanted = 0
    if event.status == "NEW":
        wanted = int(account.opening_cash * POSITION_SHARE / price) * (1 if event.direction == "BUY" else -1)
    quantity = wanted - held
    against = event.status == "NEW" and quantity * wanted <= 0  # it holds enough, or more, in the signal's direction
    if event.status != "ACTIVE" and quantity and not against:
        execute(account, book, event.symbol, quantity, price)


def execute(account: models.Account, book: Book, symbol: str, quantity: int, price: Decimal) -> models.Order:
    """Fill a market order at the price, or reject it for want of cash. Publishes each state of the order and the fill.
    Call it in a transaction that holds the account."""
    now = timezone.now()
    user_id = account.user_id
    order = models.Order.objects.create(
        account=account,
        symbol=symbol,
        side=models.Side.BUY if quantity > 0 else models.Side.SELL,
        quantity=abs(quantity),
        status=models.Order.Status.NEW,
        created_at=now,
        updated_at=now,
    )
    websocket_utils.notify_order_update(user_id, present.order(order))
    if quantity > 0 and quantity * price > book.cash:
        order.status = models.Order.Status.REJECTED
        order.reason = f"{quantity * price:.2f} are needed, {book.cash:.2f} are there"
        execution = models.Execution.objects.create(
            order=order, quantity=abs(quantity), error=order.reason, executed_at=now
        )
        websocket_utils.notify_trade_failed(user_id, present.execution(execution), order.reason)
    else:
        position = book.fill(symbol, quantity, price)
        order.status = models.Order.Status.FILLED
        order.filled_quantity = abs(quantity)
        execution = models.Execution.objects.create(order=order, quantity=abs(quantity), price=price, executed_at=now)
        save_book(account, book)
        websocket_utils.notify_trade_executed(user_id, present.execution(execution))
        websocket_utils.notify_position_update(user_id, present.position(position))
        publish_totals({account.user_id: totals_of(account, book)})
    order.save()
    websocket_utils.notify_order_update(user_id, present.order(order))
    return order


def save_book(account: models.Account, book: Book) -> None:
    """Write cash and positions back."""
    account.cash = book.cash
    account.save(update_fields=["cash"])
    models.Position.objects.bulk_create(
        [
            models.Position(
                account=account,
                symbol=p.symbol,
                quantity=p.quantity,
                average_price=p.average_price,
                last_price=p.last_price,
                realised_pnl=p.realised_pnl,
            )
            for p in book.positions.values()
        ],
        update_conflicts=True,
        unique_fields=("account", "symbol"),
        update_fields=("quantity", "average_price", "last_price", "realised_pnl"),
    )


def totals_of(account: models.Account, book: Book) -> tuple[messages.PortfolioTotals, messages.Pnl]:
    """What is to be told of an account's totals. Raises `InvalidMessage`: one bad one must not hold up the rest."""
    totals, daily_pnl = book.totals(), services.daily_pnl(account, book)
    portfolio = to_payload(messages.PortfolioTotals, present.portfolio_totals(totals, daily_pnl), "update")
    return portfolio, to_payload(messages.Pnl, present.pnl(totals, daily_pnl), "pnl")


def publish_totals(of_users: Mapping[int, tuple[messages.PortfolioTotals, messages.Pnl]]) -> None:
    """Send the totals, and the profit and loss, of many users at once."""
    websocket_utils.notify_portfolio_updates({user_id: portfolio for user_id, (portfolio, _) in of_users.items()})
    websocket_utils.notify_pnl_updates({user_id: pnl for user_id, (_, pnl) in of_users.items()})


class Marker:
    """Marks every account that holds something to market, and watches its risk."""

    def __init__(self) -> None:
        self._monitors: dict[int, RiskMonitor] = {}

    def mark(self, prices: Mapping[str, float], *, new_day: date | None = None) -> None:
        """Set last prices, publish what changed, raise alerts. With `new_day`, what each account is worth at these
        prices is what that market day starts from."""
        exact = {symbol: money(price) for symbol, price in prices.items()}
        holding = models.Account.objects.filter(positions__symbol__in=exact).distinct()
        totals = {}
        for account_id, user_id in list(holding.values_list("pk", "user_id")):
            try:
                totals[user_id] = self._mark(account_id, exact, new_day)
            except (DatabaseError, ValueError):
                log.exception("account %s could not be marked", account_id)  # the others go on
        publish_totals(totals)

    @transaction.atomic
    def _mark(
        self, account_id: int, prices: Mapping[str, Decimal], new_day: date | None
    ) -> tuple[messages.PortfolioTotals, messages.Pnl]:
        account = models.Account.objects.select_for_update().get(pk=account_id)
        book = services.load_book(account)
        changed = book.mark(prices)
        value = book.totals().total_value
        if new_day is not None:
            account.day, account.day_start_value = new_day, value
            account.save(update_fields=["day", "day_start_value"])
        save_book(account, book)
        for position in changed:
            websocket_utils.notify_position_update(account.user_id, present.position(position))
        limits = RiskLimits(account.daily_loss_limit, account.concentration_limit)
        monitor = self._monitors.setdefault(account_id, RiskMonitor())
        for breach in monitor.check(limits, account.day_start_value, value, book.positions.values()):
            _raise_alert(account.user_id, breach)
        return totals_of(account, book)


def _raise_alert(user_id: int, breach: RiskBreach) -> None:
    alert = models.RiskAlert.objects.create(
        user_id=user_id,
        rule=breach.rule,
        symbol=breach.symbol,
        severity=breach.severity,
        message=breach.message,
        value=breach.value,
        limit=breach.limit,
        created_at=timezone.now(),
    )
    websocket_utils.notify_risk_alert(user_id, present.risk_alert(alert), breach.severity)


@transaction.atomic
def save_sentiments(sentiments: Sequence[Sentiment]) -> None:
    """Keep and publish the sentiment of each scope."""
    now = timezone.now()
    rows = [
        models.Sentiment(scope=s.scope, score=s.score, components=dict(s.components), updated_at=now)
        for s in sentiments
    ]
    models.Sentiment.objects.bulk_create(
        rows, update_conflicts=True, unique_fields=("scope",), update_fields=("score", "components", "updated_at")
    )
    for row in rows:
        websocket_utils.notify_sentiment_update(present.sentiment(row))


def open_demo_options(underlying: str, expiry: date, strikes: Iterable[float], spot: float) -> None:
    """Give every automatic account without options on the underlying a bought straddle at the money."""
    at_the_money = min(strikes, key=lambda strike: abs(strike - spot))
    for account in models.Account.objects.filter(auto_trade=True).exclude(
        option_positions__underlying=underlying, option_positions__expiry=expiry
    ):
        for option_type in ("CE", "PE"):
            models.OptionPosition.objects.create(
                account=account,
                underlying=underlying,
                expiry=expiry,
                option_type=option_type,
                strike=money(at_the_money),
                quantity=65 if underlying == "NIFTY" else 30,
            )


def publish_portfolio_greeks() -> None:
    """Send their Greeks to everyone who holds options."""
    holders = models.OptionPosition.objects.values_list("account__user_id", flat=True).distinct()
    for user_id in holders:
        websocket_utils.notify_portfolio_greeks(user_id, services.portfolio_greeks(str(user_id)))
