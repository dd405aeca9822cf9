"""Two threads of a process publish at once."""

from __future__ import annotations

import sys
import threading

import django

django.setup()

from apps.trading.websocket_utils import broadcast_signal
from tests.cluster.signals import signal_of


def publish(name: str, count: int) -> None:
    for n in range(count):
        broadcast_signal(signal_of(name, "SYM0", n))


if __name__ == "__main__":
    threads = [threading.Thread(target=publish, args=(f"t{n}", int(sys.argv[1]))) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
