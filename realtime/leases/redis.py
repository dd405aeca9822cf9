"""Leases in Redis, by its clock: a lease is a key that expires, a group a sorted set of members by their expiry."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from redis.exceptions import RedisClusterException, RedisError

from realtime.brokers.redis.servers import Servers
from realtime.errors import BrokerAway

# KEYS lease; ARGV holder, ms
_HOLD = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""

# KEYS lease; ARGV holder
_LET_GO = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
"""

# KEYS group; ARGV member, ms, limit
_ENTER = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local known = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not known and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) then return 0 end
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
"""
_ANY_NUMBER = 2**53
PLACES_PER_PIPELINE = 200


class RedisLeases:
    """See `realtime.leases.base.Leases`. Works in any event loop, one at a time."""

    def __init__(self, servers: Servers, prefix: str) -> None:
        self._servers = servers
        self._prefix = f"{prefix}:lease:"
        self._client: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def hold(self, name: str, holder: str, seconds: float) -> bool:
        with _away():
            return bool(await self._connected().eval(_HOLD, 1, self._prefix + name, holder, _ms(seconds)))

    async def let_go(self, name: str, holder: str) -> None:
        with _away():
            await self._connected().eval(_LET_GO, 1, self._prefix + name, holder)

    async def enter(self, group: str, member: str, seconds: float, limit: int) -> bool:
        with _away():
            return bool(await self._connected().eval(_ENTER, 1, self._prefix + group, member, _ms(seconds), limit))

    async def stay(self, places: Iterable[tuple[str, str]], seconds: float) -> None:
        with _away():
            client = self._connected()
            script = await client.script_load(_ENTER)
            left = iter(places)
            # A few at a time: packing tens of thousands of commands would hold the event loop up.
            while chunk := list(itertools.islice(left, PLACES_PER_PIPELINE)):
                pipeline = client.pipeline(transaction=False) if self._servers.is_plain else client.pipeline()
                for group, member in chunk:
                    key = self._prefix + group
                    pipeline.execute_command("EVALSHA", script, 1, key, member, _ms(seconds), _ANY_NUMBER)
                await pipeline.execute()

    async def leave(self, group: str, member: str) -> None:
        with _away():
            await self._connected().zrem(self._prefix + group, member)

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None and self._loop is asyncio.get_running_loop():
            await client.aclose()

    def _connected(self) -> Any:
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            self._client, self._loop = self._servers.async_client(), loop
        return self._client


@contextlib.contextmanager
def _away() -> Iterator[None]:
    try:
        yield
    except (RedisError, RedisClusterException, OSError, TimeoutError) as error:
        raise BrokerAway(f"{type(error).__name__}: {error}") from error


def _ms(seconds: float) -> int:
    return int(seconds * 1_000)
