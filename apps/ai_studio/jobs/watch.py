"""Looks after jobs from outside: those whose worker is gone, those that run by the clock, those that Celery lacks."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from django.db import transaction
from django.db.models import Exists, Max, OuterRef, Q, QuerySet
from django.utils import timezone

from apps.ai_studio import models
from apps.ai_studio.jobs import ending
from apps.ai_studio.jobs.dispatch import dispatch, send_to_celery
from apps.ai_studio.jobs.kinds import KINDS, TRAINING, Kind
from apps.ai_studio.jobs.running import in_turn
from engines.backtest.spec import BacktestSpec
from engines.learning import spec as training_specs

log = logging.getLogger(__name__)

LOST_AFTER_SECONDS = 20.0
SEND_AGAIN_SECONDS = 60.0
SENT_AT_ONCE = 100


def fail_lost_jobs(now: datetime | None = None) -> int:
    """Fail the running jobs that have given no sign of life for `LOST_AFTER_SECONDS`; how many there were. Should the
    worker come back, it finds that its claim is void."""
    before = (now or timezone.now()) - timedelta(seconds=LOST_AFTER_SECONDS)
    lost = 0
    for kind in KINDS:
        silent = Q(heartbeat_at=None) | Q(heartbeat_at__lt=before)
        for job in kind.rows.objects.filter(silent, status=models.JobStatus.RUNNING).select_related("model"):
            try:
                ending.failed(kind, job, ending.WORKER_GONE, claim=job.claim, heartbeat_at=job.heartbeat_at)
            except ending.ClaimLost:
                continue  # it has ended, or lives after all
            lost += 1
            log.warning("job %s: worker %r gave no sign of life since %s", job.pk, job.worker, job.heartbeat_at)
    return lost


def schedule_jobs() -> None:
    """Keep one job of each kind waiting for every model that runs again by itself. A backtest, which trades what the
    model predicts, waits until it is trained."""
    for kind in KINDS:
        for model_id in _without_job(kind).values_list("pk", flat=True):
            _schedule(kind, model_id)


def _without_job(kind: Kind) -> QuerySet[models.Model]:
    """The models that lack an unfinished job of a kind."""
    unfinished = kind.rows.objects.filter(model=OuterRef("pk")).exclude(status__in=models.FINISHED)
    lacking = models.Model.objects.filter(~Exists(unfinished), rerun_seconds__isnull=False)
    return lacking if kind is TRAINING else lacking.filter(version__gt=0)


@transaction.atomic
def _schedule(kind: Kind, model_id: UUID) -> None:
    """Unless somebody else was faster: the model is locked, as it is for who starts a job by hand."""
    model = models.Model.objects.select_for_update().filter(pk=model_id).first()
    if model is None or not _without_job(kind).filter(pk=model_id).exists():
        return
    last = kind.rows.objects.filter(model=model).aggregate(last=Max("finished_at"))["last"]
    not_before = last + timedelta(seconds=model.rerun_seconds or 0) if last else timezone.now()
    dispatch(kind.rows.objects.create(model=model, not_before=not_before, **_order(kind, model)))


def _order(kind: Kind, model: models.Model) -> dict[str, Any]:
    """What a job by the clock asks for. Settings that make no sense are left for the job to say."""
    if kind is not TRAINING:
        return {"spec": msgspec.to_builtins(BacktestSpec(symbols=tuple(model.symbols)))}
    spec = {"seed": model.version + 1, **model.training}
    try:
        checked = training_specs.spec_from(spec)
    except training_specs.InvalidSpec:
        log.warning("model %s has training settings that make no sense", model.pk)
        return {"spec": spec}
    return {"spec": msgspec.to_builtins(checked), "seed": checked.seed}


def send_due_jobs() -> None:
    """Send to Celery what is due and was not sent, or so long ago that it may be lost: one that arrives twice is run
    once."""
    before = timezone.now() - timedelta(seconds=SEND_AGAIN_SECONDS)
    unsent = Q(sent_at=None) | Q(sent_at__lt=before)
    for kind in KINDS:
        for job_id in in_turn(kind).filter(unsent).values_list("pk", flat=True)[:SENT_AT_ONCE]:
            if not send_to_celery(kind, job_id):
                return
