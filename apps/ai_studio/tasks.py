"""Celery's tasks: each runs one job that waits in the database, by its id.

`acks_late` is off: a job that killed its worker does not go on to kill the next. It is declared lost instead
(`jobs.watch`), and its owner starts it again.
"""

from __future__ import annotations

import os
import threading
from typing import Any

from celery import shared_task
from celery.signals import worker_process_shutdown, worker_shutdown

from apps.ai_studio.jobs.kinds import BACKTEST, TRAINING, Kind
from apps.ai_studio.jobs.running import run_job
from engines.jobs.process import ComputeProcess


class _Warm(threading.local):
    """The computing process of this thread of this process: a pool's child has its own, whoever forked it."""

    pid = 0
    compute: ComputeProcess | None = None


_warm = _Warm()


@shared_task(name=TRAINING.task, bind=True, ignore_result=True, acks_late=False)
def run_training(task: Any, job_id: str) -> str | None:
    """Run a training job, if it still waits, and say how it ended."""
    return _run(TRAINING, job_id, task.request.hostname)


@shared_task(name=BACKTEST.task, bind=True, ignore_result=True, acks_late=False)
def run_backtest(task: Any, job_id: str) -> str | None:
    """Run a backtest, if it still waits, and say how it ended."""
    return _run(BACKTEST, job_id, task.request.hostname)


def _run(kind: Kind, job_id: str, worker: str | None) -> str | None:
    job = kind.rows.objects.filter(pk=job_id).select_related("model").first()
    if job is None:
        return None  # deleted meanwhile
    status = run_job(job, _compute(), threading.Event(), worker=worker or "celery")
    return None if status is None else str(status.value)


def _compute() -> ComputeProcess:
    if _warm.compute is None or _warm.pid != os.getpid():
        _warm.pid, _warm.compute = os.getpid(), ComputeProcess()
    return _warm.compute


@worker_process_shutdown.connect
@worker_shutdown.connect
def _close(**_: Any) -> None:
    """The child would end by itself, when its stdin does; this is the orderly way."""
    if _warm.compute is not None and _warm.pid == os.getpid():
        _warm.compute.close()
