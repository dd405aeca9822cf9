"""How a job ends: in one transaction with the message that says so, and only by whoever may."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.utils import timezone

from apps.ai_studio import models
from apps.ai_studio.jobs.kinds import Kind
from engines.jobs.work import Outcome

MAX_ERROR = 300
SERVER_STOPPED = "the server stopped while the job ran; start it again"
INTERNAL_FAILURE = "the job failed for an internal reason; the operator can see it in the log"
WORKER_GONE = "the worker that ran it is gone; start it again"


class ClaimLost(Exception):
    """The job is no longer ours to write to: it was declared lost, ended, or deleted."""


@transaction.atomic
def completed(kind: Kind, job: Any, outcome: Outcome) -> None:
    """Complete a job that this run has claimed. Raises `ClaimLost`, and then keeps and says nothing."""
    whole = {**job.progress, "progress_percentage": 100.0}
    _end(job, models.JobStatus.COMPLETED, progress=whole, claim=job.claim)
    kind.complete(job, outcome)
    kind.rows.objects.filter(pk=job.pk).update(result=job.result, spec=job.spec)
    job.progress = whole


@transaction.atomic
def failed(kind: Kind, job: Any, error: str, **held: Any) -> None:
    """Fail a running job, if it still is as `held` says (by default: claimed by this run). Raises `ClaimLost`."""
    job.error = error if len(error) <= MAX_ERROR else f"{error[: MAX_ERROR - 1]}…"
    _end(job, models.JobStatus.FAILED, progress=job.progress, **(held or {"claim": job.claim}))
    kind.notify_failed(job)


@transaction.atomic
def cancelled(kind: Kind, job: Any) -> None:
    """End a job that this run has claimed, as its owner asked. Raises `ClaimLost`."""
    _end(job, models.JobStatus.CANCELLED, progress=job.progress, claim=job.claim)
    kind.notify_cancelled(job)


def _end(job: Any, status: models.JobStatus, *, progress: dict[str, Any], **held: Any) -> None:
    now = timezone.now()
    running = type(job).objects.filter(pk=job.pk, status=models.JobStatus.RUNNING, **held)
    if not running.update(status=status, finished_at=now, progress=progress, error=job.error):
        raise ClaimLost
    job.status, job.finished_at = status, now
