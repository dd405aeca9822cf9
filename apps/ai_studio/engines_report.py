"""What the process whose engines run told of the system, as the others hear it; and whether it tells anything any more.

Clocks of machines differ: how old its last word is counts from when it was first heard here. Only the first that this
process hears is as old as it says.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.conf import settings
from msgspec import UNSET

from apps.ai_studio import messages, payloads
from apps.streaming.runtime import runtime
from realtime.clock import Clock
from realtime.errors import BrokerAway
from realtime.messages import type_of
from realtime.topic import Topic

OLD_AFTER = timedelta(seconds=15)  # three times the pause between two publications
SAME_REPORT = timedelta(seconds=0.5)  # one report is published on two topics
ENGINES_AWAY = "unknown: the engines are away"
REDIS_AWAY = "unknown: Redis is away"


class Feed(msgspec.Struct, frozen=True):
    """The part of a status that is known where the engines run."""

    feed: str | msgspec.UnsetType = "none"
    feed_age_seconds: float | msgspec.UnsetType | None = None
    feed_rejected: Mapping[str, int] | msgspec.UnsetType = UNSET


UNSET_FEED = Feed(UNSET, UNSET)


class Heard(msgspec.Struct, frozen=True):
    """`workers` None: nothing is known of them. `are_away`: no process's engines have said anything for `OLD_AFTER`;
    `is_told`: somebody said so already."""

    feed: Feed
    workers: list[payloads.Worker] | None = None
    are_away: bool = False
    is_told: bool = False


class EnginesEar:
    """Hears them. One per process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._reported_at: datetime | None = None
        self._heard_monotonic = float("-inf")

    async def listen(self, topic: Topic) -> Heard:
        """What they say now. `topic` is that of the system, with or without detail. A process that stands alone hears
        nobody, and misses nobody."""
        engine = runtime()
        engine.attach()
        try:
            said = _Said.of(await engine.broker.read(topic))
        except BrokerAway:
            return self._cannot_hear()
        if engine.broker.status.degraded_since is not None:
            return self._cannot_hear()
        if said.are_away:
            return Heard(Feed(ENGINES_AWAY), are_away=True, is_told=True)
        self._note(said.reported_at)
        if self._is_silence:
            return Heard(Feed(ENGINES_AWAY), are_away=True) if settings.ENV.redis_url else Heard(Feed())
        return Heard(said.feed, said.workers)

    def _cannot_hear(self) -> Heard:
        """When Redis is back, they have as long to say something as if they had just done so; unless they were silent
        before."""
        if not self._is_silence:
            self._heard_monotonic = self._clock.monotonic()
        return Heard(Feed(REDIS_AWAY))

    @property
    def _is_silence(self) -> bool:
        return self._clock.monotonic() - self._heard_monotonic > OLD_AFTER.total_seconds()

    def _note(self, reported_at: datetime | None) -> None:
        before, age_seconds = self._reported_at, 0.0
        if reported_at is None or (before is not None and abs(reported_at - before) < SAME_REPORT):
            return
        if before is None:
            age_seconds = max(0.0, (self._clock.now() - reported_at).total_seconds())
        self._heard_monotonic = self._clock.monotonic() - age_seconds
        self._reported_at = reported_at


class _Message(msgspec.Struct):
    timestamp: datetime
    status: payloads.SystemStatus | None = None
    workers: list[payloads.Worker] | None = None


class _Said(msgspec.Struct):
    """What a topic holds of them."""

    feed: Feed = UNSET_FEED
    workers: list[payloads.Worker] | None = None
    reported_at: datetime | None = None
    are_away: bool = False

    @classmethod
    def of(cls, history: Any) -> _Said:
        said = cls()
        reports: list[_Message] = []
        for publication in history.publications:
            try:
                message = msgspec.json.decode(publication.body, type=_Message)
            except msgspec.ValidationError:
                continue  # of another version of this program
            if publication.key == type_of(messages.WorkerStatusUpdate) or _knows_the_feed(message.status):
                reports.append(message)
            said.are_away = said.are_away or (message.status is not None and message.status.feed == ENGINES_AWAY)
        said.reported_at = max((message.timestamp for message in reports), default=None)
        for message in reports:
            if said.reported_at is None or said.reported_at - message.timestamp > OLD_AFTER:
                continue  # of one part they told nothing for so long
            if message.workers is not None:
                said.workers = message.workers
            elif message.status is not None:
                said.feed = Feed(message.status.feed, message.status.feed_age_seconds, message.status.feed_rejected)
        return said


def _knows_the_feed(status: payloads.SystemStatus | None) -> bool:
    """Whether the engines published it: other processes say nothing of the feed."""
    return status is not None and status.feed not in (UNSET, ENGINES_AWAY, REDIS_AWAY)
