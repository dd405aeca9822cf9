"""The embedded job worker: one thread that takes waiting jobs from the database and has them computed."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, ClassVar

import psutil
from django.db import close_old_connections, connection
from django.utils import timezone

from apps.ai_studio import models
from apps.ai_studio.jobs import ending
from apps.ai_studio.jobs.kinds import KINDS, kind_of
from apps.ai_studio.jobs.running import in_turn, run_job
from engines.jobs.process import Compute, ComputeProcess

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5
STOP_SECONDS = 1.5
SILENT_SECONDS = 6.0  # three heartbeats
CANDIDATES = 50
KNOWN_OWNERS = 1_000
PREFIX = "embedded:"


class JobWorker:
    """Owners take turns. `done` and `failed` count the jobs that ended here; `current_job` is what it works on."""

    of_this_process: ClassVar[JobWorker | None] = None

    def __init__(self, compute: Compute | None = None, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.name = f"{PREFIX}{os.getpid()}@{socket.gethostname()}"
        self.done = 0
        self.failed = 0
        self.current_job: str | None = None
        self._compute = compute or ComputeProcess()
        self._monotonic = monotonic
        self._runtime_seconds = 0.0
        self._served: dict[int, int] = {}  # by owner: which run was their latest
        self._stop = threading.Event()
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._work, name="job-worker", daemon=True)

    @property
    def busy(self) -> bool:
        return self.current_job is not None

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def ended(self) -> int:
        """How many jobs have ended here."""
        return self.done + self.failed

    @property
    def mean_runtime_seconds(self) -> float | None:
        """Of the jobs that ended here; None before the first."""
        return self._runtime_seconds / self.ended if self.ended else None

    def start(self) -> None:
        """Fail what a process that is gone left running, and begin."""
        _fail_orphans(PREFIX, ending.SERVER_STOPPED)
        JobWorker.of_this_process = self
        self._thread.start()

    def stop(self) -> None:
        """End, and wait at most `STOP_SECONDS` for it. A job that runs fails, and says that the server stopped; what
        takes it longer to stop goes on to do so."""
        if JobWorker.of_this_process is self:
            JobWorker.of_this_process = None
        self._stop.set()
        self._woken.set()
        if self._thread.ident is not None:
            self._thread.join(STOP_SECONDS)

    def wake(self) -> None:
        """There may be something to do."""
        self._woken.set()

    def _work(self) -> None:
        stumbled = False
        try:
            while not self._stop.is_set():
                close_old_connections()
                ran = False
                self._woken.clear()
                try:
                    if stumbled:
                        _fail_orphans(self.name, ending.INTERNAL_FAILURE)
                        stumbled = False
                    ran = self.run_next()
                except Exception:
                    log.exception("a job could not be taken or ended, probably for want of the database; trying again")
                    stumbled = True
                if not ran and not self._stop.is_set():
                    self._woken.wait(POLL_SECONDS)
        finally:
            self._compute.close()
            connection.close()

    def run_next(self) -> bool:
        """Run one job, if one is ready: of the owner who has waited for a turn the longest."""
        for job in self._in_turn():
            begun = self._monotonic()
            self.current_job = f"{kind_of(job).name} of {job.model.name}"
            try:
                status = run_job(job, self._compute, self._stop, worker=self.name)
            finally:
                self.current_job = None
            if status is None:
                continue  # somebody else has it
            self._runtime_seconds += self._monotonic() - begun
            if len(self._served) >= KNOWN_OWNERS:
                self._served.clear()
            self._served[job.model.owner_id] = self.ended + 1
            if status == models.JobStatus.FAILED:
                self.failed += 1
            else:
                self.done += 1
            return True
        return False

    def _in_turn(self) -> list[Any]:
        """Ready jobs of either kind."""
        jobs = [job for kind in KINDS for job in in_turn(kind).select_related("model")[:CANDIDATES]]
        return sorted(jobs, key=lambda job: (self._served.get(job.model.owner_id, 0), job.nth, job.due_at))


def _fail_orphans(worker: str, error: str) -> None:
    """Fail the jobs of workers whose names begin so, if nobody runs them any more: their process was on this host and
    is gone, or they have been silent for `SILENT_SECONDS`. Another server may be well, and run one meanwhile."""
    silent_since = timezone.now() - timedelta(seconds=SILENT_SECONDS)
    for kind in KINDS:
        running = kind.rows.objects.filter(status=models.JobStatus.RUNNING, worker__startswith=worker)
        for job in running.select_related("model"):
            if not _is_orphan(job, silent_since):
                continue
            try:
                ending.failed(kind, job, error, claim=job.claim, heartbeat_at=job.heartbeat_at)
            except ending.ClaimLost:
                log.info("job %s has ended meanwhile, or goes on", job.pk)


def _is_orphan(job: Any, silent_since: datetime) -> bool:
    if job.heartbeat_at is None or job.heartbeat_at < silent_since:
        return True
    pid, _, host = job.worker.removeprefix(PREFIX).partition("@")
    return host == socket.gethostname() and pid.isdecimal() and not psutil.pid_exists(int(pid))
