"""Hears publications: one pub/sub connection per endpoint, one subscription per topic, whatever the number of clients.

What is wanted and what is subscribed are brought together in batches. A connection that breaks, or is silent for too
long, is replaced; everything it carried is subscribed again, and reported as heard again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from redis.asyncio.connection import Connection
from redis.exceptions import RedisClusterException, RedisError

from realtime.brokers.redis.scripts import Names
from realtime.brokers.redis.servers import Servers

log = logging.getLogger(__name__)

PING_SECONDS = 4.0
SILENT_SECONDS = 10.0  # a connection that has not even answered a ping for so long is dead
FIRST_RETRY_SECONDS = 0.05
LAST_RETRY_SECONDS = 1.0
CHANNELS_PER_COMMAND = 500
# Subscribed by every process, so that there is always a connection, and its loss is noticed.
PRESENCE = "_"

_CONFIRMED = (b"subscribe", b"ssubscribe")
_RELEASED = (b"unsubscribe", b"sunsubscribe")
_MESSAGES = (b"message", b"smessage")
_TROUBLES = (RedisError, RedisClusterException, OSError, TimeoutError)

Message = tuple[str, bytes]  # topic name, what was published


class Ears:
    """Belongs to one event loop. `on_messages` gets what came in one go; `on_heard` the topics that are subscribed
    from now on; `on_deaf` those that are not any more; `on_trouble` why there is no connection, empty once there is."""

    def __init__(
        self,
        servers: Servers,
        names: Names,
        client: Any,
        *,
        on_messages: Callable[[Sequence[Message]], None],
        on_heard: Callable[[Iterable[str]], None],
        on_deaf: Callable[[Iterable[str]], None],
        on_trouble: Callable[[str], None],
    ) -> None:
        self._servers = servers
        self._names = names
        self._client = client
        self._on_messages = on_messages
        self._on_heard = on_heard
        self._on_deaf = on_deaf
        self._on_trouble = on_trouble
        self._wanted: dict[str, None] = {PRESENCE: None}
        self._changed: dict[str, None] = {PRESENCE: None}
        self._wake = asyncio.Event()
        self._wake.set()
        self._stopping = False
        self._endpoints_moved = False
        self._ears: dict[str, _Ear] = {}
        self._endpoint_of: dict[str, str] = {}

    def listen(self, name: str) -> None:
        """Want a topic; `on_heard` says when it is subscribed."""
        self._wanted[name] = None
        self._changed[name] = None
        self._wake.set()

    def ignore(self, name: str) -> None:
        """Want a topic no more."""
        self._wanted.pop(name, None)
        self._changed[name] = None
        self._wake.set()

    def stop(self) -> None:
        """End `run`. Cancel its task as well; alone, that can be swallowed while a connection is opened."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Keep what is subscribed as it is wanted, until `stop`."""
        retry_seconds = FIRST_RETRY_SECONDS
        try:
            while not self._stopping:
                await self._wake.wait()
                self._wake.clear()
                try:
                    await self._bring_together()
                except _TROUBLES as error:
                    self._endpoints_moved = True
                    self._on_trouble(f"{type(error).__name__}: {error}")
                    await asyncio.sleep(retry_seconds * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
                    retry_seconds = min(2 * retry_seconds, LAST_RETRY_SECONDS)
                    self._wake.set()
                else:
                    retry_seconds = FIRST_RETRY_SECONDS
        finally:
            await asyncio.gather(*(ear.close() for ear in list(self._ears.values())))

    async def _bring_together(self) -> None:
        changed, self._changed = self._changed, {}
        done: set[str] = set()
        trouble: Exception | None = None
        try:
            wanted = {name: self._names.channel(name) for name in changed if name in self._wanted}
            endpoints = await self._servers.endpoints_of(self._client, wanted.values(), refresh=self._endpoints_moved)
            self._endpoints_moved = False
            by_endpoint: defaultdict[str, list[str]] = defaultdict(list)
            for name, channel in wanted.items():
                by_endpoint[endpoints[channel]].append(name)
            for endpoint, names in by_endpoint.items():
                try:
                    ear = self._ears.get(endpoint) or await self._open(endpoint)
                    self._endpoint_of.update(dict.fromkeys(names, endpoint))
                    await ear.subscribe(names)
                except _TROUBLES as error:
                    trouble = error  # of one endpoint; the others go on
                else:
                    done.update(names)
            for name in changed:
                # Asked again: it may have become wanted while we waited.
                if name not in self._wanted:
                    done.add(name)
                    if (endpoint := self._endpoint_of.pop(name, "-")) in self._ears:
                        await self._ears[endpoint].unsubscribe([name])
        finally:
            self._changed = {name: None for name in (*changed, *self._changed) if name not in done} | self._changed
        if trouble is not None:
            raise trouble
        self._on_trouble("")

    async def _open(self, endpoint: str) -> _Ear:
        ear = _Ear(self._servers, self._names, self._servers.connection(self._client, endpoint))
        await ear.open(on_messages=self._on_messages, on_heard=self._on_heard, on_moved=self._subscribe_again)
        self._ears[endpoint] = ear
        ear.reading.add_done_callback(lambda _: self._broke(endpoint, ear))
        return ear

    def _broke(self, endpoint: str, ear: _Ear) -> None:
        if self._ears.get(endpoint) is ear:
            del self._ears[endpoint]
            self._on_trouble(ear.problem)
            self._subscribe_again([name for name, where in self._endpoint_of.items() if where == endpoint])

    def _subscribe_again(self, names: Iterable[str]) -> None:
        self._endpoints_moved = True
        lost = [name for name in names if name in self._wanted]
        self._on_deaf(lost)
        self._changed.update(dict.fromkeys(lost))
        self._wake.set()


class _Ear:
    """One connection, from its opening until it breaks."""

    reading: asyncio.Task[None]

    def __init__(self, servers: Servers, names: Names, connection: Connection) -> None:
        self._servers = servers
        self._names = names
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._heard_at = self._loop.time()
        self._released: set[str] = set()
        self.problem = ""

    async def open(
        self,
        *,
        on_messages: Callable[[Sequence[Message]], None],
        on_heard: Callable[[Iterable[str]], None],
        on_moved: Callable[[Iterable[str]], None],
    ) -> None:
        async with asyncio.timeout(SILENT_SECONDS):
            await self._connection.connect()
        self._on_messages, self._on_heard, self._on_moved = on_messages, on_heard, on_moved
        self.reading = self._loop.create_task(self._read_until_broken())

    async def close(self) -> None:
        self.reading.cancel()
        await asyncio.gather(self.reading, return_exceptions=True)

    async def subscribe(self, names: Sequence[str]) -> None:
        self._released.difference_update(names)
        await self._send(self._servers.subscribe_command, names)

    async def unsubscribe(self, names: Sequence[str]) -> None:
        self._released.update(names)
        await self._send(self._servers.unsubscribe_command, names)

    async def _send(self, command: str, names: Sequence[str]) -> None:
        for start in range(0, len(names), CHANNELS_PER_COMMAND):
            channels = [self._names.channel(name) for name in names[start : start + CHANNELS_PER_COMMAND]]
            # In a Cluster the channels of one command would have to share a slot.
            commands = [(command, *channels)] if self._servers.is_plain else [(command, c) for c in channels]
            packed = self._connection.pack_commands(commands)
            await self._connection.send_packed_command(packed, check_health=False)

    async def _read_until_broken(self) -> None:
        watchdog = self._loop.create_task(self._watch())
        try:
            await self._read()
        except _TROUBLES as error:
            self.problem = self.problem or f"{type(error).__name__}: {error}"
        finally:
            watchdog.cancel()
            with contextlib.suppress(*_TROUBLES):
                await self._connection.disconnect(nowait=True)

    async def _read(self) -> None:
        messages: list[Message] = []

        def deliver() -> None:
            taken = messages.copy()
            messages.clear()
            self._on_messages(taken)

        while True:
            # Does not suspend while more is buffered: what came in one go is delivered in one go.
            what, *rest = await self._connection.read_response(timeout=math.inf)
            self._heard_at = self._loop.time()
            if what in _MESSAGES:
                if not messages:
                    self._loop.call_soon(deliver)
                messages.append((self._names.topic_name(rest[0]), rest[1]))
            elif what in _CONFIRMED:
                self._on_heard([self._names.topic_name(rest[0])])
            elif what in _RELEASED and rest[0] is not None:
                name = self._names.topic_name(rest[0])
                if name in self._released:
                    self._released.discard(name)
                else:
                    self._on_moved([name])  # its slot went to another node

    async def _watch(self) -> None:
        """A connection can be dead without anybody having said so: ask, and do not wait for ever for the answer."""
        while True:
            await asyncio.sleep(PING_SECONDS)
            if self._loop.time() - self._heard_at > SILENT_SECONDS:
                self.problem = f"Redis said nothing for {SILENT_SECONDS:g} s"
                self.reading.cancel()
                return
            with contextlib.suppress(*_TROUBLES):
                await self._connection.send_command("PING", check_health=False)
