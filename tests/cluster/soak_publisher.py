"""Publishes at a steady rate on topics that are replaced by new ones all the time; prints how much it published."""

from __future__ import annotations

import json
import sys
import time

import django

django.setup()

from apps.streaming.runtime import runtime
from apps.trading.websocket_utils import broadcast_signal
from tests.cluster.signals import signal_of

BURST_SECONDS = 0.05


def main(name: str, per_second: float, topics: int, topic_seconds: float, seconds: float) -> None:
    runtime().is_long_lived = True  # publishes in bulk, as a server does, without waiting for each
    started = time.monotonic()
    published = 0
    while (elapsed := time.monotonic() - started) < seconds:
        while published < elapsed * per_second:
            generation = int(time.time() / topic_seconds)
            broadcast_signal(signal_of(name, f"G{generation}-{published % topics}", published))
            published += 1
        time.sleep(BURST_SECONDS)
    assert runtime().broker.settle(10)
    print(json.dumps({"published": published}))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5]))
