"""A Celery app whose task publishes; run as a module it queues tasks."""

from __future__ import annotations

import sys

from config.celery import app
from tests.cluster.signals import signal_of


@app.task
def publish(number: int) -> None:
    from apps.trading.websocket_utils import broadcast_signal

    broadcast_signal(signal_of("celery", "SYM0", number))


if __name__ == "__main__":
    for n in range(int(sys.argv[1])):
        app.send_task("tests.cluster.celery_app.publish", (n,))
