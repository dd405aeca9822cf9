"""Asks Redis which topics anybody follows: a process is subscribed to a topic's channel while it has a listener."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from redis.exceptions import RedisClusterException, RedisError

from realtime.brokers.redis.scripts import Names
from realtime.brokers.redis.servers import Servers

log = logging.getLogger(__name__)

CHANNELS_PER_QUESTION = 1_000
REFRESH_SECONDS = 10.0


class Audience:
    """Belongs to one event loop."""

    def __init__(self, servers: Servers, names: Names, client: Any) -> None:
        self._servers = servers
        self._names = names
        self._client = client
        self._refreshed_at = -REFRESH_SECONDS
        self._problem = ""

    async def followed(self, names: Sequence[str]) -> set[str]:
        """Those of the topics that any process is subscribed to. What cannot be asked counts as not followed."""
        loop = asyncio.get_running_loop()
        # Nobody says that a slot has moved to another node: it just has no subscribers any more where it was.
        refresh = bool(self._problem) or loop.time() - self._refreshed_at >= REFRESH_SECONDS
        found: set[str] = set()
        problem = ""
        try:
            channels = [self._names.channel(name) for name in names]
            endpoints = await self._servers.endpoints_of(self._client, channels, refresh=refresh)
            if refresh:
                self._refreshed_at = loop.time()
        except (RedisError, RedisClusterException, OSError, TimeoutError) as error:
            endpoints, problem = {}, f"{type(error).__name__}: {error}"
        by_endpoint: defaultdict[str, list[str]] = defaultdict(list)
        for channel, endpoint in endpoints.items():
            by_endpoint[endpoint].append(channel)
        for endpoint, of_endpoint in by_endpoint.items():
            try:
                for start in range(0, len(of_endpoint), CHANNELS_PER_QUESTION):
                    found.update(await self._ask(endpoint, of_endpoint[start : start + CHANNELS_PER_QUESTION]))
            except (RedisError, RedisClusterException, OSError, TimeoutError) as error:
                problem = f"{type(error).__name__}: {error}"  # of one endpoint; the others are asked
        if problem and not self._problem:
            log.warning("Redis does not say which topics are followed (%s); only those followed here count", problem)
        self._problem = problem
        return found

    async def _ask(self, endpoint: str, channels: Sequence[str]) -> list[str]:
        answer = await self._servers.subscriber_counts(self._client, endpoint, channels)
        counts = zip(answer[::2], answer[1::2], strict=True)
        return [self._names.topic_name(channel) for channel, count in counts if count]
