"""What leases earn, by month, exact to the paisa.

A priced lease earns its price evenly over its time. What it has earned by a moment is rounded down to the paisa, and a
month's part is the difference between two such moments: so the parts sum to the price, whatever the dates.

A profit share is notional: nobody is asked how they traded. It takes `capital` rupees, spread evenly over the symbols
that the model predicted in the month and over the predictions of a symbol that are open at once (`horizon_bars`); each
prediction that was made while the lease ran is followed from its price to its outcome, long for UP, short for DOWN,
without costs. A month's profit is that of the predictions settled in it; the owner's share of a loss is zero, a loss is
not carried over, and a share is at most the capital. It changes no more once the month is over: `close_months` keeps it
on the lease then, and the predictions need not be kept for it.

Months are those of India (IST).
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_DOWN, Decimal

from django.db import InterfaceError, OperationalError
from django.db import models as orm
from django.db.models import Case, Count, Exists, F, OuterRef, Q, Sum, Value, When
from django.db.models.functions import Coalesce, TruncMonth
from django.utils import timezone

from apps.ai_studio import models, payloads, topics, websocket_utils
from apps.streaming.audience import watched
from apps.streaming.threads import in_engine_thread
from engines.market.calendar import IST

log = logging.getLogger(__name__)

PAISA = Decimal("0.01")
NOTHING = Decimal("0.00")
LISTED_MONTHS = 12
SETTLING_DAYS = 400  # so long after its end a share may still earn: by predictions of the longest horizon
_CLOSING = timedelta(hours=1)  # so long after a month's end: what was settled in its last moment is written by then
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Month:
    """What a month (its first day) brought, in rupees: `accrued` by now, `paid` as recorded, and `due`: what may be
    paid for it in all."""

    period: date
    accrued: Decimal
    paid: Decimal
    due: Decimal = NOTHING


@dataclass(frozen=True, slots=True)
class Statement:
    """What the leases of a user's models have earned by now (`accrued`), and the priced ones are worth in all
    (`contracted`), in rupees."""

    accrued: Decimal
    contracted: Decimal
    active_leases: int
    periods: list[Month]


# Months


def month_of(moment: datetime) -> date:
    """The first day of the month that it is in India."""
    return moment.astimezone(IST).date().replace(day=1)


def month_starts(period: date) -> datetime:
    """Its first moment."""
    return datetime(period.year, period.month, 1, tzinfo=IST)


def month_after(period: date) -> date:
    """The first day of the next month."""
    return (period.replace(day=1) + timedelta(days=31)).replace(day=1)


def _months(start: datetime, end: datetime) -> Iterator[date]:
    """Every month that a moment of [start, end) is in."""
    period = month_of(start)
    while month_starts(period) < end:
        yield period
        period = month_after(period)


# One lease


def accrued(lease: models.Lease, at: datetime) -> Decimal:
    """What a priced lease has earned by then; the whole price from its end on."""
    length = (lease.ends_at - lease.starts_at) // _MICROSECOND
    passed = (min(max(at, lease.starts_at), lease.ends_at) - lease.starts_at) // _MICROSECOND
    paise = int(lease.price / PAISA) * passed // length
    return paise * PAISA


def parts(lease: models.Lease, at: datetime) -> dict[date, Decimal]:
    """What a lease has earned by then, month by month."""
    if lease.price is None:
        return _shares(lease, at)
    return {
        period: accrued(lease, min(at, month_starts(month_after(period)))) - accrued(lease, month_starts(period))
        for period in _months(lease.starts_at, min(at, lease.ends_at))
    }


def _shares(lease: models.Lease, at: datetime) -> dict[date, Decimal]:
    """The owner's share of each month's profit; months without one are left out."""
    kept = {date.fromisoformat(f"{month}-01"): Decimal(share) for month, share in lease.shares.items()}
    return {period: share for period, share in kept.items() if month_starts(period) < at} | _unkept_shares(lease, at)


def _unkept_shares(lease: models.Lease, at: datetime) -> dict[date, Decimal]:
    """Those of the months that `close_months` has not closed, from the predictions."""
    if _earns_no_more(lease):
        return {}
    moved = F("outcome_price") / F("price") - 1.0
    signed = Case(When(direction="UP", then=moved), default=-moved, output_field=orm.FloatField())
    settled = models.Prediction.objects.filter(
        model_id=lease.listing.model_id,
        created_at__gte=lease.starts_at,
        created_at__lt=lease.ends_at,
        settled_at__gte=lease.settled_until or lease.starts_at,
        settled_at__lte=at,
        outcome_price__isnull=False,
        price__gt=0,
    )
    months = (
        settled.order_by()
        .annotate(period=TruncMonth("settled_at", tzinfo=IST))
        .values("period")
        .annotate(returned=Sum(signed / F("horizon_bars")), symbols=Count("symbol", distinct=True))
        .order_by("period")
    )
    rate = lease.profit_share_percent / 100 * lease.capital
    shares = {
        # A sum of floats is rounded before it becomes money: its last digits depend on the order of the rows.
        month["period"].date(): rate * Decimal(f"{max(0.0, month['returned']):.12f}") / month["symbols"]
        for month in months
    }
    whole = {period: min(share, lease.capital).quantize(PAISA, ROUND_DOWN) for period, share in shares.items()}
    return {period: share for period, share in whole.items() if share}


def _earns_no_more(lease: models.Lease) -> bool:
    return lease.settled_until is not None and lease.settled_until > lease.ends_at + timedelta(days=SETTLING_DAYS)


def due(lease: models.Lease, period: date, now: datetime) -> Decimal:
    """What may be paid for a month: its whole part of the price, also ahead of time; or the share of a month that is
    over. Zero for a month in which the lease earns nothing."""
    return _payable(lease, now).get(period, NOTHING)


def _payable(lease: models.Lease, now: datetime) -> dict[date, Decimal]:
    if lease.price is not None:
        return parts(lease, lease.ends_at)
    return {period: share for period, share in parts(lease, now).items() if period < month_of(now)}


def months_of(lease: models.Lease, now: datetime) -> list[Month]:
    """The months of one lease, newest first: of a price all of them, of a share those that brought something."""
    accrued, payable = parts(lease, now), _payable(lease, now)
    paid: defaultdict[date, Decimal] = defaultdict(lambda: NOTHING)
    for period, amount in lease.payments.values_list("period", "amount"):
        paid[period] += amount
    return [
        Month(period, accrued.get(period, NOTHING), paid[period], payable.get(period, NOTHING))
        for period in sorted(accrued.keys() | payable.keys() | paid.keys(), reverse=True)
    ]


# Months that are over


def close_months(now: datetime) -> int:
    """Keep the shares of the months that are over on their leases, for good. Call it every now and then: where nothing
    is to be kept it is one query. Returns how many leases it brought up to date."""
    until = month_starts(month_of(now - _CLOSING))
    behind = Q(settled_until=None) | Q(settled_until__lt=until)
    leases = list(models.Lease.objects.filter(behind, price=None, starts_at__lt=until).select_related("listing"))
    for lease in leases:
        shares = _unkept_shares(lease, until - _MICROSECOND)
        lease.shares |= {f"{period:%Y-%m}": str(share) for period, share in shares.items()}
        lease.settled_until = until
    models.Lease.objects.bulk_update(leases, ["shares", "settled_until"], batch_size=200)
    return len(leases)


def unaccounted(now: datetime) -> Q:
    """Of predictions, those by which a lease may still earn: they are to be kept. Unsettled ones for `SETTLING_DAYS`;
    settled ones until `close_months` has closed their month."""
    leases = models.Lease.objects.filter(
        Q(settled_until=None) | Q(settled_until__lte=Coalesce(OuterRef("settled_at"), Value(now))),
        listing__model=OuterRef("model"),
        price=None,
        starts_at__lte=OuterRef("created_at"),
        ends_at__gt=OuterRef("created_at"),
    )
    settling = Q(settled_at__isnull=False) | Q(created_at__gt=now - timedelta(days=SETTLING_DAYS))
    return Q(Exists(leases)) & settling


# All leases of a user's models


def statement(user_id: str, now: datetime | None = None) -> Statement:
    """What the leases of the user's models have earned, those that ended included. `periods`, newest first: the latest
    `LISTED_MONTHS` that brought something, and those ahead that are paid already."""
    now = now or timezone.now()
    leases = models.Lease.objects.filter(listing__model__owner_id=user_id).select_related("listing")
    earned: defaultdict[date, Decimal] = defaultdict(lambda: NOTHING)
    paid: defaultdict[date, Decimal] = defaultdict(lambda: NOTHING)
    contracted, running = NOTHING, 0
    for lease in leases:
        contracted += lease.price or 0
        running += lease.starts_at <= now < lease.ends_at
        for period, amount in parts(lease, now).items():
            earned[period] += amount
    payments = models.Payment.objects.filter(lease__listing__model__owner_id=user_id)
    for period, amount in payments.values_list("period", "amount"):
        paid[period] += amount
    months = sorted({period for period, amount in earned.items() if amount} | set(paid), reverse=True)
    ahead = [period for period in months if period > month_of(now)]
    return Statement(
        accrued=sum(earned.values(), NOTHING),
        contracted=contracted,
        active_leases=running,
        periods=[Month(period, earned[period], paid[period]) for period in months[: len(ahead) + LISTED_MONTHS]],
    )


def earnings(user_id: str, now: datetime | None = None) -> payloads.Earnings:
    """The user's `statement`, as messages carry it."""
    found = statement(user_id, now)
    return payloads.Earnings(
        accrued=float(found.accrued),
        contracted=float(found.contracted),
        active_leases=found.active_leases,
        periods=[
            payloads.PeriodEarnings(period=month.period, accrued=float(month.accrued), paid=float(month.paid))
            for month in found.periods
        ],
    )


class EarningsBoard:
    """Tells owners how their earnings grow, while they watch. Call `publish` every now and then. An owner whose
    earnings cannot be told holds up nobody else, and is logged once."""

    def __init__(self) -> None:
        self._told: dict[int, payloads.Earnings] = {}
        self._broken: set[int] = set()

    async def publish(self) -> None:
        """Send `earnings_update` to those whose earnings are not what they were told last."""
        owners = await in_engine_thread(_owners)()
        watching = await watched(topics.marketplace, owners)
        self._told = {user_id: told for user_id, told in self._told.items() if user_id in watching}
        self._broken &= watching
        if watching:
            await in_engine_thread(self._tell)(watching)

    def _tell(self, user_ids: set[int]) -> None:
        for user_id in sorted(user_ids):
            try:
                now = earnings(str(user_id))
                if self._told.get(user_id) != now:
                    websocket_utils.notify_earnings_update(user_id, now)
                    self._told[user_id] = now
            except (InterfaceError, OperationalError):
                raise  # no database: nobody's can be told
            except Exception:
                if user_id not in self._broken:
                    log.exception("the earnings of user %s cannot be told", user_id)
                self._broken.add(user_id)
            else:
                self._broken.discard(user_id)


def _owners() -> list[int]:
    """The users whose earnings may change by themselves."""
    now = timezone.now()
    # A price is earned when the lease ends: that is told within a day, if somebody watches.
    ended = Q(ends_at__gt=now - timedelta(days=1)) | Q(price=None, ends_at__gt=now - timedelta(days=SETTLING_DAYS))
    earning = models.Lease.objects.filter(ended)
    return list(earning.order_by().values_list("listing__model__owner_id", flat=True).distinct())
