"""`/api/ai/`: models, jobs and the marketplace."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import UUID

from django.http import HttpRequest
from ninja import Field, Router, Schema, Status

from apps.accounts.api import Problem, user_auth
from apps.ai_studio import services
from realtime.errors import AccessDenied, CommandFailed, NotFound, ProtocolError

router = Router(auth=user_auth)


class ModelOut(Schema):
    id: UUID
    name: str
    deployed: bool
    version: int


class JobOut(Schema):
    id: UUID
    model_id: UUID
    status: str


class ListingIn(Schema):
    title: str = Field(..., min_length=1, max_length=120)
    price_per_month: Decimal = Field(..., ge=0, max_digits=12, decimal_places=2)


class ListingOut(Schema):
    id: UUID
    model_id: UUID
    title: str
    price_per_month: Decimal


class LeaseOut(Schema):
    id: UUID
    listing_id: UUID
    price: Decimal


class ReviewIn(Schema):
    rating: int = Field(..., ge=1, le=5)
    text: str = Field("", max_length=300)


class ReviewOut(Schema):
    id: UUID
    rating: int
    text: str


_PROBLEMS = {403: Problem, 404: Problem, 409: Problem}
_STATUS: dict[type[ProtocolError], int] = {AccessDenied: 403, NotFound: 404, CommandFailed: 409}


def _answer(status: int, call: Any, *args: Any) -> Any:
    try:
        return Status(status, call(*args))
    except ProtocolError as error:
        return Status(_STATUS[type(error)], {"error": error.message})


def _user_id(request: HttpRequest) -> str:
    return str(request.auth.pk)  # type: ignore[attr-defined]


@router.get("/models/", response=list[ModelOut])
def models(request: HttpRequest) -> Any:
    """Your models."""
    return services.models_of(_user_id(request))


@router.get("/training-jobs/", response=list[JobOut])
def training_jobs(request: HttpRequest) -> Any:
    """Your training jobs, unfinished ones first."""
    return services.training_jobs_of(_user_id(request))


@router.post("/models/{model_id}/training-jobs/", response={201: JobOut, **_PROBLEMS})
def start_training(request: HttpRequest, model_id: str) -> Any:
    """Train one of your models; watch it at `/ws/ai-studio/training/{id}/`."""
    return _answer(201, lambda: services.start_training(services.owned_model(_user_id(request), model_id)))


@router.post("/models/{model_id}/backtests/", response={201: JobOut, **_PROBLEMS})
def start_backtest(request: HttpRequest, model_id: str) -> Any:
    """Backtest one of your models; watch it at `/ws/ai-studio/backtest/{model_id}/`."""
    return _answer(201, lambda: services.start_backtest(services.owned_model(_user_id(request), model_id)))


@router.put("/models/{model_id}/listing/", response={200: ListingOut, **_PROBLEMS})
def publish_listing(request: HttpRequest, model_id: str, body: ListingIn) -> Any:
    """Offer one of your models for lease."""
    return _answer(
        200,
        lambda: services.publish_listing(
            services.owned_model(_user_id(request), model_id), body.title, body.price_per_month
        ),
    )


@router.post("/listings/{listing_id}/leases/", response={201: LeaseOut, **_PROBLEMS})
def lease(request: HttpRequest, listing_id: str) -> Any:
    """Lease a model for 30 days. Payments are recorded, not processed."""
    return _answer(201, services.lease_model, request.auth, listing_id)  # type: ignore[attr-defined]


@router.put("/listings/{listing_id}/review/", response={200: ReviewOut, **_PROBLEMS})
def review(request: HttpRequest, listing_id: str, body: ReviewIn) -> Any:
    """Review a model that you leased."""
    return _answer(200, services.review_model, request.auth, listing_id, body.rating, body.text)  # type: ignore[attr-defined]
