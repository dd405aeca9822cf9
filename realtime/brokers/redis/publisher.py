"""The publishing side of a process: a queue, a thread that empties it, and whom to tell.

Works from any thread, with and without an event loop.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import secrets
from collections.abc import Callable, Sequence
from typing import Protocol

from realtime.brokers.redis import scripts
from realtime.brokers.redis.sender import Outcome, Sender
from realtime.brokers.redis.sendqueue import Confirmed, Entry, SendQueue
from realtime.brokers.redis.servers import Servers
from realtime.metrics import Metrics
from realtime.publication import Draft, Position
from realtime.topic import Retention, Topic

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.1
CONFIRM_SECONDS = 2.0
REFUSALS_LOGGED_EVERY = 1_000


class Follower(Protocol):
    """Whoever listens in the same process: hears at once of what is published here. Called from any thread."""

    def placed(self, entries: Sequence[Entry]) -> None:
        """Queued. In order, and quick: the queue waits meanwhile."""
        ...

    def stored(self, outcomes: Sequence[Outcome], then: Callable[[], None]) -> None:
        """Stored, or refused for good. Call `then` afterwards."""
        ...

    def dropped(self, entry: Entry) -> None:
        """Made room for others, and will never be stored. Quick, as `placed`."""
        ...

    def troubled(self) -> None:
        """An attempt to store failed; everything is kept."""
        ...


class Publisher:
    """`process_id` names this process in what it publishes. A forked process needs a publisher of its own."""

    def __init__(
        self,
        servers: Servers,
        names: scripts.Names,
        retention: Callable[[str], Retention],
        metrics: Metrics,
        queue_count: int,
    ) -> None:
        self.process_id = secrets.token_hex(6)
        self.follower: Follower | None = None
        self._metrics = metrics
        self.queue = SendQueue(queue_count, self._on_dropped)
        self._sender = Sender(
            servers,
            names,
            self.queue,
            process_id=self.process_id,
            retention=retention,
            new_epoch=new_epoch,
            on_stored=self._on_stored,
            on_trouble=self._on_trouble,
        )

    @property
    def trouble(self) -> str:
        """Why nothing can be stored now; empty while all is well."""
        return self._sender.trouble

    def publish(self, drafts: Sequence[Draft], confirmed: Sequence[Confirmed] = ()) -> int:
        """Queue them in one go. How many were accepted: fewer when the queue is full. The calls of `confirmed`, where
        given one for each, are made once theirs is stored, or will never be."""
        entries = self.queue.put(drafts, confirmed, self._on_placed)
        self._sender.ensure_running()
        accepted = len(entries) - entries.count(None)
        self._metrics.published(accepted)
        if accepted < len(entries):
            self._refused(len(entries) - accepted, "were refused")
            for entry, call in zip(entries, confirmed, strict=False):
                if entry is None:
                    call(None, None)
        return accepted

    async def publish_many(self, drafts: Sequence[Draft]) -> list[Position | None]:
        """Queue them, and wait for a moment until they are stored. Raises what a refused one was refused with."""
        loop = asyncio.get_running_loop()
        positions: list[Position | None] = [None] * len(drafts)
        problems: list[Exception] = []
        finished = loop.create_future()
        unconfirmed = set(range(len(drafts)))

        def confirm(index: int, position: Position | None, error: Exception | None) -> None:
            positions[index] = position
            if error is not None:
                problems.append(error)
            unconfirmed.discard(index)
            if not unconfirmed:
                call_in(loop, _finish, finished)

        self.publish(drafts, [functools.partial(confirm, index) for index in range(len(drafts))])
        waited_seconds = 0.0
        while unconfirmed and waited_seconds < CONFIRM_SECONDS and not self.trouble:
            await asyncio.wait((finished,), timeout=RETRY_SECONDS)
            waited_seconds += RETRY_SECONDS
        if problems:
            raise problems[0]
        return positions

    def forget(self, topic: Topic, key: str) -> None:
        """Queue the removal of a state's key."""
        self.queue.put_removal(topic, key)
        self._sender.ensure_running()

    def settle(self, timeout_seconds: float) -> bool:
        """As `realtime.brokers.base.Broker.settle`."""
        return self.queue.wait_settled(timeout_seconds, lambda: bool(self.trouble))

    def stop(self, timeout_seconds: float) -> None:
        """Give what is queued a last chance, and end the thread."""
        if not self.settle(timeout_seconds):
            log.error("%d publications were not stored: Redis is away", len(self.queue))
        self._sender.stop()

    def _on_placed(self, entries: Sequence[Entry]) -> None:
        if self.follower is not None:
            self.follower.placed(entries)

    def _on_stored(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            if outcome.error is not None:
                log.error("a publication on %s was refused: %s", outcome.entry.topic.name, outcome.error)
                self._metrics.refused(1)
        if self.follower is not None:
            self.follower.stored(outcomes, functools.partial(_confirm, outcomes))
        else:
            _confirm(outcomes)

    def _on_trouble(self) -> None:
        if self.follower is not None:
            self.follower.troubled()

    def _on_dropped(self, entry: Entry) -> None:
        self._refused(1, "were dropped or refused")
        if self.follower is not None:
            self.follower.dropped(entry)

    def _refused(self, count: int, what: str) -> None:
        self._metrics.refused(count)
        so_far = self.queue.refused
        # Of every thousand the first, whether they come one by one or many in one call.
        if (so_far - 1) // REFUSALS_LOGGED_EVERY > (so_far - count - 1) // REFUSALS_LOGGED_EVERY:
            log.error("Redis is away and the queue is full: %d publications %s", so_far, what)


def call_in(loop: asyncio.AbstractEventLoop, call: Callable[..., object], *args: object) -> bool:
    """Call in another thread's event loop, soon. False: that loop is closed, and nobody is left to be told."""
    try:
        loop.call_soon_threadsafe(call, *args)
    except RuntimeError:
        return False
    return True


def new_epoch() -> str:
    return secrets.token_hex(4)


def _confirm(outcomes: Sequence[Outcome]) -> None:
    for outcome in outcomes:
        if outcome.entry.confirmed is not None:
            outcome.entry.confirmed(outcome.position, outcome.error)


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
