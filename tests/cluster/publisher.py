"""Publishes signals from a process without an event loop, as a Celery worker or a script does.

    python -m tests.cluster.publisher NAME SYMBOLS PER_SECOND SECONDS

Prints as JSON: how many it published per symbol, and the longest that a call took.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter

import django

django.setup()

from apps.trading.websocket_utils import broadcast_signal
from tests.cluster.signals import signal_of


def main(name: str, symbols: list[str], per_second: float, seconds: float) -> None:
    published: Counter[str] = Counter()
    longest_seconds = 0.0
    started = time.monotonic()
    total = 0
    while (now := time.monotonic()) - started < seconds:
        symbol = symbols[total % len(symbols)]
        broadcast_signal(signal_of(name, symbol, published[symbol]))
        longest_seconds = max(longest_seconds, time.monotonic() - now)
        published[symbol] += 1
        total += 1
        time.sleep(max(0.0, started + total / per_second - time.monotonic()))
    print(json.dumps({"name": name, "published": published, "longest_seconds": longest_seconds}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2].split(","), float(sys.argv[3]), float(sys.argv[4]))
