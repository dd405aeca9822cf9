"""What the engines find out about the market, in the database, and the publications that follow. Synchronous; run in
the engines' thread. Each function is one transaction; what it publishes goes out when that commits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from apps.trading import models, present, websocket_utils
from engines.trading.book import money
from engines.trading.risk.monitor import RiskEvent
from engines.trading.sentiment.model import Sentiment
from engines.trading.signals import SignalEvent

KEPT_FOR = timedelta(hours=6)
DAYS_OF_VOLATILITY = 252
_OF_A_MARKET = (
    "cash",
    "day",
    "day_start_value",
    "peak_value",
    "max_drawdown",
    "margin_blocked",
    "sharpe",
    "risk_state",
    "trade_count",
    "win_count",
    "loss_count",
    "gross_profit",
    "gross_loss",
)  # of an account; limits and the kill switch are its user's
HISTORY = timedelta(days=750)  # 500 sessions and what lies between them


# Signals


@transaction.atomic
def record_signal(event: SignalEvent, *, simulated: bool) -> models.Signal:
    """Record and broadcast a new signal, or what became of one."""
    row = models.Signal.objects.filter(pk=event.signal_id).first()
    is_new = row is None
    if row is None:
        row = models.Signal(
            id=UUID(event.signal_id),
            symbol=event.symbol,
            signal_type=event.direction,
            confidence_score=event.confidence,
            entry_price=money(event.entry_price),
            target_price=money(event.target_price),
            stop_loss=money(event.stop_loss),
            strategy=event.strategy,
            rationale=event.rationale[:300],
            valid_until=event.valid_until,
            created_at=timezone.now(),
        )
    row.status = event.status
    row.metadata = {
        "market_time": event.opened_at.astimezone(UTC).isoformat(),
        "simulated": simulated,
        "mfe_r": round(event.mfe_r, 4),
        "mae_r": round(event.mae_r, 4),
        **({} if event.exit_price is None else {"exit_price": event.exit_price}),
        **({} if event.realised_r is None else {"realised_r": round(event.realised_r, 4)}),
    }
    row.save(force_insert=is_new)
    tell = websocket_utils.broadcast_signal if is_new else websocket_utils.broadcast_signal_update
    tell(present.signal(row))
    return row


def open_signals() -> list[SignalEvent]:
    """What was open when the engines stopped, for them to go on with."""
    return [
        SignalEvent(
            signal_id=str(row.pk),
            strategy=row.strategy,
            symbol=row.symbol,
            direction=row.signal_type,  # type: ignore[arg-type]
            status=row.status,  # type: ignore[arg-type]
            confidence=row.confidence_score,
            entry_price=float(row.entry_price),
            target_price=float(row.target_price or 0),
            stop_loss=float(row.stop_loss or 0),
            opened_at=datetime.fromisoformat(row.metadata["market_time"]),
            valid_until=row.valid_until or row.created_at,
            rationale=row.rationale,
            exit_price=None,
            mfe_r=row.metadata.get("mfe_r", 0.0),
            mae_r=row.metadata.get("mae_r", 0.0),
            realised_r=None,
        )
        for row in _ours().filter(status__in=models.Signal.OPEN, metadata__has_key="market_time")
    ]


def save_extremes(open_signals: Iterable[SignalEvent]) -> None:
    """Keep how far the price went for and against open signals, for a restart. Nobody is told."""
    current = {event.signal_id: event for event in open_signals}
    rows = list(models.Signal.objects.filter(pk__in=current))
    for row in rows:
        event = current[str(row.pk)]
        row.metadata = {**row.metadata, "mfe_r": round(event.mfe_r, 4), "mae_r": round(event.mae_r, 4)}
    models.Signal.objects.bulk_update(rows, ["metadata"])


@transaction.atomic
def cancel_signals(signal_ids: Sequence[str]) -> None:
    """Close signals that nobody watches any more: of a strategy or a symbol that is not there now."""
    for row in models.Signal.objects.filter(pk__in=signal_ids):
        row.status = models.Signal.Status.CANCELLED
        row.save(update_fields=["status", "updated_at"])
        websocket_utils.broadcast_signal_update(present.signal(row))


def _ours():  # noqa: ANN202 - a Django manager's own type
    return models.Signal.objects.filter(user=None).exclude(strategy="")


# The market


@transaction.atomic
def save_prices(prices: Mapping[str, Decimal], market_time: datetime) -> None:
    """Keep the prices that positions were marked at, for snapshots and for the next start."""
    rows = [models.LastPrice(symbol=s, price=price, market_time=market_time) for s, price in prices.items()]
    models.LastPrice.objects.bulk_create(
        rows, update_conflicts=True, unique_fields=("symbol",), update_fields=("price", "market_time")
    )


def save_closes(closes: Mapping[str, Decimal], day: date) -> None:
    """Keep what a day closed at, and forget what is older than value at risk looks back."""
    rows = [models.DailyClose(symbol=symbol, day=day, close=close) for symbol, close in closes.items()]
    models.DailyClose.objects.bulk_create(
        rows, update_conflicts=True, unique_fields=("symbol", "day"), update_fields=("close",)
    )
    models.DailyClose.objects.filter(day__lt=day - HISTORY).delete()


def daily_closes() -> Iterator[tuple[str, date, float]]:
    """Symbol, day and close of every day that is kept, oldest first."""
    for symbol, day, close in models.DailyClose.objects.order_by("day").values_list("symbol", "day", "close"):
        yield symbol, day, float(close)


def where_it_stopped() -> tuple[dict[str, float], datetime | None]:
    """The last prices, and the market's time then."""
    rows = list(models.LastPrice.objects.all())
    return {row.symbol: float(row.price) for row in rows}, max((row.market_time for row in rows), default=None)


@transaction.atomic
def forget_market() -> None:
    """Drop what the start computes anew from the feed that it has."""
    models.Sentiment.objects.all().delete()
    models.OptionChain.objects.all().delete()


@transaction.atomic
def change_market() -> None:
    """The engines follow another market now: drop the old one's prices, let automatic accounts start anew."""
    models.LastPrice.objects.all().delete()
    models.DailyVolatility.objects.all().delete()
    models.DailyClose.objects.all().delete()
    for account in models.Account.objects.filter(auto_trade=True):
        for rows in (account.orders, account.positions, account.daily_values):
            rows.all().delete()
        account.cash = account.day_start_value = account.peak_value = account.opening_cash
        account.day, account.sharpe, account.risk_state = None, None, {}
        account.max_drawdown, account.margin_blocked = 0.0, Decimal(0)
        account.trade_count = account.win_count = account.loss_count = 0
        account.gross_profit = account.gross_loss = Decimal(0)
        account.save(update_fields=_OF_A_MARKET)


def prune(now: datetime) -> None:
    """Drop what the engines wrote more than `KEPT_FOR` ago and nobody will ask for."""
    _ours().exclude(status__in=models.Signal.OPEN).filter(created_at__lt=now - KEPT_FOR).delete()
    automatic = models.Order.objects.filter(account__auto_trade=True).exclude(status__in=models.Order.OPEN)
    automatic.filter(created_at__lt=now - KEPT_FOR).delete()
    models.RiskAlert.objects.filter(created_at__lt=now - KEPT_FOR, user__account__auto_trade=True).delete()
    known = models.Instrument.objects.values_list("symbol", flat=True)
    models.LastPrice.objects.exclude(symbol__in=known).delete()


@transaction.atomic
def save_sentiments(sentiments: Sequence[Sentiment]) -> None:
    """Keep and publish the sentiment of each scope."""
    now = timezone.now()
    rows = [
        models.Sentiment(
            scope=s.scope, score=s.score, components=dict(s.components), weights=dict(s.weights), updated_at=now
        )
        for s in sentiments
    ]
    models.Sentiment.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=("scope",),
        update_fields=("score", "components", "weights", "updated_at"),
    )
    for row in rows:
        websocket_utils.notify_sentiment_update(present.sentiment(row))


def save_volatility(underlying: str, day: date, atm_iv: float) -> None:
    """Keep a day's at-the-money volatility; the day's last one counts."""
    models.DailyVolatility.objects.update_or_create(underlying=underlying, day=day, defaults={"atm_iv": atm_iv})


def volatilities(underlying: str) -> list[tuple[date, float]]:
    """A year of days' at-the-money volatility, oldest first."""
    rows = models.DailyVolatility.objects.filter(underlying=underlying).order_by("-day")[:DAYS_OF_VOLATILITY]
    return [(row.day, row.atm_iv) for row in reversed(rows)]


# Risk


def raise_alert(user_id: int, event: RiskEvent) -> None:
    """Record and publish an alert, as a part of the running transaction."""
    alert = models.RiskAlert.objects.create(
        user_id=user_id,
        rule=event.rule,
        symbol=event.symbol,
        severity=event.severity,
        message=event.message[:300],
        value=event.value,
        limit=event.limit,
        created_at=timezone.now(),
    )
    websocket_utils.notify_risk_alert(user_id, present.risk_alert(alert), event.severity)
