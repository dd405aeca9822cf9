"""The Redis that this process shares with others, for what is not delivery: the cache and the channel layer.

One pool of connections per process; nothing is connected before it is used. After a failure Redis is not asked again
for a moment, so that an outage costs a caller one time-out and not one per call.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from typing import Any

from redis.exceptions import RedisClusterException, RedisError

from realtime.brokers.redis.servers import connect

log = logging.getLogger(__name__)

AWAY_SECONDS = 1.0


class SharedRedis:
    """Get it with `shared_redis`."""

    def __init__(self, url: str) -> None:
        self.servers = connect(url)
        self._client: Any = None
        self._away_until = 0.0

    def ask(self, call: Callable[[Any], Any], otherwise: Callable[[], Any]) -> Any:
        """The call's answer from Redis; `otherwise` while Redis is away."""
        if time.monotonic() >= self._away_until:
            try:
                if self._client is None:
                    self._client = self.servers.sync_client()
                return call(self._client)
            except (RedisError, RedisClusterException, OSError) as error:
                log.warning("Redis is away (%s): cache and channel layer do without it", type(error).__name__)
                self._away_until = time.monotonic() + AWAY_SECONDS
        return otherwise()

    def pipeline(self, client: Any) -> Any:
        """A pipeline of one of `ask`'s clients."""
        return client.pipeline(transaction=False) if self.servers.is_plain else client.pipeline()


@functools.cache
def shared_redis(url: str) -> SharedRedis:
    """This process's, for one URL. redis-py gives a forked process connections of its own."""
    return SharedRedis(url)
