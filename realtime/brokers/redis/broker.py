"""`RedisBroker`: a publisher for the process, and a listening for the event loop that attached last."""

from __future__ import annotations

import asyncio
import atexit
import functools
import os
import weakref
from collections.abc import Sequence

from realtime.brokers.base import BrokerListener, BrokerStatus
from realtime.brokers.redis.listening import Listening
from realtime.brokers.redis.publisher import Publisher
from realtime.brokers.redis.scripts import Names
from realtime.brokers.redis.servers import connect
from realtime.clock import Clock
from realtime.errors import BrokerClosed
from realtime.metrics import Metrics, NullMetrics
from realtime.publication import Draft, History, Position
from realtime.topic import RetentionRules, Topic

CLOSE_SECONDS = 2.0

_brokers: weakref.WeakSet[RedisBroker] = weakref.WeakSet()


class RedisBroker:
    """See `realtime.brokers.base.Broker`. `queue_count` bounds what waits while Redis is away. Raises
    `InvalidBrokerUrl`; never anything because Redis is not there."""

    def __init__(
        self,
        url: str,
        clock: Clock,
        *,
        prefix: str = "sharewise",
        retention: RetentionRules | None = None,
        metrics: Metrics | None = None,
        queue_count: int = 50_000,
    ) -> None:
        self._servers = connect(url)
        self._clock = clock
        self._names = Names(prefix, self._servers.database)
        self._retention = functools.lru_cache(maxsize=10_000)((retention or RetentionRules()).for_topic)
        self._metrics = metrics or NullMetrics()
        self._queue_count = queue_count
        self._closed = False
        self._publisher = self._new_publisher()
        self._listening: Listening | None = None
        _brokers.add(self)

    # Listening

    def attach(self, listener: BrokerListener) -> None:
        if self._listening is not None:
            self._listening.stop_soon()
        self._listening = self._publisher.follower = Listening(
            listener,
            self._publisher,
            servers=self._servers,
            names=self._names,
            retention=self._retention,
            clock=self._clock,
            metrics=self._metrics,
        )

    async def subscribe(self, topic: Topic) -> None:
        await self._attached().subscribe(topic)

    def unsubscribe(self, topic: Topic) -> None:
        if self._listening is not None:
            self._listening.unsubscribe(topic)

    async def read(self, topic: Topic, since: Position | None = None) -> History:
        return await self._attached().read(topic, since)

    async def followed(self, topics: Sequence[Topic]) -> set[str]:
        return await self._attached().followed(topics)

    # Publishing

    async def publish(self, draft: Draft) -> Position | None:
        return (await self.publish_many((draft,)))[0]

    async def publish_many(self, drafts: Sequence[Draft]) -> list[Position | None]:
        self._require_open()
        return await self._publisher.publish_many(drafts)

    def publish_soon(self, draft: Draft) -> bool:
        self._require_open()
        return self._publisher.publish((draft,)) == 1

    def publish_many_soon(self, drafts: Sequence[Draft]) -> int:
        self._require_open()
        return self._publisher.publish(drafts)

    def forget_soon(self, topic: Topic, key: str) -> None:
        self._publisher.forget(topic, key)

    def settle(self, timeout_seconds: float) -> bool:
        return self._publisher.settle(timeout_seconds)

    # The whole

    @property
    def status(self) -> BrokerStatus:
        listening, queue = self._listening, self._publisher.queue
        degraded_since = listening.degraded_since if listening else None
        return BrokerStatus(
            kind="redis",
            topics=listening.topic_count if listening else 0,
            queued=len(queue),
            refused=queue.refused,
            degraded_since=degraded_since,
            problem=listening.problem if listening and degraded_since else "",
        )

    async def close(self) -> None:
        self._closed = True
        await asyncio.to_thread(self._publisher.stop, CLOSE_SECONDS)
        listening, self._listening = self._listening, None
        if listening is not None:
            await listening.stop()

    def after_fork(self) -> None:
        """This is another process now: it must not use the other's sockets, numbers or thread."""
        self._publisher = self._new_publisher()
        self._listening = None

    def _new_publisher(self) -> Publisher:
        return Publisher(self._servers, self._names, self._retention, self._metrics, self._queue_count)

    def _attached(self) -> Listening:
        if self._listening is None:
            raise BrokerClosed("the Redis broker is not attached to an event loop, or was closed")
        return self._listening

    def _require_open(self) -> None:
        if self._closed:
            raise BrokerClosed("the Redis broker was closed")


def _after_fork_in_child() -> None:
    for broker in list(_brokers):
        broker.after_fork()


def _settle_at_exit() -> None:
    """A process that ends owes what it has queued a last, short chance."""
    for broker in list(_brokers):
        broker.settle(CLOSE_SECONDS)


os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_settle_at_exit)
