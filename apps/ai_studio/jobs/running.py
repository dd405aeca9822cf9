"""Runs one job: claims it, has it computed, supervises that, and keeps and publishes what comes of it."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from typing import Any

from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Window
from django.db.models.functions import Coalesce, RowNumber
from django.utils import timezone

from apps.ai_studio import models, payloads
from apps.ai_studio.jobs import ending
from apps.ai_studio.jobs.ending import ClaimLost
from apps.ai_studio.jobs.kinds import Kind, Unworkable, kind_of
from engines.jobs.process import Compute
from engines.jobs.work import MAX_NEW_TRADES, Cancelled, Crashed, Failed, Outcome, Report

log = logging.getLogger(__name__)

PUBLISH_SECONDS = 0.5
HEARTBEAT_SECONDS = 2.0
LOOK_SECONDS = 0.25  # how often the database is asked whether the job is to be cancelled
PATIENCE_SECONDS = 15.0  # without a database since the last heartbeat: nobody has declared the job lost by then
RETRY_SECONDS = 0.5


def due() -> Q:
    """Jobs that may run now."""
    now = timezone.now()
    return Q(status=models.JobStatus.PENDING) & (Q(not_before=None) | Q(not_before__lte=now))


def ready(kind: Kind) -> QuerySet[Any]:
    """Jobs of a kind that may run now, and that no other job of their model is in the way of."""
    jobs = kind.rows.objects.filter(due())
    if kind.one_per_model:
        jobs = jobs.exclude(Exists(kind.rows.objects.filter(model=OuterRef("model"), status=models.JobStatus.RUNNING)))
    return jobs


def in_turn(kind: Kind) -> QuerySet[Any]:
    """The ready jobs of a kind, in the order in which they are to run: everybody's first before anybody's second, and
    those first that have been due (`due_at`) the longest."""
    of_owner = Window(RowNumber(), partition_by=F("model__owner"), order_by=[F("due_at"), F("pk")])
    jobs = ready(kind).annotate(due_at=Coalesce("not_before", "created_at"))
    return jobs.annotate(nth=of_owner).order_by("nth", "due_at")


def run_job(
    job: Any,
    compute: Compute,
    stop: threading.Event,
    *,
    worker: str = "",
    monotonic: Callable[[], float] = time.monotonic,
) -> models.JobStatus | None:
    """Run a waiting job to its end, and say how it ended. None: it was not waiting any more, or is not ours any more;
    nothing is written or published then. `stop` is set when this process is to end. A job that runs bears a database
    that is away for less than `PATIENCE_SECONDS`; then, or at its claim, raises `OperationalError` or
    `InterfaceError`."""
    run = JobRun(job, compute, stop, worker=worker or f"{os.getpid()}@{socket.gethostname()}", monotonic=monotonic)
    return run.to_its_end() if run.claim() else None


class _Unwanted(Exception):
    """The job was cancelled or lost, or the process is to end, before anything was computed."""


class JobRun:
    """One claim on one job. What it writes counts only while the claim does.

    Reports are published at most every `PUBLISH_SECONDS`, the latest of them, with the trades of those in between; the
    last one, however soon, in the transaction that ends the job, directly before the message that says so. At most
    `MAX_NEW_TRADES` go with one, the latest: its `trades` counts them all."""

    def __init__(
        self,
        job: Any,
        compute: Compute,
        stop: threading.Event,
        *,
        worker: str,
        monotonic: Callable[[], float],
    ) -> None:
        self._job = job
        self._kind = kind_of(job)
        self._compute = compute
        self._worker = worker
        self._stop = stop
        self._monotonic = monotonic
        self._published_at = self._looked_at = self._heartbeat_at = monotonic()
        self._latest: Report | None = None
        self._new_trades: deque[payloads.BacktestTrade] = deque(maxlen=MAX_NEW_TRADES)
        self._lost = False
        self._is_cancelled = False

    def claim(self) -> bool:
        """Make the job ours, unless somebody else was faster or another job of its model is in its way; whoever watches
        sees that it has begun."""
        job, now = self._job, timezone.now()
        claim, progress = uuid.uuid4(), dict(self._kind.first_progress)
        changes = {
            "status": models.JobStatus.RUNNING,
            "claim": claim,
            "worker": self._worker[:120],
            "heartbeat_at": now,
            "started_at": now,
            "progress": progress,
        }
        with transaction.atomic():
            if self._kind.one_per_model:  # of two claims at once, the second sees the first
                list(models.Model.objects.select_for_update().filter(pk=job.model_id).values_list("pk"))
            if not ready(self._kind).filter(pk=job.pk).update(**changes):
                # Whoever sends jobs to Celery is to send it again when it is ready.
                self._kind.rows.objects.filter(pk=job.pk, status=models.JobStatus.PENDING).update(sent_at=None)
                return False
            for name, value in changes.items():
                setattr(job, name, value)
            self._kind.notify_progress(job, [])
        return True

    def to_its_end(self) -> models.JobStatus | None:
        try:
            outcome = self._outcome()
            self._insist(lambda: self._end(outcome))
        except ClaimLost:
            log.warning("job %s was taken from this worker; what it computed is dropped", self._job.pk)
            return None
        except (OperationalError, InterfaceError):
            raise  # nothing can be written
        except Exception:
            log.exception("job %s failed", self._job.pk)
            try:
                self._insist(lambda: ending.failed(self._kind, self._job, ending.INTERNAL_FAILURE))
            except ClaimLost:
                return None
        return self._job.status

    def _outcome(self) -> Outcome:
        try:
            work = self._insist(lambda: self._kind.work(self._job, self._look_in))
            self._look_in()
        except Unworkable as error:
            return Failed(message=str(error))
        except _Unwanted:
            return Cancelled()
        return self._compute.run(work, self._on_progress, self._supervise)

    @transaction.atomic
    def _end(self, outcome: Outcome) -> None:
        kind, job = self._kind, self._job
        if self._lost:
            raise ClaimLost
        if self._latest is not None:
            job.progress = kind.progress(self._latest)
            kind.notify_progress(job, list(self._new_trades))
        if isinstance(outcome, Cancelled):
            if self._is_cancelled:
                ending.cancelled(kind, job)
            else:
                ending.failed(kind, job, ending.SERVER_STOPPED)
        elif isinstance(outcome, Crashed):
            log.error("job %s: the computing process died: %s", job.pk, outcome.reason)
            ending.failed(kind, job, outcome.message)
        elif isinstance(outcome, Failed):
            if outcome.traceback:
                log.error("job %s failed\n%s", job.pk, outcome.traceback)
            ending.failed(kind, job, outcome.message or ending.INTERNAL_FAILURE)
        else:
            ending.completed(kind, job, outcome)

    # While it is computed

    def _on_progress(self, report: Report) -> None:
        self._latest = report
        self._new_trades.extend(self._kind.new_trades(report))
        self._try(self._publish)

    def _supervise(self) -> bool:
        """Called several times a second. Says whether the computing is to stop."""
        self._try(self._keep_up)
        return self._should_end()

    def _keep_up(self) -> None:
        if self._monotonic() - self._looked_at >= LOOK_SECONDS:
            self._look()
        self._publish()
        if self._monotonic() - self._heartbeat_at >= HEARTBEAT_SECONDS:
            self._write()

    def _look_in(self) -> None:
        """A look and a heartbeat between two things that take a while. Raises `_Unwanted`."""
        self._try(self._look)
        self._try(self._write)
        if self._should_end():
            raise _Unwanted

    def _should_end(self) -> bool:
        return self._lost or self._is_cancelled or self._stop.is_set()

    def _look(self) -> None:
        """Whether the job is still ours, and still wanted."""
        self._looked_at = self._monotonic()
        cancel_requested = self._ours().values_list("cancel_requested", flat=True).first()
        self._lost = cancel_requested is None
        self._is_cancelled = bool(cancel_requested)

    def _publish(self) -> None:
        """The latest report, when it is time for one."""
        if self._latest is None or self._lost or self._monotonic() - self._published_at < PUBLISH_SECONDS:
            return
        self._job.progress = self._kind.progress(self._latest)
        with transaction.atomic():
            self._lost = not self._ours().update(heartbeat_at=timezone.now(), progress=self._job.progress)
            if self._lost:
                return
            self._kind.notify_progress(self._job, list(self._new_trades))
        self._heartbeat_at = self._published_at = self._monotonic()
        self._latest = None
        self._new_trades.clear()

    def _write(self) -> None:
        """A heartbeat, while the job is ours."""
        self._lost = not self._ours().update(heartbeat_at=timezone.now())
        self._heartbeat_at = self._monotonic()

    def _ours(self) -> Any:
        return self._kind.rows.objects.filter(pk=self._job.pk, claim=self._job.claim, status=models.JobStatus.RUNNING)

    # While the database is away

    def _try(self, step: Callable[[], None]) -> None:
        """Do it, or leave it to the next time."""
        try:
            step()
        except (OperationalError, InterfaceError) as error:
            if not self._bears(error):
                raise

    def _insist(self, step: Callable[[], Any]) -> Any:
        """Do it, if need be again until the database is there. Raises what `step` raises, and does it again in no
        process that is to end."""
        said: models.JobStatus | None = None
        while True:
            try:
                return step()
            except ClaimLost:
                # What it said was committed, if the connection broke between that and the answer.
                if said is None or not self._has_ended(said):
                    raise
                self._job.status = said
                return None
            except (OperationalError, InterfaceError) as error:
                if self._job.status in models.FINISHED:
                    said, self._job.status = self._job.status, models.JobStatus.RUNNING
                if not self._bears(error) or self._stop.wait(RETRY_SECONDS):
                    raise

    def _bears(self, error: Exception) -> bool:
        """Whether there is still time for the database to come back."""
        connection.close_if_unusable_or_obsolete()
        silent_seconds = self._monotonic() - self._heartbeat_at
        log.warning("job %s: no database for %.1f s: %s", self._job.pk, silent_seconds, error)
        return silent_seconds < PATIENCE_SECONDS

    def _has_ended(self, status: models.JobStatus) -> bool:
        """Whether this claim ended so."""
        jobs = self._kind.rows.objects.filter(pk=self._job.pk, claim=self._job.claim)
        return bool(jobs.filter(status=status).exists())
