"""The broker contract. Every implementation passes `tests/realtime/test_broker_contract.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from realtime.publication import Draft, History, Position, Publication
from realtime.topic import Topic

PublicationHandler = Callable[[Sequence[Publication]], None]


class Broker(Protocol):
    """Keeps the history of topics and carries publications to this process's hub.

    Per topic, whatever the number of producers: offsets of a log start at 1 and have no gaps, and the handler gets
    each publication once, in order, in the event loop's thread. Topics need no declaration.
    """

    def attach(self, handler: PublicationHandler) -> None:
        """Deliver publications of subscribed topics to `handler`, on the running loop. Replaces an earlier one."""
        ...

    async def subscribe(self, topic: Topic) -> None:
        """Deliver this topic from now on. Its epoch stays as it is at least until `unsubscribe`."""
        ...

    async def unsubscribe(self, topic: Topic) -> None:
        """Deliver this topic no more."""
        ...

    async def read(self, topic: Topic, since: Position | None = None) -> History:
        """The topic as it is now. For a log: everything after `since`, all of it or (`recovered=False`) nothing.
        For a state: the current value per key; `since` is not looked at."""
        ...

    async def publish(self, draft: Draft) -> Position:
        """Append one publication and say where. A repeated idempotency key answers with the first's position.
        Raises `BrokerClosed`."""
        ...

    async def publish_many(self, drafts: Sequence[Draft]) -> list[Position]:
        """Append many, in order; they reach the hub in one pass. Raises `BrokerClosed`."""
        ...

    def publish_soon(self, draft: Draft) -> None:
        """Publish from any thread, with or without an event loop; never waits for a network. Drafts of one thread
        keep their order. Raises `BrokerClosed`, and nothing else: an outage is the broker's problem."""
        ...

    def forget_soon(self, topic: Topic, key: str) -> None:
        """Drop a state topic's value of this key: who subscribes later does not get it. From any thread, like
        `publish_soon`; a key that is not there is no error."""
        ...

    async def close(self) -> None:
        """Stop delivering and forget everything held in this process."""
        ...
