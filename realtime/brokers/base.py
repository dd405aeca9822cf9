"""The broker contract. Every implementation passes `tests/realtime/test_broker_contract.py`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from realtime.publication import Draft, History, Position, Publication
from realtime.topic import Topic

IDEMPOTENCY_SECONDS = 3_600.0  # how long a draft's idempotency key is remembered


class BrokerListener(Protocol):
    """Whom a broker tells, in the event loop's thread. The hub, in production."""

    def on_publications(self, publications: Sequence[Publication]) -> None:
        """Publications of subscribed topics, in order per topic. During an outage some are provisional: this process
        published them, and they carry no offset."""
        ...

    def on_settled(self, topic: Topic, position: Position) -> None:
        """What was delivered provisionally is stored now; everything up to `position` has been delivered."""
        ...

    def on_lost(self, topic: Topic) -> None:
        """What was delivered so far does not lead to what comes next: the log started anew, or lost its end."""
        ...


class BrokerStatus(msgspec.Struct, frozen=True):
    """How a broker is. `degraded_since` is None while all is well."""

    kind: str
    topics: int = 0
    held_bytes: int = 0
    queued: int = 0
    refused: int = 0
    degraded_since: datetime | None = None
    problem: str = ""


class Broker(Protocol):
    """Keeps the history of topics and carries publications to this process's hub.

    Per topic, whatever the number of producers: offsets of a log start at 1 and have no gaps, and the listener gets
    each publication once, in order. Topics need no declaration.
    """

    def attach(self, listener: BrokerListener) -> None:
        """Deliver publications of subscribed topics to `listener`, on the running loop. Replaces an earlier one."""
        ...

    async def subscribe(self, topic: Topic) -> None:
        """Deliver this topic from now on. Its epoch stays as it is at least until `unsubscribe`.
        The wish counts from the call; when it returns, nothing published later is missed."""
        ...

    def unsubscribe(self, topic: Topic) -> None:
        """Deliver this topic no more."""
        ...

    async def read(self, topic: Topic, since: Position | None = None) -> History:
        """The topic as it is now. For a log: everything after `since`, all of it or (`recovered=False`) nothing.
        For a state: the current value per key; `since` is not looked at."""
        ...

    async def followed(self, topics: Sequence[Topic]) -> set[str]:
        """The names of those topics that some process is subscribed to now: work for the others may be left undone.
        Who subscribes or leaves shows within moments; a Cluster's slot that moves, within ten seconds. What cannot be
        asked, as during an outage, counts as followed where this process itself subscribes to it."""
        ...

    async def publish(self, draft: Draft) -> Position | None:
        """Append one publication and say where. A repeated idempotency key answers with the first's position.
        None: the broker is away, and keeps the publication until it is back. Raises `BrokerClosed`, and
        `InvalidTopic` when the topic is of another kind."""
        ...

    async def publish_many(self, drafts: Sequence[Draft]) -> list[Position | None]:
        """Append many, in order; they reach the hub in one pass. Raises as `publish`."""
        ...

    def publish_soon(self, draft: Draft) -> bool:
        """Publish from any thread, with or without an event loop; never waits for a network. Drafts of one thread
        keep their order. False: an outage has filled the queue, and the draft is lost (counted and logged). Raises
        `BrokerClosed`, and nothing else: an outage is the broker's problem."""
        ...

    def publish_many_soon(self, drafts: Sequence[Draft]) -> int:
        """As `publish_soon`, for many: they keep their order and reach the hub in one pass. How many were accepted."""
        ...

    def forget_soon(self, topic: Topic, key: str) -> None:
        """Drop a state topic's value of this key: who subscribes later does not get it. From any thread, like
        `publish_soon`; a key that is not there is no error."""
        ...

    def settle(self, timeout_seconds: float) -> bool:
        """Wait, at most this long and not at all during an outage, until everything this process published is stored.
        Whether it is. For processes that may end at any moment; never call it in an event loop."""
        ...

    @property
    def status(self) -> BrokerStatus:
        """How the broker is, without asking anybody."""
        ...

    async def close(self) -> None:
        """Stop delivering and forget everything held in this process; what is queued gets a last, short chance."""
        ...
