"""What a user connects to: a stream's topics, access rule, snapshot and commands. No sockets here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import ClassVar

import msgspec

from realtime.messages import Command, ServerMessage
from realtime.topic import Topic


class Subscribe(msgspec.Struct, frozen=True):
    """A command's outcome: add these topics and confirm."""

    topics: tuple[Topic, ...]


class Unsubscribe(msgspec.Struct, frozen=True):
    """A command's outcome: drop these topics and confirm."""

    topics: tuple[Topic, ...]


Outcome = Sequence[ServerMessage] | Subscribe | Unsubscribe


class Target(msgspec.Struct, frozen=True):
    """An object that a stream can be opened on, for people to choose from."""

    id: str
    label: str


class StreamContext(msgspec.Struct, frozen=True):
    """What a stream may know of its connection."""

    user_id: str
    is_staff: bool
    object_id: str
    now: Callable[[], datetime]


class Stream(ABC):
    """One connection's view of a stream.

    A command `foo` is carried out by the method `on_foo(command)`, which answers with messages, `Subscribe` or
    `Unsubscribe`, or raises a `realtime.errors.ProtocolError` for the client.
    """

    name: ClassVar[str]
    path: ClassVar[str]
    summary: ClassVar[str]
    commands: ClassVar[tuple[type[Command], ...]] = ()
    messages: ClassVar[tuple[type[ServerMessage], ...]]

    rights_end_at: datetime | None = None
    """When the user may open the stream no longer, unless `authorize`, asked again then, says otherwise; None: that is
    not known ahead. Set by `authorize`."""

    def __init__(self, context: StreamContext) -> None:
        self.context = context

    async def authorize(self) -> None:
        """Raises `AccessDenied` or `NotFound` when this user may not open this stream."""

    @abstractmethod
    async def topics(self) -> Sequence[Topic]:
        """What a connection is subscribed to from the start."""

    async def topic_named(self, name: str) -> Topic | None:
        """The topic of this name, when a connection to this stream may subscribe to it; else None."""
        return next((topic for topic in await self.topics() if topic.name == name), None)

    def subscribed(self, topics: Sequence[Topic]) -> None:
        """The connection follows these topics too, from now on: a `Subscribe` was carried out."""

    @abstractmethod
    async def snapshot(self, topics: Sequence[Topic]) -> Sequence[ServerMessage]:
        """The full state of these topics."""

    @classmethod
    async def targets(cls, user_id: str) -> Sequence[Target]:
        """For a stream whose path names an object: those of this user, the likeliest choice first."""
        return ()
