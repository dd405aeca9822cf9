"""The marketplace: what may be offered, leased, paid and reviewed. Synchronous; call it from a thread.

What a lease grants, and for how long: `readable_model` and `reading_ends_at` in `access`. What it earns: `earnings`.
"""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from django.db import models as orm
from django.db import transaction
from django.utils import timezone

from apps.accounts.models import User
from apps.ai_studio import earnings, models, payloads, present, websocket_utils
from apps.ai_studio.access import RECENT, find
from apps.ai_studio.market_models import (
    MAX_CAPITAL,
    MAX_MONTHS,
    MAX_PRICE_PER_MONTH,
    MAX_PROFIT_SHARE_PERCENT,
    MIN_CAPITAL,
)
from apps.ai_studio.review_text import sanitised
from engines.market.calendar import IST
from realtime.errors import AccessDenied, CommandFailed

ANNOUNCED_EVERY = timedelta(minutes=1)


# Listings


@transaction.atomic
def publish_listing(
    model: models.Model,
    *,
    title: str,
    description: str = "",
    price_per_month: object = None,
    profit_share_percent: object = None,
) -> models.Listing:
    """Offer a model for lease, or change the offer; leases that run keep their terms. Everyone on the marketplace hears
    of an offer, and of a changed one when it is `ANNOUNCED_EVERY` after the last word of it: who leases is told the
    present terms anyway. Raises `CommandFailed`: "not_trained", "terms"."""
    if not models.Model.objects.select_for_update().get(pk=model.pk).version:
        raise CommandFailed("not_trained", "the model has not been trained: there is nothing to lease yet")
    if (price_per_month is None) == (profit_share_percent is None):
        raise CommandFailed("terms", "offer a model for price_per_month or for profit_share_percent: one of the two")
    if price_per_month is not None:
        price_per_month = _decimal("terms", "price_per_month", price_per_month, Decimal(0), MAX_PRICE_PER_MONTH)
    else:
        limit = Decimal(MAX_PROFIT_SHARE_PERCENT)
        profit_share_percent = _decimal("terms", "profit_share_percent", profit_share_percent, Decimal("0.01"), limit)
    offer = {
        "title": title,
        "description": description,
        "price_per_month": price_per_month,
        "profit_share_percent": profit_share_percent,
        "withdrawn_at": None,
    }
    listing = _locked_listing(model) or models.Listing(model=model)
    if not listing._state.adding and all(getattr(listing, name) == value for name, value in offer.items()):  # noqa: SLF001 - Django documents it
        return listing
    now = timezone.now()
    if listing.withdrawn_at is not None:
        listing.published_at, listing.announced_at = now, None
    for name, value in offer.items():
        setattr(listing, name, value)
    is_news = listing.announced_at is None or now - listing.announced_at >= ANNOUNCED_EVERY
    if is_news:
        listing.announced_at = now
    listing.save()
    if is_news:
        websocket_utils.notify_listing_published(present.listing(listing))
    return listing


@transaction.atomic
def withdraw_listing(model: models.Model) -> models.Listing:
    """Take no new leases of the model; those that run go on. Everyone on the marketplace hears of it. Raises
    `CommandFailed` when it is not listed."""
    listing = _locked_listing(model)
    if listing is None or listing.withdrawn_at is not None:
        raise CommandFailed("not_listed", "the model is not listed")
    listing.withdrawn_at = timezone.now()
    listing.save(update_fields=["withdrawn_at"])
    websocket_utils.notify_listing_published(present.listing(listing))
    return listing


def may_delete(model: models.Model) -> None:
    """Raises `CommandFailed` ("has_leases") when the model was ever leased: leases and payments are kept. Nobody leases
    it until the end of the transaction that this is called in."""
    listing = _locked_listing(model)
    if listing is not None and listing.leases.exists():
        raise CommandFailed("has_leases", "the model was leased: withdraw its listing instead of deleting it")


def _locked_listing(model: models.Model) -> models.Listing | None:
    return models.Listing.objects.select_for_update().filter(model=model).first()


def offered() -> orm.QuerySet[models.Listing]:
    """What can be leased."""
    return models.Listing.objects.filter(withdrawn_at=None)


def listed(user_id: str, *, mine: bool = False) -> orm.QuerySet[models.Listing]:
    """What can be leased, the latest first; or the user's own listings, withdrawn ones too."""
    return models.Listing.objects.filter(model__owner_id=user_id) if mine else offered()


def listing_of(user_id: str, listing_id: str) -> models.Listing:
    """One that is offered, an own one, or one that the user leased. Raises `NotFound`."""
    known = orm.Q(withdrawn_at=None) | orm.Q(model__owner_id=user_id) | orm.Q(leases__lessee_id=user_id)
    return find(models.Listing.objects.filter(known), listing_id, "listing")


# Leases


@transaction.atomic
def lease_model(
    lessee: User,
    listing_id: str,
    *,
    months: int = 1,
    capital: object = None,
    price_per_month: object = None,
    profit_share_percent: object = None,
) -> models.Lease:
    """Lease a model from now on, until the same day and time in so many months (IST; the last day of a month that has
    no such day). `price_per_month` or `profit_share_percent`: the terms that the lessee saw; without one, those of now
    count. `capital`, in rupees, belongs to a profit share. Raises `NotFound` or `CommandFailed`: "own_model",
    "withdrawn", "not_trained", "not_deployed", "terms_changed", "already_leased", "months", "capital"."""
    # Who leases the same model at the same moment waits here, and then finds the other's lease; so does who deletes it.
    listing = find(models.Listing.objects.select_for_update(of=("self",)), listing_id, "listing")
    if listing.model.owner_id == lessee.pk:
        raise CommandFailed("own_model", "you cannot lease your own model")
    if listing.withdrawn_at is not None:
        raise CommandFailed("withdrawn", "the listing was withdrawn")
    if not listing.model.version:
        raise CommandFailed("not_trained", "the model has not been trained: it predicts nothing")
    if not listing.model.deployments.filter(ended_at=None).exists():
        raise CommandFailed("not_deployed", "the model is not deployed: it predicts nothing now")
    _refuse_changed(listing, price_per_month, profit_share_percent)
    if not 1 <= months <= MAX_MONTHS:
        raise CommandFailed("months", f"months is {months}, it must be 1 to {MAX_MONTHS}")
    now = timezone.now()
    running = listing.leases.filter(lessee=lessee, ends_at__gt=now).first()
    if running is not None:
        until = running.ends_at.astimezone(IST)
        raise CommandFailed("already_leased", f"you have a lease of this model until {until:%Y-%m-%d %H:%M} IST")
    terms: dict[str, Any]
    if listing.price_per_month is None:
        if capital is None:
            raise CommandFailed("capital", "a profit share needs capital: the rupees that follow the model")
        capital = _decimal("capital", "capital", capital, MIN_CAPITAL, MAX_CAPITAL)
        terms = {"profit_share_percent": listing.profit_share_percent, "capital": capital}
    elif capital is not None:
        raise CommandFailed("capital", "capital belongs to a profit share, and this model has a price")
    else:
        terms = {"price": months * listing.price_per_month}
    lease = models.Lease.objects.create(
        listing=listing, lessee=lessee, starts_at=now, ends_at=months_later(now, months), **terms
    )
    owner_id = listing.model.owner_id
    websocket_utils.notify_model_leased(owner_id, present.lease(lease))
    websocket_utils.notify_earnings_update(owner_id, earnings.earnings(str(owner_id)))
    return lease


def _refuse_changed(listing: models.Listing, price_per_month: object, profit_share_percent: object) -> None:
    if price_per_month is None and profit_share_percent is None:
        return
    seen = (
        None if price_per_month is None else Decimal(str(price_per_month)),
        None if profit_share_percent is None else Decimal(str(profit_share_percent)),
    )
    if seen != (listing.price_per_month, listing.profit_share_percent):
        if listing.price_per_month is not None:
            terms = f"{listing.price_per_month} rupees per month"
        else:
            terms = f"{listing.profit_share_percent} percent of the profit"
        raise CommandFailed("terms_changed", f"these are not the terms of the listing, which are {terms}")


def months_later(moment: datetime, months: int) -> datetime:
    """The same day and time in India so many months later; the last day of a month that has no such day."""
    local = moment.astimezone(IST)
    year, month = divmod(local.year * 12 + local.month - 1 + months, 12)
    later = local.replace(year=year, month=month + 1, day=min(local.day, monthrange(year, month + 1)[1]))
    return later.astimezone(UTC)


def leases_of(user_id: str, role: str = "lessee") -> orm.QuerySet[models.Lease]:
    """The user's leases, or, as `role` "owner", those of the user's models; the latest first."""
    whose = orm.Q(lessee_id=user_id) if role == "lessee" else orm.Q(listing__model__owner_id=user_id)
    return models.Lease.objects.filter(whose).select_related("listing")


def lease_of(user_id: str, lease_id: str) -> models.Lease:
    """One of the user's leases, or of the user's models. Raises `NotFound`, or `AccessDenied` for others."""
    lease = find(models.Lease.objects.select_related("listing__model"), lease_id, "lease")
    if user_id not in {str(lease.lessee_id), str(lease.listing.model.owner_id)}:
        raise AccessDenied("the lease is between other users")
    return lease


# Payments


@transaction.atomic
def record_payment(
    owner_id: str, lease_id: str, *, period: date, amount: object, reference: str
) -> tuple[models.Payment, bool]:
    """Record that a lessee paid for the month that `period` is in; and whether that is news: the same reference with
    the same content is the same payment. A month may be paid in parts, of at most what is due for it in all. Raises
    `NotFound`, `AccessDenied`, or `CommandFailed`: "reference", "amount", "reference_taken", "already_paid", "not_due",
    "too_much"."""
    lease = find(models.Lease.objects.select_for_update(of=("self",)), lease_id, "lease")
    if str(lease.listing.model.owner_id) != owner_id:
        raise AccessDenied("payments are recorded by the owner of the model")
    reference = reference.strip()
    if not 1 <= len(reference) <= 80:
        raise CommandFailed("reference", f"reference has {len(reference)} characters, it must have 1 to 80")
    received = _decimal("amount", "amount", amount, earnings.PAISA, MAX_CAPITAL)
    period = period.replace(day=1)
    known = lease.payments.filter(reference=reference).first()
    if known is not None:
        if (known.period, known.amount) == (period, received):
            return known, False
        raise CommandFailed(
            "reference_taken", f"{reference!r} is recorded: {known.amount} rupees for {known.period:%Y-%m}"
        )
    due = earnings.due(lease, period, timezone.now())
    if not due:
        why = "" if lease.price is not None else "; a profit share is due when its month is over"
        raise CommandFailed("not_due", f"nothing is due for {period:%Y-%m}{why}")
    left = due - sum(lease.payments.filter(period=period).values_list("amount", flat=True))
    if left <= 0:
        raise CommandFailed("already_paid", f"{period:%Y-%m} is paid: {due} rupees")
    if received > left:
        raise CommandFailed("too_much", f"amount is {received} rupees, {left} are still due for {period:%Y-%m}")
    payment = lease.payments.create(period=period, amount=received, reference=reference)
    websocket_utils.notify_earnings_update(owner_id, earnings.earnings(owner_id))
    return payment, True


def payments_of(user_id: str, lease_id: str) -> orm.QuerySet[models.Payment]:
    """What was recorded for a lease of the user's, or of one of the user's models. Raises as `lease_of`."""
    return lease_of(user_id, lease_id).payments.all()


# Reviews


@transaction.atomic
def review_model(author: User, listing_id: str, rating: int, text: str = "") -> models.Review:
    """Review a model that one leases or leased; a second review replaces the first. Its text is `sanitised`. Raises
    `NotFound` or `CommandFailed`: "own_model", "not_leased", "rating", "text"."""
    listing = find(models.Listing.objects.select_related("model"), listing_id, "listing")
    if listing.model.owner_id == author.pk:
        raise CommandFailed("own_model", "you cannot review your own model")
    now = timezone.now()
    if not listing.leases.filter(lessee=author, starts_at__lte=now).exists():
        raise CommandFailed("not_leased", "only those who leased the model may review it")
    if rating not in range(1, 6):
        raise CommandFailed("rating", f"rating is {rating}, it must be 1 to 5")
    content = {"rating": rating, "text": sanitised(text), "created_at": now}
    review, _ = models.Review.objects.update_or_create(listing=listing, author=author, defaults=content)
    websocket_utils.notify_model_review(listing.model.owner_id, present.review(review))
    return review


def reviews_of(user_id: str, listing_id: str) -> orm.QuerySet[models.Review]:
    """A listing's reviews, the latest first. Raises `NotFound` as `listing_of`."""
    return listing_of(user_id, listing_id).reviews.select_related("listing")


# All of it


def marketplace_snapshot(user_id: str) -> tuple[list[payloads.Lease], list[payloads.Review], list[payloads.Listing]]:
    """The latest leases and reviews of the user's models, and everyone's listings."""
    reviews = models.Review.objects.filter(listing__model__owner_id=user_id).select_related("listing")
    return (
        [present.lease(row) for row in leases_of(user_id, "owner")[:RECENT]],
        [present.review(row) for row in reviews[:RECENT]],
        [present.listing(row) for row in offered()[:RECENT]],
    )


def _decimal(code: str, name: str, value: object, least: Decimal, most: Decimal) -> Decimal:
    """Rupees or percent, of at most two decimal places. Raises `CommandFailed`."""
    try:
        number = Decimal(str(value))
        if number.is_finite() and least <= number <= most and number == round(number, 2):
            return round(number, 2)
    except InvalidOperation:
        pass
    raise CommandFailed(
        code, f"{name} is {str(value)[:40]!r}, it must be {least} to {most} with at most two decimal places"
    )
