"""The channel layer of many processes: a list per channel, a sorted set per group, and pub/sub to wake who waits.

It works with threads rather than on a loop, so that every loop and thread of a process shares one pool of connections.
While Redis is away messages are dropped, and logged: a channel layer is at-most-once. The streams do not depend on it.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.conf import settings

from apps.streaming.channel_layer.base import LOOK_SECONDS, ChannelLayer
from apps.streaming.shared_redis import shared_redis
from realtime.brokers.redis.servers import split_urls

THREADS = 8
_layers: weakref.WeakSet[RedisChannelLayer] = weakref.WeakSet()

# Entries are "<expires at, ms> <message>".
# KEYS channel; ARGV ms to live, capacity, message, channel to wake
_PUT = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
while true do
  local oldest = redis.call('LINDEX', KEYS[1], 0)
  if not oldest or tonumber(string.match(oldest, '^(%d+) ')) > now then break end
  redis.call('LPOP', KEYS[1])
end
if redis.call('LLEN', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('RPUSH', KEYS[1], string.format('%d', now + tonumber(ARGV[1])) .. ' ' .. ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
redis.call('PUBLISH', ARGV[4], '')
return 1
"""

# KEYS channel
_TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
while true do
  local oldest = redis.call('LPOP', KEYS[1])
  if not oldest then return false end
  local expires, message = string.match(oldest, '^(%d+) (.*)$')
  if tonumber(expires) > now then return message end
end
"""


class RedisChannelLayer(ChannelLayer):
    """See `ChannelLayer`. Takes its Redis from `REDIS_URL`, the first one where that is a list."""

    def __init__(self, *args: object, url: str | None = None, prefix: str | None = None, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._redis = shared_redis(url or split_urls(settings.ENV.redis_url)[0])
        self._prefix = f"{prefix or settings.ENV.redis_prefix}:layer:"
        self._wake_prefix = f"{self._prefix}{self._redis.servers.database}:wake:"
        self._start_threads()
        _layers.add(self)

    def _start_threads(self) -> None:
        """Anew in a forked process, which has none of its parent's threads, and is another receiver."""
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="channel-layer")
        self._start_lock = threading.Lock()
        self._listener: threading.Thread | None = None
        self._closing = threading.Event()

    def after_fork(self) -> None:
        self._become_another_process()
        self._start_threads()

    async def close(self) -> None:
        self._closing.set()
        listener, self._listener = self._listener, None
        if listener is not None:
            await self._ask(lambda redis: redis.publish(self._wake_prefix, "look up, and end"), otherwise=None)
            await asyncio.to_thread(listener.join, 2 * LOOK_SECONDS)

    async def close_pools(self) -> None:
        """As `close`, under the name that channels_redis gave it."""
        await self.close()

    async def _put(self, channel: str, data: bytes) -> bool:
        return bool(await self._ask(lambda redis: self._append(redis, channel, data), otherwise=True))

    async def _take(self, channel: str) -> bytes | None:
        self._ensure_listening()
        return await self._ask(lambda redis: redis.eval(_TAKE, 1, self._channel_key(channel)), otherwise=None)

    async def _put_back(self, channel: str, data: bytes) -> None:
        def put_back(redis: Any) -> None:
            expires_ms = int((time.time() + self.expiry) * 1_000)
            redis.lpush(self._channel_key(channel), b"%d %b" % (expires_ms, data))
            redis.pexpire(self._channel_key(channel), self._ms(self.expiry))
            redis.publish(self._wake_prefix + channel, "")

        await self._ask(put_back, otherwise=None)

    async def _join(self, group: str, channel: str) -> None:
        def join(redis: Any) -> None:
            redis.zadd(self._group_key(group), {channel: time.time() + self.group_expiry})
            redis.pexpire(self._group_key(group), self._ms(self.group_expiry))

        await self._ask(join, otherwise=None)

    async def _quit(self, group: str, channel: str) -> None:
        await self._ask(lambda redis: redis.zrem(self._group_key(group), channel), otherwise=None)

    async def _put_to_group(self, group: str, data: bytes) -> None:
        def put_to_group(redis: Any) -> None:
            members = redis.zrangebyscore(self._group_key(group), time.time(), "+inf")
            if not members:
                return
            redis.zremrangebyscore(self._group_key(group), "-inf", time.time())
            pipeline = self._redis.pipeline(redis)
            for member in members:
                self._append(pipeline, member.decode(), data)
            pipeline.execute()

        await self._ask(put_to_group, otherwise=None)

    async def _drop_everything(self) -> None:
        def drop(redis: Any) -> None:
            for key in redis.scan_iter(self._prefix + "*"):
                redis.delete(key)

        await self._ask(drop, otherwise=None)

    # Inner workings

    def _append(self, redis: Any, channel: str, data: bytes) -> Any:
        return redis.execute_command(  # `eval` itself is not offered in a Cluster's pipeline
            "EVAL",
            _PUT,
            1,
            self._channel_key(channel),
            self._ms(self.expiry),
            self.get_capacity(channel),
            data,
            self._wake_prefix + channel,
        )

    async def _ask(self, call: Callable[[Any], Any], *, otherwise: Any) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._redis.ask, call, lambda: otherwise)

    def _ensure_listening(self) -> None:
        if self._listener is not None and self._listener.is_alive():
            return
        with self._start_lock:
            if self._listener is None or not self._listener.is_alive():
                self._closing.clear()
                self._listener = threading.Thread(target=self._listen, name="channel-layer-wake", daemon=True)
                self._listener.start()

    def _listen(self) -> None:
        """Wake who waits here when something was put on its channel. What is missed meanwhile is found by looking."""
        while not self._closing.is_set():
            self._redis.ask(self._listen_until_closed, lambda: self._closing.wait(LOOK_SECONDS))

    def _listen_until_closed(self, redis: Any) -> None:
        with redis.pubsub(ignore_subscribe_messages=True) as pubsub:
            pubsub.psubscribe(self._wake_prefix + "*")
            while not self._closing.is_set():
                message = pubsub.get_message(timeout=LOOK_SECONDS)
                if message is not None:
                    self._wake(message["channel"].decode().removeprefix(self._wake_prefix))

    def _channel_key(self, channel: str) -> str:
        return f"{self._prefix}channel:{channel}"

    def _group_key(self, group: str) -> str:
        return f"{self._prefix}group:{group}"

    @staticmethod
    def _ms(seconds: float) -> int:
        return max(1, int(seconds * 1_000))


def _after_fork_in_child() -> None:
    for layer in list(_layers):
        layer.after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
