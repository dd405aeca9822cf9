"""What may be read and done in AI Studio: access and persistence. Synchronous; call it from a thread."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

from django.db import models as orm
from django.db import transaction
from django.utils import timezone

from apps.accounts.models import User
from apps.ai_studio import messages, models, present, websocket_utils
from realtime.errors import AccessDenied, CommandFailed, NotFound

RECENT = 50
LEASE_DAYS = 30

Row = TypeVar("Row", bound=orm.Model)


# Access


def _find(rows: orm.QuerySet[Row], row_id: str, what: str) -> Row:
    try:
        row = rows.filter(pk=UUID(row_id)).first()
    except ValueError:
        row = None
    if row is None:
        raise NotFound(f"there is no {what} {row_id[:60]!r}")
    return row


def owned_model(user_id: str, model_id: str) -> models.Model:
    """Raises `NotFound`, or `AccessDenied` when it is another user's."""
    model = _find(models.Model.objects.all(), model_id, "model")
    if str(model.owner_id) != user_id:
        raise AccessDenied("the model belongs to another user")
    return model


def readable_model(user_id: str, model_id: str) -> models.Model:
    """A model whose predictions the user may see: an own one, or one with a running lease. Raises as `owned_model`."""
    model = _find(models.Model.objects.all(), model_id, "model")
    if str(model.owner_id) != user_id and not running_leases().filter(listing__model=model, lessee_id=user_id).exists():
        raise AccessDenied("the model belongs to another user, and you have no running lease of it")
    return model


def owned_training_job(user_id: str, job_id: str) -> models.TrainingJob:
    """Raises `NotFound`, or `AccessDenied` when it is another user's."""
    job = _find(models.TrainingJob.objects.select_related("model"), job_id, "training job")
    if str(job.model.owner_id) != user_id:
        raise AccessDenied("the training job belongs to another user")
    return job


def running_leases() -> orm.QuerySet[models.Lease]:
    """Leases that have begun and not ended."""
    now = timezone.now()
    return models.Lease.objects.filter(starts_at__lte=now, ends_at__gt=now)


# Choosing


def models_of(user_id: str) -> list[models.Model]:
    """The user's models."""
    return list(models.Model.objects.filter(owner_id=user_id))


def leased_models(user_id: str) -> list[models.Model]:
    """The models of others that the user has a running lease of."""
    return list(models.Model.objects.filter(listing__leases__in=running_leases().filter(lessee_id=user_id)))


def training_jobs_of(user_id: str) -> list[models.TrainingJob]:
    """The user's jobs: unfinished ones first, then the latest."""
    jobs = models.TrainingJob.objects.filter(model__owner_id=user_id).select_related("model")
    return sorted(jobs[:RECENT], key=lambda job: job.status in models.FINISHED)


# Jobs


def start_training(model: models.Model) -> models.TrainingJob:
    """Queue a training job. Raises `CommandFailed` while one that was asked for by hand is unfinished."""
    _refuse_second(model.training_jobs.all())
    return models.TrainingJob.objects.create(model=model, seed=model.version + 1)


def start_backtest(model: models.Model) -> models.Backtest:
    """Queue a backtest. Raises `CommandFailed` while one that was asked for by hand is unfinished."""
    _refuse_second(model.backtests.all())
    return models.Backtest.objects.create(model=model)


def _refuse_second(jobs: orm.QuerySet[models.TrainingJob] | orm.QuerySet[models.Backtest]) -> None:
    if jobs.filter(not_before=None).exclude(status__in=models.FINISHED).exists():
        raise CommandFailed(
            "already_running", "this model has an unfinished job of this kind; wait for it or cancel it"
        )


def latest_backtest(model_id: str) -> models.Backtest | None:
    """The running one, else the latest that has begun."""
    begun = models.Backtest.objects.filter(model_id=model_id).exclude(status=models.JobStatus.PENDING)
    return begun.filter(status=models.JobStatus.RUNNING).first() or begun.first()


def cancel_training(job: models.TrainingJob) -> None:
    """Ask a job to stop; one that has not begun is cancelled at once. Raises `CommandFailed` for a finished one."""
    _cancel(job, websocket_utils.notify_training_cancelled, job.id)


def cancel_backtest(model_id: str) -> None:
    """Ask the model's unfinished backtest to stop. Raises `CommandFailed` when there is none."""
    job = (
        models.Backtest.objects.filter(model_id=model_id).exclude(status__in=models.FINISHED).order_by("status").last()
    )
    if job is None:
        raise CommandFailed("not_running", "this model has no backtest to cancel")
    _cancel(job, websocket_utils.notify_backtest_cancelled, model_id)


def _cancel(job: models.Job, notify: object, target: object) -> None:
    with transaction.atomic():
        waiting = type(job).objects.filter(pk=job.pk, status=models.JobStatus.PENDING)  # type: ignore[attr-defined]
        if waiting.update(status=models.JobStatus.CANCELLED, finished_at=timezone.now()):
            notify(target)  # type: ignore[operator]
            return
    running = type(job).objects.filter(pk=job.pk, status=models.JobStatus.RUNNING)  # type: ignore[attr-defined]
    if not running.update(cancel_requested=True):
        raise CommandFailed("not_running", "the job has already ended")


# Dashboard


def dashboard(user_id: str) -> messages.Dashboard:
    """The user's AI Studio at a glance."""
    mine = models.Model.objects.filter(owner_id=user_id)
    running = [
        *models.TrainingJob.objects.filter(model__in=mine, status=models.JobStatus.RUNNING).select_related("model"),
        *models.Backtest.objects.filter(model__in=mine, status=models.JobStatus.RUNNING).select_related("model"),
    ]
    today = mine.filter(counted_on=timezone.localdate())
    counts = today.aggregate(
        made=orm.Sum("predictions_made", default=0),
        settled=orm.Sum("predictions_settled", default=0),
        correct=orm.Sum("predictions_correct", default=0),
    )
    return messages.Dashboard(
        model_count=mine.count(),
        deployed_count=mine.filter(deployed=True).count(),
        listing_count=models.Listing.objects.filter(model__in=mine).count(),
        running_jobs=[present.job_brief(job) for job in running],
        active_leases=running_leases().filter(listing__model__in=mine).count(),
        predictions_today=counts["made"],
        accuracy=round(counts["correct"] / counts["settled"], 4) if counts["settled"] else None,
    )


# Predictions


def recent_predictions(model_id: str) -> list[messages.Prediction]:
    """A model's latest, newest first."""
    return [present.prediction(row) for row in models.Prediction.objects.filter(model_id=model_id)[:RECENT]]


# Marketplace


def earnings(user_id: str) -> messages.Earnings:
    """What the running leases of the user's models have earned by now, in proportion to time, and in all."""
    now = timezone.now()
    accrued, contracted, count = 0.0, 0.0, 0
    for lease in running_leases().filter(listing__model__owner_id=user_id):
        share = (now - lease.starts_at) / (lease.ends_at - lease.starts_at)
        accrued += float(lease.price) * min(1.0, share)
        contracted += float(lease.price)
        count += 1
    return messages.Earnings(accrued=round(accrued, 4), contracted=round(contracted, 2), active_leases=count)


def marketplace_snapshot(user_id: str) -> tuple[list[messages.Lease], list[messages.Review], list[messages.Listing]]:
    """The latest leases and reviews of the user's models, and everyone's listings."""
    leases = models.Lease.objects.filter(listing__model__owner_id=user_id).select_related("listing")
    reviews = models.Review.objects.filter(listing__model__owner_id=user_id).select_related("listing")
    return (
        [present.lease(row) for row in leases[:RECENT]],
        [present.review(row) for row in reviews[:RECENT]],
        [present.listing(row) for row in models.Listing.objects.all()[:RECENT]],
    )


@transaction.atomic
def publish_listing(model: models.Model, title: str, price_per_month: object) -> models.Listing:
    """Offer a model for lease, or change the offer; everyone on the marketplace hears of it."""
    listing, _ = models.Listing.objects.update_or_create(
        model=model, defaults={"title": title, "price_per_month": price_per_month}
    )
    listing.refresh_from_db()
    websocket_utils.notify_listing_published(present.listing(listing))
    return listing


@transaction.atomic
def lease_model(lessee: User, listing_id: str) -> models.Lease:
    """Lease a listed model for `LEASE_DAYS`. Raises `NotFound`, or `CommandFailed` for an own or a leased one."""
    listing = _find(models.Listing.objects.select_for_update(), listing_id, "listing")
    if listing.model.owner_id == lessee.pk:
        raise CommandFailed("own_model", "you cannot lease your own model")
    if running_leases().filter(listing=listing, lessee=lessee).exists():
        raise CommandFailed("already_leased", "you have a running lease of this model")
    now = timezone.now()
    lease = models.Lease.objects.create(
        listing=listing,
        lessee=lessee,
        starts_at=now,
        ends_at=now + timedelta(days=LEASE_DAYS),
        price=listing.price_per_month,
    )
    owner_id = listing.model.owner_id
    websocket_utils.notify_model_leased(owner_id, present.lease(lease))
    websocket_utils.notify_earnings_update(owner_id, earnings(str(owner_id)))
    return lease


@transaction.atomic
def review_model(author: User, listing_id: str, rating: int, text: str) -> models.Review:
    """Review a model that one leases or leased; a second review replaces the first. Raises as `lease_model`."""
    listing = _find(models.Listing.objects.all(), listing_id, "listing")
    if not listing.leases.filter(lessee=author).exists():
        raise CommandFailed("not_leased", "only those who leased the model may review it")
    review, _ = models.Review.objects.update_or_create(
        listing=listing, author=author, defaults={"rating": rating, "text": text}
    )
    websocket_utils.notify_model_review(listing.model.owner_id, present.review(review))
    return review


def owners_with_leases() -> Iterable[int]:
    """The users whose models are leased now."""
    return running_leases().values_list("listing__model__owner_id", flat=True).distinct()
