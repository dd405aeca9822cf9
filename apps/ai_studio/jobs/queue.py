"""The queue of jobs in Celery's broker: its options, and sending to it without waiting for a broker that is away."""

from __future__ import annotations

from functools import cache
from typing import Any
from uuid import UUID

from celery import Celery
from django.conf import settings

QUEUE = "ai_jobs"
EXPIRES_SECONDS = 600.0  # `send_due_jobs` sends again what still waits; old copies need not pile up
CONNECT_SECONDS = 1.0


def celery_options() -> dict[str, Any]:
    """What workers and senders configure Celery with."""
    return {
        "broker_url": settings.ENV.celery_broker_url,
        "broker_connection_retry_on_startup": True,
        "timezone": settings.TIME_ZONE,
        "task_default_queue": QUEUE,
        "task_ignore_result": True,
        "task_send_sent_event": True,
        "worker_send_task_events": True,
        # A job takes minutes: none is to wait behind one while another worker is idle. Only with Redis, says Celery.
        "worker_prefetch_multiplier": 1,
        "worker_disable_prefetch": str(settings.ENV.celery_broker_url).startswith("redis"),
        "worker_hijack_root_logger": False,
    }


@cache
def celery_app() -> Celery:
    """Celery as a process that is no worker uses it: to send jobs, and to ask workers how they are."""
    app = Celery("sharewise-jobs", set_as_current=False)
    app.conf.update(
        celery_options(),
        broker_connection_timeout=CONNECT_SECONDS,
        broker_transport_options={
            "max_retries": 0,
            "socket_connect_timeout": CONNECT_SECONDS,
            "socket_timeout": CONNECT_SECONDS,
        },
    )
    return app


def send(task: str, job_id: UUID) -> None:
    """Queue a job. Raises Kombu's `OperationalError` soon when the broker is away."""
    celery_app().send_task(task, (str(job_id),), retry=False, expires=EXPIRES_SECONDS, ignore_result=True)
