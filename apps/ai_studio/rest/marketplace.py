"""`/api/ai/listings/`, `leases/`, `earnings/`: the marketplace. Payments are recorded, not processed."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Self
from uuid import UUID

from django.db.models import Avg, Count
from django.http import HttpRequest
from django.utils import timezone
from ninja import Field, Query, Router, Schema, Status
from ninja.pagination import paginate
from pydantic import model_validator

from apps.ai_studio import access, earnings, marketplace, models
from apps.ai_studio.market_models import (
    MAX_CAPITAL,
    MAX_MONTHS,
    MAX_PRICE_PER_MONTH,
    MAX_PROFIT_SHARE_PERCENT,
    MIN_CAPITAL,
)
from apps.ai_studio.rest.models import user_id
from apps.ai_studio.rest.schemas import TEXT
from apps.ai_studio.review_text import MAX_REVIEW
from apps.streaming.paging import Pages
from apps.streaming.problems import REFUSALS

router = Router()

Rupees = Annotated[Decimal, Field(max_digits=12, decimal_places=2)]
PricePerMonth = Annotated[Rupees, Field(ge=0, le=MAX_PRICE_PER_MONTH)]
ProfitSharePercent = Annotated[Decimal, Field(gt=0, le=MAX_PROFIT_SHARE_PERCENT, max_digits=4, decimal_places=2)]


class ListingIn(Schema):
    """One of the two terms: `price_per_month` in rupees, or `profit_share_percent`."""

    title: str = Field(..., min_length=1, max_length=120, pattern=TEXT)
    description: str = Field("", max_length=1_000, pattern=TEXT)
    price_per_month: PricePerMonth | None = None
    profit_share_percent: ProfitSharePercent | None = None


class ListingOut(Schema):
    """`withdrawn_at`: it takes no new leases since then. `rating`: mean of its reviews, null without any."""

    id: UUID
    model_id: UUID
    title: str
    description: str
    price_per_month: Decimal | None
    profit_share_percent: Decimal | None
    published_at: datetime
    withdrawn_at: datetime | None
    rating: float | None
    review_count: int

    @staticmethod
    def resolve_rating(row: Any) -> float | None:
        return None if row.rating is None else round(row.rating, 2)


class LeaseIn(Schema):
    """The terms that you saw, `price_per_month` or `profit_share_percent`: others are not agreed to. `capital`, in
    rupees: for a profit share, and only there."""

    months: int = Field(1, ge=1, le=MAX_MONTHS)
    price_per_month: PricePerMonth | None = None
    profit_share_percent: ProfitSharePercent | None = None
    capital: Rupees | None = Field(None, ge=MIN_CAPITAL, le=MAX_CAPITAL)

    @model_validator(mode="after")
    def _names_its_terms(self) -> Self:
        if (self.price_per_month is None) == (self.profit_share_percent is None):
            raise ValueError("name the terms that you saw: price_per_month or profit_share_percent, one of the two")
        return self


class LeaseOut(Schema):
    """On the terms that were offered when it began: `price` for the whole of it, or a share of what `capital` earns."""

    id: UUID
    listing_id: UUID
    model_id: UUID
    title: str
    starts_at: datetime
    ends_at: datetime
    price: Decimal | None
    profit_share_percent: Decimal | None
    capital: Decimal | None

    @staticmethod
    def resolve_model_id(row: models.Lease) -> UUID:
        return row.listing.model_id

    @staticmethod
    def resolve_title(row: models.Lease) -> str:
        return row.listing.title


class MonthOut(Schema):
    """A month, by its first day. `accrued` by now; `due`: what may be paid for it in all, of a price also ahead of
    time, of a profit share when the month is over; `paid`: of that."""

    period: date
    accrued: Decimal
    due: Decimal
    paid: Decimal


class LeaseDetailOut(LeaseOut):
    """`periods`: newest first; of a profit share the months that brought something."""

    periods: list[MonthOut]

    @staticmethod
    def resolve_periods(row: models.Lease) -> list[earnings.Month]:
        return earnings.months_of(row, timezone.now())


class PaymentIn(Schema):
    """`period`: a day of the month that was paid for, whole or in part. `reference`: the payer's own, such as a UTR
    number; the same again, with the same content, is the same payment."""

    period: date
    amount: Rupees = Field(..., gt=0, le=MAX_CAPITAL)
    reference: str = Field(..., min_length=1, max_length=80, pattern=TEXT)


class PaymentOut(Schema):
    id: UUID
    lease_id: UUID
    period: date
    amount: Decimal
    reference: str
    paid_at: datetime


class ReviewIn(Schema):
    """`text`: of HTML, b, i, em, strong, p, br, ul, ol and li are kept."""

    rating: int = Field(..., ge=1, le=5)
    text: str = Field("", max_length=MAX_REVIEW, pattern=TEXT)


class ReviewOut(Schema):
    """`text` is HTML, sanitised."""

    id: UUID
    listing_id: UUID
    rating: int
    text: str
    created_at: datetime


class PeriodEarningsOut(Schema):
    """A month, by its first day."""

    period: date
    accrued: Decimal
    paid: Decimal


class EarningsOut(Schema):
    """Rupees, to the paisa. `accrued` by now, of all leases; `contracted`: what the priced ones are worth in all."""

    accrued: Decimal
    contracted: Decimal
    active_leases: int
    periods: list[PeriodEarningsOut]


def _rated(listings: Any) -> Any:
    """With their ratings, the latest first: a query that groups forgets the model's own order."""
    rated = listings.annotate(rating=Avg("reviews__rating"), review_count=Count("reviews"))
    return rated.order_by("-published_at", "pk")


# Listings


@router.get("/listings/", response=list[ListingOut])
@paginate(Pages)
def list_listings(request: HttpRequest, mine: bool = False) -> Any:
    """What can be leased, the latest first. `mine`: your own listings instead, withdrawn ones too."""
    return _rated(marketplace.listed(user_id(request), mine=mine))


@router.get("/listings/{listing_id}/", response={200: ListingOut, **REFUSALS})
def get_listing(request: HttpRequest, listing_id: str) -> Any:
    """One of them; also a withdrawn one, if it is yours or you leased it."""
    return _rated_one(marketplace.listing_of(user_id(request), listing_id))


@router.put("/models/{model_id}/listing/", response={200: ListingOut, **REFUSALS})
def publish_listing(request: HttpRequest, model_id: str, body: ListingIn) -> Any:
    """Offer one of your models for lease, or change the offer. Leases that run keep their terms."""
    model = access.owned_model(user_id(request), model_id)
    return _rated_one(marketplace.publish_listing(model, **body.dict()))


@router.delete("/models/{model_id}/listing/", response={200: ListingOut, **REFUSALS})
def withdraw_listing(request: HttpRequest, model_id: str) -> Any:
    """Take no new leases of one of your models. Those that run go on."""
    return _rated_one(marketplace.withdraw_listing(access.owned_model(user_id(request), model_id)))


def _rated_one(listing: models.Listing) -> Any:
    return _rated(models.Listing.objects.filter(pk=listing.pk)).get()


# Leases and payments


@router.post("/listings/{listing_id}/leases/", response={201: LeaseOut, **REFUSALS})
def lease_model(request: HttpRequest, listing_id: str, body: LeaseIn) -> Any:
    """Lease a model from now on, on the terms that you name, while they are offered (`terms_changed`):
    `/ws/ai-studio/predictions/{model_id}/` is open to you until the lease ends."""
    return Status(201, marketplace.lease_model(request.auth, listing_id, **body.dict()))  # type: ignore[attr-defined]


@router.get("/leases/", response=list[LeaseOut])
@paginate(Pages)
def list_leases(request: HttpRequest, role: str = Query("lessee", pattern="^(lessee|owner)$")) -> Any:
    """Your leases, the latest first. `role=owner`: the leases of your models."""
    return marketplace.leases_of(user_id(request), role)


@router.get("/leases/{lease_id}/", response={200: LeaseDetailOut, **REFUSALS})
def get_lease(request: HttpRequest, lease_id: str) -> Any:
    """One of your leases, or of your models': what it brings, month by month, and what is paid."""
    return marketplace.lease_of(user_id(request), lease_id)


@router.post("/leases/{lease_id}/payments/", response={201: PaymentOut, 200: PaymentOut, **REFUSALS})
def record_payment(request: HttpRequest, lease_id: str, body: PaymentIn) -> Any:
    """Record that a lessee of one of your models paid you for a month, or a part of it: 201. 200: you had recorded it
    before."""
    payment, is_new = marketplace.record_payment(user_id(request), lease_id, **body.dict())
    return Status(201 if is_new else 200, payment)


@router.get("/leases/{lease_id}/payments/", response={200: list[PaymentOut], **REFUSALS})
@paginate(Pages)
def list_payments(request: HttpRequest, lease_id: str) -> Any:
    """What was recorded for one of your leases, or of your models', the latest first."""
    return marketplace.payments_of(user_id(request), lease_id)


@router.get("/earnings/", response=EarningsOut)
def get_earnings(request: HttpRequest) -> Any:
    """What your models have earned, by month, newest first."""
    return earnings.statement(user_id(request))


# Reviews


@router.get("/listings/{listing_id}/reviews/", response={200: list[ReviewOut], **REFUSALS})
@paginate(Pages)
def list_reviews(request: HttpRequest, listing_id: str) -> Any:
    """What lessees think of a model, the latest first."""
    return marketplace.reviews_of(user_id(request), listing_id)


@router.put("/listings/{listing_id}/review/", response={200: ReviewOut, **REFUSALS})
def review_model(request: HttpRequest, listing_id: str, body: ReviewIn) -> Any:
    """Review a model that you lease or leased, once: a second review replaces the first."""
    return marketplace.review_model(request.auth, listing_id, body.rating, body.text)  # type: ignore[attr-defined]
