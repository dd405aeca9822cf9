"""Publications: what a producer hands in (a draft), and what a broker makes of it (a publication with a place)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from realtime.errors import InvalidTopic
from realtime.frames import Batch, Frame
from realtime.once import once
from realtime.topic import Kind, Topic


class Position(msgspec.Struct, frozen=True, gc=False):
    """A place in a topic. A new epoch means that the topic was lost and started again from offset 1.

    `provisional` counts what a process delivered by itself after `offset` while its broker was away; such
    publications get their offsets when the broker is back.
    """

    epoch: str
    offset: int
    provisional: int = 0

    @property
    def place(self) -> tuple[int, int]:
        """Comparable within an epoch."""
        return (self.offset, self.provisional)


class Draft(msgspec.Struct, frozen=True, gc=False):
    """A message on its way to a broker.

    `body` is one JSON object, encoded once, here. `key` names the part of a state topic that it replaces;
    log topics take none. A draft whose `idempotency_key` was seen on the topic before is not published again.
    Raises `InvalidTopic` when `key` and the topic's kind disagree.
    """

    topic: Topic
    body: bytes
    key: str | None = None
    idempotency_key: str | None = None

    def __post_init__(self) -> None:
        if self.topic.kind is Kind.STATE and self.key is None:
            raise InvalidTopic(f"a publication on the state topic {self.topic.name!r} needs a key")
        if self.topic.kind is Kind.LOG and self.key is not None:
            raise InvalidTopic(f"a publication on the log topic {self.topic.name!r} takes no key, got {self.key!r}")
        try:
            f"{self.key}{self.idempotency_key}".encode()
        except UnicodeEncodeError:
            raise InvalidTopic(f"a key of a publication on {self.topic.name!r} is not valid Unicode") from None


class Publication:
    """One item of a topic, with the position its broker gave it. State topics count too, but only inwardly."""

    __slots__ = ("_frame", "body", "key", "position", "published_monotonic", "topic")

    def __init__(
        self, topic: Topic, body: bytes, key: str | None, position: Position, published_monotonic: float = 0.0
    ) -> None:
        self.topic = topic
        self.body = body
        self.key = key
        self.position = position
        self.published_monotonic = published_monotonic
        self._frame: Frame | None = None

    @property
    def offset(self) -> int:
        return self.position.offset

    @property
    def is_provisional(self) -> bool:
        return self.position.provisional > 0

    @property
    def frame(self) -> Frame:
        """The wire message: the body plus where it stands. Made once, whatever the number of connections."""
        if self._frame is None:
            topic, position = self.topic, self.position
            place = f',"topic":"{topic.name}"'
            if topic.kind is Kind.LOG and not position.provisional:
                place += f',"offset":{position.offset}'
            self._frame = Frame(self.body[:-1] + place.encode() + b"}", compressible=True)
        return self._frame

    def __repr__(self) -> str:
        return f"<Publication {self.topic.name}#{self.offset} key={self.key!r}>"


class PublicationBatch(Batch):
    """Publications that leave in one write, shared by every connection that gets them."""

    def __init__(self, publications: Sequence[Publication]) -> None:
        self._frames = [publication.frame for publication in publications]
        self._publications = publications

    @property
    def publications(self) -> Sequence[Publication]:
        return self._publications


class JoinedBatch(PublicationBatch):
    """Batches of several topics that leave in one write. What each of them is on the wire is shared; in batch mode
    with compression it stays an array per topic, so that each is compressed once for everybody."""

    def __init__(self, parts: Sequence[PublicationBatch]) -> None:
        self._parts = parts

    @property
    def frames(self) -> Sequence[Frame]:
        return [frame for part in self._parts for frame in part.frames]

    @property
    def publications(self) -> Sequence[Publication]:
        return [publication for part in self._parts for publication in part.publications]

    @once
    def plain(self) -> bytes:
        return b"".join([part.plain for part in self._parts])

    @once
    def deflated(self) -> bytes:
        return b"".join([part.deflated for part in self._parts])

    @once
    def deflated_array(self) -> bytes:
        return b"".join([part.deflated_array for part in self._parts])


class History(msgspec.Struct, frozen=True):
    """A topic as read at one instant.

    `publications`: for a log everything after the position asked for, when `recovered`, else nothing;
    for a state the current value of each key. `position` is the topic's last publication.
    """

    position: Position
    publications: Sequence[Publication]
    recovered: bool


def conflate(publications: Iterable[Publication]) -> list[Publication]:
    """The latest publication per key, in the order in which those were published."""
    latest: dict[str | None, Publication] = {}
    for publication in publications:
        latest.pop(publication.key, None)
        latest[publication.key] = publication
    return list(latest.values())
