"""The broker of one process: history in memory, nothing to install.

Its memory is bounded thrice: per topic by retention, over all topics by bytes, and in the number of topics.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections import OrderedDict, deque
from collections.abc import Sequence

from realtime.brokers.base import IDEMPOTENCY_SECONDS, BrokerListener, BrokerStatus
from realtime.clock import Clock
from realtime.errors import BrokerClosed, InvalidTopic
from realtime.metrics import Metrics, NullMetrics
from realtime.publication import Draft, History, Position, Publication
from realtime.topic import Kind, Retention, RetentionRules, Topic

IDLE_SECONDS = 600.0
# What a kept publication holds: its body, the message made of it and the frame, and the objects around them.
COPIES = 3
OVERHEAD_BYTES = 600
FORGOTTEN_PER_PUBLICATION = 8  # so many topics at most are dropped for each publication, where memory is short


class _Log:
    """A topic's publications and position. Idle and unsubscribed ones are forgotten."""

    def __init__(self, topic: Topic, retention: Retention) -> None:
        self.topic = topic
        self.retention = retention
        self.epoch = f"{random.getrandbits(32):08x}"
        self.offset = 0
        self.subscribed = False
        self.used_monotonic = 0.0
        self.history: deque[Publication] = deque()
        self.values: dict[str | None, Publication] = {}

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.offset)

    @property
    def idle_seconds(self) -> float:
        return max(self.retention.age_seconds, IDLE_SECONDS)


class MemoryBroker:
    """See `realtime.brokers.base.Broker`. Thread-safe; the listener runs in the loop that called `attach`."""

    def __init__(
        self,
        clock: Clock,
        *,
        retention: RetentionRules | None = None,
        metrics: Metrics | None = None,
        max_topics: int = 100_000,
        max_bytes: int = 256 * 1024 * 1024,
    ) -> None:
        self._clock = clock
        self._retention = retention or RetentionRules()
        self._metrics = metrics or NullMetrics()
        self._max_topics = max_topics
        self._max_bytes = max_bytes
        self._bytes = 0
        self._lock = threading.Lock()
        self._logs: OrderedDict[str, _Log] = OrderedDict()  # least recently used first
        self._idempotent: OrderedDict[tuple[str, str], tuple[float, Position]] = OrderedDict()
        self._outgoing: deque[Publication] = deque()
        self._drain_scheduled = False
        self._listener: BrokerListener | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    # The contract

    def attach(self, listener: BrokerListener) -> None:
        self._listener = listener
        self._loop = asyncio.get_running_loop()

    async def subscribe(self, topic: Topic) -> None:
        with self._lock:
            self._log(topic, self._clock.monotonic()).subscribed = True

    def unsubscribe(self, topic: Topic) -> None:
        with self._lock:
            log = self._logs.get(topic.name)
            if log is not None:
                log.subscribed = False

    async def followed(self, topics: Sequence[Topic]) -> set[str]:
        with self._lock:
            return {topic.name for topic in topics if topic.name in self._logs and self._logs[topic.name].subscribed}

    async def read(self, topic: Topic, since: Position | None = None) -> History:
        history = self._read(topic, since)
        # What this history holds must not reach the hub after its reader has gone live.
        if asyncio.get_running_loop() is self._loop:
            self._drain()
        return history

    def _read(self, topic: Topic, since: Position | None) -> History:
        now = self._clock.monotonic()
        with self._lock:
            log = self._log(topic, now)
            self._expire(log, now)
            if topic.kind is Kind.STATE:
                values = sorted(log.values.values(), key=lambda p: p.offset)
                return History(log.position, values, recovered=False)
            if since is None or since.epoch != log.epoch or since.offset > log.offset:
                return History(log.position, (), recovered=False)
            missing = log.offset - since.offset
            if missing > len(log.history):
                return History(log.position, (), recovered=False)
            kept = list(log.history)
            return History(log.position, kept[len(kept) - missing :], recovered=True)

    async def publish(self, draft: Draft) -> Position:
        return (await self.publish_many((draft,)))[0]

    async def publish_many(self, drafts: Sequence[Draft]) -> list[Position]:
        return self._publish(drafts)

    def publish_soon(self, draft: Draft) -> bool:
        self._publish((draft,))
        return True

    def publish_many_soon(self, drafts: Sequence[Draft]) -> int:
        return len(self._publish(drafts))

    def forget_soon(self, topic: Topic, key: str) -> None:
        with self._lock:
            log = self._logs.get(topic.name)
            if log is not None:
                self._count(log.values.pop(key, None), -1)

    def settle(self, timeout_seconds: float) -> bool:  # noqa: ARG002 - everything is stored at once
        return True

    @property
    def status(self) -> BrokerStatus:
        return BrokerStatus(kind="memory", topics=self.topic_count, held_bytes=self.held_bytes)

    async def close(self) -> None:
        with self._lock:
            self._closed = True
            self._logs.clear()
            self._idempotent.clear()
            self._outgoing.clear()
            self._bytes = 0

    # What an operator may ask

    @property
    def topic_count(self) -> int:
        """How many topics are held now."""
        return len(self._logs)

    @property
    def held_bytes(self) -> int:
        """How many bytes of publications are held now, overhead estimated."""
        return self._bytes

    # Publishing

    def _publish(self, drafts: Sequence[Draft]) -> list[Position]:
        now = self._clock.monotonic()
        try:
            with self._lock:
                if self._closed:
                    raise BrokerClosed("the memory broker was closed")
                positions = [self._append(draft, now) for draft in drafts]
                self._forget(now, FORGOTTEN_PER_PUBLICATION * len(drafts))
        finally:
            self._wake_loop()
        self._metrics.published(len(drafts))
        return positions

    def _append(self, draft: Draft, now: float) -> Position:
        topic, idempotency_key = draft.topic, draft.idempotency_key
        if idempotency_key is not None:
            seen = self._idempotent.get((topic.name, idempotency_key))
            if seen is not None and now - seen[0] < IDEMPOTENCY_SECONDS:
                return seen[1]
        log = self._log(topic, now)
        log.offset += 1
        position = Position(log.epoch, log.offset)
        publication = Publication(topic, draft.body, draft.key, position, now)
        if topic.kind is Kind.STATE:
            self._count(log.values.get(draft.key), -1)
            log.values[draft.key] = publication
        else:
            log.history.append(publication)
            self._expire(log, now)
        self._count(publication, +1)
        if log.subscribed and self._listener is not None:
            self._outgoing.append(publication)
        if idempotency_key is not None:
            self._idempotent[(topic.name, idempotency_key)] = (now, position)
            self._idempotent.move_to_end((topic.name, idempotency_key))
        return position

    def _wake_loop(self) -> None:
        loop = self._loop
        if not self._outgoing or loop is None or loop.is_closed():
            return
        try:
            in_loop = asyncio.get_running_loop() is loop
        except RuntimeError:
            in_loop = False
        if in_loop:
            self._drain()
        elif not self._drain_scheduled:
            self._drain_scheduled = True
            loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        self._drain_scheduled = False
        batch: list[Publication] = []
        while self._outgoing:  # one by one: another thread may be adding
            batch.append(self._outgoing.popleft())
        if batch and self._listener is not None:
            self._listener.on_publications(batch)

    # Keeping memory bounded

    def _log(self, topic: Topic, now: float) -> _Log:
        log = self._logs.get(topic.name)
        if log is None:
            log = self._logs[topic.name] = _Log(topic, self._retention.for_topic(topic.name))
        elif log.topic.kind is not topic.kind:
            raise InvalidTopic(f"{topic.name!r} is a {log.topic.kind.value} topic, not a {topic.kind.value} topic")
        log.used_monotonic = now
        self._logs.move_to_end(topic.name)
        return log

    def _count(self, publication: Publication | None, sign: int) -> None:
        if publication is not None:
            self._bytes += sign * (COPIES * len(publication.body) + OVERHEAD_BYTES)

    def _expire(self, log: _Log, now: float) -> None:
        oldest_allowed = now - log.retention.age_seconds
        history = log.history
        while history and (len(history) > log.retention.count or history[0].published_monotonic < oldest_allowed):
            self._count(history.popleft(), -1)

    def _forget(self, now: float, max_topics: int) -> None:
        """Drop what nobody can ask for any more, at a cost per publication that does not grow."""
        while self._idempotent:
            key, (seen_monotonic, _) = next(iter(self._idempotent.items()))
            if now - seen_monotonic < IDEMPOTENCY_SECONDS and len(self._idempotent) <= self._max_topics:
                break
            del self._idempotent[key]
        for _ in range(min(max_topics, len(self._logs))):
            name, log = next(iter(self._logs.items()))
            idle = now - log.used_monotonic > log.idle_seconds
            if not idle and len(self._logs) <= self._max_topics and self._bytes <= self._max_bytes:
                break
            for publication in (*log.history, *log.values.values()):
                self._count(publication, -1)
            log.history.clear()
            if log.subscribed:
                # Its position lives on, and a state's values are what the next subscriber is owed.
                for publication in log.values.values():
                    self._count(publication, +1)
                log.used_monotonic = now
                self._logs.move_to_end(name)
            else:
                del self._logs[name]
