"""Who runs jobs, and what they are at: the embedded worker, Celery's, and whoever else has a job's row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from apps.ai_studio import models, payloads
from apps.ai_studio.celery_watch import CeleryWatch, WorkerState
from apps.ai_studio.jobs.embedded import JobWorker
from apps.ai_studio.jobs.kinds import KINDS, kind_of
from apps.ai_studio.jobs.running import due
from apps.ai_studio.jobs.watch import LOST_AFTER_SECONDS
from apps.ai_studio.public_view import public_workers

MAX_NAME = 300


def workers(*, detail: bool) -> list[payloads.Worker]:
    """Every worker that this process knows of; with names and what they work on where `detail`. Synchronous."""
    running = _Running(timezone.now())
    waiting = _waiting()
    found: list[payloads.Worker] = []
    embedded = JobWorker.of_this_process
    if embedded is not None:
        found.append(_embedded(embedded, running.take(embedded.name), waiting))
    celery = CeleryWatch.of_this_process
    if celery is not None:
        for state in celery.book.states():
            jobs = running.take(state.name, state.job_ids)
            found.append(_celery(state, jobs, waiting, running))
    found += [_other(name, jobs, running) for name, jobs in sorted(running.left().items())]
    return found if detail else public_workers(found)


class _Running:
    """The jobs that run by what the database says. Each is taken by one worker."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self._jobs: dict[str, Any] = {
            str(job.pk): job
            for kind in KINDS
            for job in kind.rows.objects.filter(status=models.JobStatus.RUNNING).select_related("model").order_by("pk")
        }

    def take(self, name: str, job_ids: Iterable[str] = ()) -> list[Any]:
        """The jobs with these ids, and those that the worker of this name claimed."""
        ids = {*job_ids, *(job_id for job_id, job in self._jobs.items() if job.worker == name)}
        return [self._jobs.pop(job_id) for job_id in sorted(ids) if job_id in self._jobs]

    def left(self) -> dict[str, list[Any]]:
        """Those that nobody took, by the name of their worker."""
        by_name: defaultdict[str, list[Any]] = defaultdict(list)
        for job in self._jobs.values():
            by_name[job.worker or "unnamed"].append(job)
        return by_name

    def are_alive(self, jobs: Sequence[Any]) -> bool:
        """Whether one of the jobs has a heartbeat."""
        lost = self.now - timedelta(seconds=LOST_AFTER_SECONDS)
        return any(job.heartbeat_at is not None and job.heartbeat_at > lost for job in jobs)


def _waiting() -> int:
    """Jobs that wait for a worker, not for their time. Celery's queue does not say how many: a job that waits for long
    is sent again."""
    return sum(kind.rows.objects.filter(due()).count() for kind in KINDS)


def _embedded(worker: JobWorker, jobs: Sequence[Any], queued: int) -> payloads.Worker:
    return payloads.Worker(
        name="embedded",
        kind="embedded",
        alive=worker.alive,
        busy=worker.busy,
        done=worker.done,
        failed=worker.failed,
        queued=queued,
        mean_runtime_seconds=_rounded(worker.mean_runtime_seconds),
        job=_label(jobs),
    )


def _celery(state: WorkerState, jobs: Sequence[Any], queued: int, running: _Running) -> payloads.Worker:
    # A worker with the `solo` pool says nothing while it works: then its job's heartbeat speaks for it.
    alive = state.alive or running.are_alive(jobs)
    return payloads.Worker(
        name=state.name[:MAX_NAME],
        kind="celery",
        alive=alive,
        busy=alive and (state.busy or bool(jobs)),
        done=state.done,
        failed=state.failed,
        queued=queued,
        mean_runtime_seconds=_rounded(state.mean_runtime_seconds),
        job=_label(jobs),
    )


def _other(name: str, jobs: Sequence[Any], running: _Running) -> payloads.Worker:
    """A worker that is known by its jobs alone, such as a command in a terminal."""
    alive = running.are_alive(jobs)
    return payloads.Worker(
        name=name,
        alive=alive,
        busy=alive,
        done=0,
        failed=0,
        queued=0,
        job=_label(jobs),
    )


def _label(jobs: Sequence[Any]) -> str | None:
    return ", ".join(f"{kind_of(job).name} of {job.model.name}" for job in jobs)[:MAX_NAME] or None


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
