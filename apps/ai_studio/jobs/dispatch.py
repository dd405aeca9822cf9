"""Hands a waiting job to whoever runs jobs."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from apps.ai_studio.jobs.embedded import JobWorker
from apps.ai_studio.jobs.kinds import Kind, kind_of

log = logging.getLogger(__name__)


def dispatch(job: Any) -> None:
    """Have a job run as soon as its transaction is committed and it is due: by Celery where there is a broker, else by
    the embedded worker. Never raises for a broker that is away; `send_due_jobs` tries again."""
    if job.not_before is None or job.not_before <= timezone.now():
        transaction.on_commit(partial(_dispatch, kind_of(job), job.pk))


def _dispatch(kind: Kind, job_id: UUID) -> None:
    if settings.ENV.celery_broker_url:
        send_to_celery(kind, job_id)
    elif JobWorker.of_this_process is not None:
        JobWorker.of_this_process.wake()


def send_to_celery(kind: Kind, job_id: UUID) -> bool:
    """Whether the broker has the job now."""
    from kombu.exceptions import OperationalError  # noqa: PLC0415 - without Celery, none of it is loaded

    from apps.ai_studio.jobs import queue  # noqa: PLC0415 - as above

    try:
        queue.send(kind.task, job_id)
    except (OperationalError, OSError) as error:
        log.warning("Celery's broker did not take job %s, and is tried again: %s", job_id, error)
        return False
    kind.rows.objects.filter(pk=job_id).update(sent_at=timezone.now())
    return True
