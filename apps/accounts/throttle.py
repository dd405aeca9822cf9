"""Slows down guessing of passwords: after a few attempts, each further one doubles the wait.

An attempt counts before its password is looked at, so that many at once do not all pass.
"""

from __future__ import annotations

import hashlib
import math
import time

from django.core.cache import caches

FREE_ATTEMPTS = 5
MAX_WAIT_SECONDS = 300
REMEMBERED_SECONDS = 900


class LoginThrottle:
    """The attempts of one (e-mail, address) pair since the last success."""

    def __init__(self, email: str, address: str) -> None:
        digest = hashlib.sha256(f"{email.strip().lower()}|{address}".encode()).hexdigest()
        self._attempts = f"attempts:{digest}"
        self._blocked_until = f"blocked-until:{digest}"
        self._cache = caches["logins"]

    def attempt(self) -> int:
        """0: look at the password. Else the seconds until the next attempt is looked at."""
        wait_seconds = math.ceil(self._cache.get(self._blocked_until, 0.0) - time.time())
        if wait_seconds > 0:
            return wait_seconds
        self._cache.add(self._attempts, 0, REMEMBERED_SECONDS)
        attempts = self._cache.incr(self._attempts)
        if attempts >= FREE_ATTEMPTS:
            block_seconds = min(MAX_WAIT_SECONDS, 2 ** (attempts - FREE_ATTEMPTS))
            self._cache.set(self._blocked_until, time.time() + block_seconds, REMEMBERED_SECONDS)
        return 0

    def succeeded(self) -> None:
        self._cache.delete_many((self._attempts, self._blocked_until))
