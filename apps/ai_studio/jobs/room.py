"""Jobs in a process that runs engines."""

from __future__ import annotations

import time
from collections.abc import Callable

from django.conf import settings

from apps.ai_studio.jobs import watch
from apps.ai_studio.jobs.embedded import JobWorker
from apps.ai_studio.jobs.sender import JobSender

LOOK_SECONDS = 5.0


class JobRoom:
    """One per process that runs engines. `start` it, call `tick` about once a second, then `stop` it. Runs jobs itself
    where no Celery does."""

    def __init__(self, worker: JobWorker | None = None, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._hands = JobSender() if settings.ENV.celery_broker_url else worker or JobWorker()
        self._monotonic = monotonic
        self._looked_at: float | None = None
        self._ended = 0

    def start(self) -> None:
        self._hands.start()

    def stop(self) -> None:
        """Takes up to a second and a half, and no database: call it in a thread that nobody waits for."""
        self._hands.stop()

    def tick(self) -> None:
        """What is due by the clock: every `LOOK_SECONDS`, and of jobs by the clock the next when one has ended."""
        now, ended = self._monotonic(), self._hands.ended
        is_time = self._looked_at is None or now - self._looked_at >= LOOK_SECONDS
        if is_time:
            self._looked_at = now
            watch.fail_lost_jobs()
        if is_time or ended != self._ended:
            self._ended = ended
            watch.schedule_jobs()
