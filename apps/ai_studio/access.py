"""Who may see what in AI Studio (DESIGN §5.6), and what a user has. Synchronous; call it from a thread."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from django.db import models as orm
from django.utils import timezone

from apps.ai_studio import models, payloads, present
from realtime.errors import AccessDenied, NotFound

RECENT = 50

Row = TypeVar("Row", bound=orm.Model)


def find(rows: orm.QuerySet[Row], row_id: str, what: str) -> Row:
    """The row of this id. Raises `NotFound`, also for what is no id."""
    try:
        row = rows.filter(pk=UUID(row_id)).first()
    except ValueError:
        row = None
    if row is None:
        raise NotFound(f"there is no {what} {row_id[:60]!r}")
    return row


def owned_model(user_id: str, model_id: str) -> models.Model:
    """Raises `NotFound`, or `AccessDenied` when it is another user's."""
    model = find(models.Model.objects.all(), model_id, "model")
    if str(model.owner_id) != user_id:
        raise AccessDenied("the model belongs to another user")
    return model


def reading_ends_at(user_id: str, model_id: str, now: datetime) -> datetime | None:
    """Until when the user may see the model's predictions; None: for good, it is an own one. Raises `NotFound`, or
    `AccessDenied` when it is another's and no lease runs."""
    return _reading(user_id, model_id, now)[1]


def readable_model(user_id: str, model_id: str, now: datetime | None = None) -> models.Model:
    """A model whose predictions the user may see, now or then. Raises as `reading_ends_at`."""
    return _reading(user_id, model_id, now or timezone.now())[0]


def _reading(user_id: str, model_id: str, now: datetime) -> tuple[models.Model, datetime | None]:
    model = find(models.Model.objects.all(), model_id, "model")
    if str(model.owner_id) == user_id:
        return model, None
    leases = running_leases(now).filter(listing__model=model, lessee_id=user_id)
    ends_at: datetime | None = leases.aggregate(last=orm.Max("ends_at"))["last"]
    if ends_at is None:
        raise AccessDenied("the model belongs to another user, and you have no running lease of it")
    return model, ends_at


def owned_training_job(user_id: str, job_id: str) -> models.TrainingJob:
    """Raises `NotFound`, or `AccessDenied` when it is another user's."""
    return _owned_job(user_id, find(models.TrainingJob.objects.select_related("model"), job_id, "training job"))


def owned_backtest(user_id: str, backtest_id: str) -> models.Backtest:
    """Raises `NotFound`, or `AccessDenied` when it is another user's."""
    return _owned_job(user_id, find(models.Backtest.objects.select_related("model"), backtest_id, "backtest"))


def _owned_job(user_id: str, job: Any) -> Any:
    if str(job.model.owner_id) != user_id:
        raise AccessDenied("the job belongs to another user")
    return job


# Choosing


def models_of(user_id: str) -> orm.QuerySet[models.Model]:
    """The user's models."""
    return models.Model.objects.filter(owner_id=user_id)


def leased_models(user_id: str) -> list[models.Model]:
    """The models of others that the user has a running lease of."""
    return list(models.Model.objects.filter(listing__leases__in=running_leases().filter(lessee_id=user_id)))


def jobs_of(kind: type[Any], user_id: str, model_id: str | None = None) -> orm.QuerySet[Any]:
    """The user's jobs of a kind, the latest first; of one model, when that is given."""
    jobs = kind.objects.filter(model__owner_id=user_id).select_related("model")
    return jobs if model_id is None else jobs.filter(model=owned_model(user_id, model_id))


def training_jobs_of(user_id: str) -> list[models.TrainingJob]:
    """The user's jobs: unfinished ones first, then the latest."""
    jobs = jobs_of(models.TrainingJob, user_id)
    return sorted(jobs[:RECENT], key=lambda job: job.status in models.FINISHED)


def recent_predictions(model_id: str) -> list[payloads.Prediction]:
    """A model's latest, newest first."""
    return [present.prediction(row) for row in models.Prediction.objects.filter(model_id=model_id)[:RECENT]]


def latest_backtest(model_id: str) -> models.Backtest | None:
    """The running one, else the latest that has begun."""
    begun = models.Backtest.objects.filter(model_id=model_id).exclude(status=models.JobStatus.PENDING)
    return begun.filter(status=models.JobStatus.RUNNING).first() or begun.first()


def running_leases(now: datetime | None = None) -> orm.QuerySet[models.Lease]:
    """Leases that have begun and not ended, now or then."""
    now = now or timezone.now()
    return models.Lease.objects.filter(starts_at__lte=now, ends_at__gt=now)
