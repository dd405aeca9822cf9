"""Slows down guessing of passwords: after a few failures, each further one doubles the wait."""

from __future__ import annotations

import hashlib
import math
import time

from django.core.cache import cache

FREE_FAILURES = 5
MAX_WAIT_SECONDS = 300
REMEMBERED_SECONDS = 900


class LoginThrottle:
    """Failures of one (e-mail, address) pair."""

    def __init__(self, email: str, address: str) -> None:
        digest = hashlib.sha256(f"{email.strip().lower()}|{address}".encode()).hexdigest()
        self._key = f"login-failures:{digest}"

    def seconds_to_wait(self) -> int:
        """0: go on. Else the seconds until the next attempt is looked at."""
        _, blocked_until = cache.get(self._key, (0, 0.0))
        return max(0, math.ceil(blocked_until - time.time()))

    def failed(self) -> None:
        failures = cache.get(self._key, (0, 0.0))[0] + 1
        wait_seconds = min(MAX_WAIT_SECONDS, 2 ** (failures - FREE_FAILURES)) if failures >= FREE_FAILURES else 0
        cache.set(self._key, (failures, time.time() + wait_seconds), REMEMBERED_SECONDS)

    def succeeded(self) -> None:
        cache.delete(self._key)
