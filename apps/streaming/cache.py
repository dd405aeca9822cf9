"""Django's cache over the same Redis as the broker, and over this process's memory while Redis is away.

What is kept here (one-time tickets, counts of failed logins) is small and short-lived: during an outage a process goes
on with its own, rather than refusing everybody.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
from django.core.cache.backends.locmem import LocMemCache

from apps.streaming.shared_redis import shared_redis
from realtime.brokers.redis.servers import split_urls

# One call: a key that expires in between would be counted up without ever expiring.
_INCREMENT = "if redis.call('EXISTS', KEYS[1]) == 0 then return nil end return redis.call('INCRBY', KEYS[1], ARGV[1])"


class SharedCache(BaseCache):
    """`LOCATION` names the cache: two names share nothing. A timeout of None means for ever, as Django has it."""

    def __init__(self, name: str, params: dict[str, Any]) -> None:
        super().__init__(params)
        self._prefix = f"{settings.ENV.redis_prefix}:cache:{name}:"
        self._redis = shared_redis(split_urls(settings.ENV.redis_url)[0])
        self._own = LocMemCache(name, params)

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        def ask(redis: Any) -> Any:
            value = redis.get(self._full(key, version))
            return default if value is None else _load(value)

        return self._either(ask, lambda own: own.get(key, default, version))

    def set(self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> None:
        seconds = self._seconds(timeout)
        self._either(
            lambda redis: self._put(redis, self._full(key, version), value, seconds),
            lambda own: own.set(key, value, timeout, version),
        )

    def add(self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        seconds = self._seconds(timeout)
        return bool(
            self._either(
                lambda redis: self._put(redis, self._full(key, version), value, seconds, nx=True),
                lambda own: own.add(key, value, timeout, version),
            )
        )

    def touch(self, key: str, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        seconds = self._seconds(timeout)

        def ask(redis: Any) -> Any:
            name = self._full(key, version)
            return redis.exists(name) if seconds is None else redis.pexpire(name, int(seconds * 1_000))

        return bool(self._either(ask, lambda own: own.touch(key, timeout, version)))

    def delete(self, key: str, version: int | None = None) -> bool:
        return bool(
            self._either(lambda redis: redis.delete(self._full(key, version)), lambda own: own.delete(key, version))
        )

    def incr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        def ask(redis: Any) -> int:
            counted = redis.eval(_INCREMENT, 1, self._full(key, version), delta)
            if counted is None:
                raise ValueError(f"there is no key {key!r} to count up")
            return int(counted)

        return int(self._either(ask, lambda own: own.incr(key, delta, version)))

    def clear(self) -> None:
        self._own.clear()

        def ask(redis: Any) -> None:
            for name in redis.scan_iter(self._prefix + "*"):
                redis.delete(name)

        self._either(ask, lambda own: own.clear())

    def _put(self, redis: Any, name: str, value: Any, seconds: float | None, *, nx: bool = False) -> Any:
        if seconds is not None and seconds <= 0:
            return redis.delete(name)
        return redis.set(name, _dump(value), px=None if seconds is None else int(seconds * 1_000), nx=nx)

    def _full(self, key: str, version: int | None) -> str:
        return self._prefix + self.make_and_validate_key(key, version=version)

    def _seconds(self, timeout: Any) -> float | None:
        return self.default_timeout if timeout is DEFAULT_TIMEOUT else timeout

    def _either(self, ask: Callable[[Any], Any], alone: Callable[[LocMemCache], Any]) -> Any:
        return self._redis.ask(ask, lambda: alone(self._own))


def _dump(value: Any) -> Any:
    """Whole numbers as Redis counts them, everything else as Django keeps it."""
    return value if type(value) is int else pickle.dumps(value)


def _load(data: bytes) -> Any:
    try:
        return int(data)
    except ValueError:
        return pickle.loads(data)  # noqa: S301 - only this project writes there, as with Django's own Redis cache
