"""Sends to Celery what it lacks, in a thread of its own: a broker that does not answer holds up nobody there."""

from __future__ import annotations

import logging
import threading

from django.db import close_old_connections, connection

from apps.ai_studio.jobs import watch

log = logging.getLogger(__name__)

SEND_SECONDS = 1.0
STOP_SECONDS = 1.5


class JobSender:
    """`start` it once, then `stop` it, which takes at most `STOP_SECONDS`. No job ever ends here."""

    ended = 0

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="job-sender", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(STOP_SECONDS)

    def _work(self) -> None:
        try:
            while not self._stop.is_set():
                close_old_connections()
                try:
                    watch.send_due_jobs()
                except Exception:
                    log.exception("jobs that wait could not be sent to Celery; trying again")
                self._stop.wait(SEND_SECONDS)
        finally:
            connection.close()
