"""Several brokers as one: each topic lives on one of them, chosen by consistent hash.

Adding a broker moves only the topics that it takes over; those get a new epoch, and their clients a fresh snapshot.
When one broker is away, the topics of the others go on.
"""

from __future__ import annotations

import asyncio
import bisect
import hashlib
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence

from realtime.brokers.base import Broker, BrokerListener, BrokerStatus
from realtime.publication import Draft, History, Position
from realtime.topic import Topic

POINTS_PER_BROKER = 100


class ShardedBroker:
    """See `realtime.brokers.base.Broker`. A broker's name, not its place in the mapping, decides what it carries."""

    def __init__(self, brokers: Mapping[str, Broker]) -> None:
        self._brokers = dict(brokers)
        points = [(_point(f"{name}#{n}"), name) for name in brokers for n in range(POINTS_PER_BROKER)]
        self._ring = sorted(points)

    def broker_of(self, name: str) -> Broker:
        """The broker of a topic."""
        return self._brokers[self._name_of(name)]

    def attach(self, listener: BrokerListener) -> None:
        for broker in self._brokers.values():
            broker.attach(listener)

    async def subscribe(self, topic: Topic) -> None:
        await self.broker_of(topic.name).subscribe(topic)

    def unsubscribe(self, topic: Topic) -> None:
        self.broker_of(topic.name).unsubscribe(topic)

    async def read(self, topic: Topic, since: Position | None = None) -> History:
        return await self.broker_of(topic.name).read(topic, since)

    async def followed(self, topics: Sequence[Topic]) -> set[str]:
        parts: defaultdict[str, list[Topic]] = defaultdict(list)
        for topic in topics:
            parts[self._name_of(topic.name)].append(topic)
        answers = await asyncio.gather(*(self._brokers[name].followed(part) for name, part in parts.items()))
        return set().union(*answers)

    async def publish(self, draft: Draft) -> Position | None:
        return await self.broker_of(draft.topic.name).publish(draft)

    async def publish_many(self, drafts: Sequence[Draft]) -> list[Position | None]:
        parts = self._parts(drafts)
        positions: list[Position | None] = [None] * len(drafts)
        answers = await asyncio.gather(
            *(self._brokers[name].publish_many([drafts[i] for i in indices]) for name, indices in parts.items())
        )
        for indices, answer in zip(parts.values(), answers, strict=True):
            for index, position in zip(indices, answer, strict=True):
                positions[index] = position
        return positions

    def publish_soon(self, draft: Draft) -> bool:
        return self.broker_of(draft.topic.name).publish_soon(draft)

    def publish_many_soon(self, drafts: Sequence[Draft]) -> int:
        return sum(
            [
                self._brokers[name].publish_many_soon([drafts[i] for i in indices])
                for name, indices in self._parts(drafts).items()
            ]
        )

    def forget_soon(self, topic: Topic, key: str) -> None:
        self.broker_of(topic.name).forget_soon(topic, key)

    def settle(self, timeout_seconds: float) -> bool:
        deadline = time.monotonic() + timeout_seconds
        settled = [broker.settle(max(0.0, deadline - time.monotonic())) for broker in self._brokers.values()]
        return all(settled)

    @property
    def status(self) -> BrokerStatus:
        parts = {name: broker.status for name, broker in self._brokers.items()}
        troubles = [part.degraded_since for part in parts.values() if part.degraded_since is not None]
        return BrokerStatus(
            kind=next(iter(parts.values())).kind,
            topics=sum(part.topics for part in parts.values()),
            held_bytes=sum(part.held_bytes for part in parts.values()),
            queued=sum(part.queued for part in parts.values()),
            refused=sum(part.refused for part in parts.values()),
            degraded_since=min(troubles, default=None),
            problem="; ".join(f"{name}: {part.problem}" for name, part in parts.items() if part.problem),
        )

    async def close(self) -> None:
        await asyncio.gather(*(broker.close() for broker in self._brokers.values()))

    def _parts(self, drafts: Sequence[Draft]) -> dict[str, list[int]]:
        """Which of the drafts go where, by index."""
        parts: defaultdict[str, list[int]] = defaultdict(list)
        for index, draft in enumerate(drafts):
            parts[self._name_of(draft.topic.name)].append(index)
        return parts

    def _name_of(self, topic_name: str) -> str:
        index = bisect.bisect(self._ring, (_point(topic_name), ""))
        return self._ring[index % len(self._ring)][1]


def _point(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
