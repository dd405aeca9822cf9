"""Delivery without Django: a hand-turned clock and a socket that does what the test says."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from realtime.brokers.memory import MemoryBroker
from realtime.clock import ManualClock
from realtime.connection import Connection
from realtime.frames import Batch
from realtime.hub import Hub
from realtime.limits import Limits
from realtime.messages import Command
from realtime.metrics import NullMetrics
from realtime.protocol import CommandSet
from realtime.publication import Draft, Position, Publication
from realtime.topic import Kind, Topic


class FakeTransport:
    """Keeps what was written; stops taking writes when told to, as a socket with a full buffer does."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.stuck = False
        self.closed: tuple[int, str] | None = None
        self._on_writable: Callable[[], None] = lambda: None
        self._on_broken: Callable[[], None] = lambda: None

    @property
    def writable(self) -> bool:
        return not self.stuck and self.closed is None

    def attach(self, on_writable, on_broken):
        self._on_writable, self._on_broken = on_writable, on_broken

    def batch_mode(self):
        self.batched = True

    def write(self, batch):
        assert self.writable, "written to while it was not writable"
        self.batches.append(batch)

    def close(self, code, reason, last):
        assert self.closed is None, "closed twice"
        if last is not None and last.frames:
            self.batches.append(last)
        self.closed = (code, reason)

    def unstick(self):
        self.stuck = False
        self._on_writable()

    def break_(self):
        self._on_broken()

    @property
    def messages(self) -> list[dict]:
        return [json.loads(frame.text) for batch in self.batches for frame in batch.frames]

    def of_type(self, *types: str) -> list[dict]:
        return [message for message in self.messages if message["type"] in types]


class Listener:
    """Keeps what a broker tells."""

    def __init__(self) -> None:
        self.publications: list[Publication] = []
        self.settled: list[tuple[Topic, Position]] = []
        self.lost: list[Topic] = []

    def on_publications(self, publications):
        self.publications += publications

    def on_settled(self, topic, position):
        self.settled.append((topic, position))

    def on_lost(self, topic):
        self.lost.append(topic)


class House:
    """A broker, a hub and connections on one clock."""

    def __init__(self, limits: Limits | None = None, **broker_options) -> None:
        self.clock = ManualClock()
        self.limits = limits or Limits()
        self.broker = MemoryBroker(self.clock, **broker_options)
        self.hub = Hub(self.broker, self.clock, NullMetrics())
        self._count = 0

    def connection(self, user_id="7", commands: tuple[type[Command], ...] = (), **options):
        self._count += 1
        transport = FakeTransport()
        connection = Connection(
            connection_id=f"c{self._count}",
            user_id=user_id,
            stream="test",
            transport=transport,
            hub=self.hub,
            commands=CommandSet(commands),
            limits=self.limits,
            clock=self.clock,
            metrics=NullMetrics(),
            **options,
        )
        return connection, transport

    async def open(self, *topics, since=None, user_id="7", **options):
        connection, transport = self.connection(user_id, **options)
        await connection.open(topics, since or {}, no_snapshot)
        return connection, transport


async def no_snapshot(topics):
    return ()


def log_topic(name="t.log") -> Topic:
    return Topic(name, Kind.LOG)


def state_topic(name="t.state") -> Topic:
    return Topic(name, Kind.STATE)


def draft(topic: Topic, value, key: str | None = None, **options) -> Draft:
    if topic.kind is Kind.STATE:
        key = key or "k"
    return Draft(topic, json.dumps({"type": "item", "value": value}).encode(), key=key, **options)


def placed(draft: Draft, position: Position) -> Publication:
    """A draft as a broker makes it a publication."""
    return Publication(draft.topic, draft.body, draft.key, position)


@pytest.fixture
async def house():
    return House()
