"""A Celery app with one task that ends when, and as, a test says. It loads nothing else, so that its worker is soon
there."""

from __future__ import annotations

import os
import time

from celery import Celery

OPTIONS = {
    "task_default_queue": "watched_jobs",
    "task_ignore_result": True,
    "worker_send_task_events": True,
    "worker_prefetch_multiplier": 1,
    "broker_connection_retry_on_startup": True,
}

app = Celery("watched", broker=os.environ.get("CELERY_BROKER_URL"), set_as_current=False)
app.conf.update(OPTIONS)


@app.task(name="work")
def work(job_id: str, result: str, until: str = "") -> str | None:
    """Returns `result`, once there is a file at `until`."""
    while until and not os.path.exists(until):  # noqa: PTH110 - a path came over the wire
        time.sleep(0.01)
    if result == "CRASH":
        raise RuntimeError(result)
    return None if result == "NOTHING" else result
