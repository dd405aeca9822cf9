"""A publication as bytes: `<epoch> <offset> <ms> <publisher> <number> <once> <key length> <key><body>`.

The script writes the first three, the process that publishes the rest (the tail). `once` is a digest of the idempotency
key, or `-`; a key length of -1 means no key.
"""

from __future__ import annotations

import hashlib

import msgspec

from realtime.publication import Draft, Position, Publication
from realtime.topic import Topic

NO_ONCE = b"-"


class Received(msgspec.Struct):
    """A publication as Redis has it. `publisher` and `number` tell a process its own; `once` tells it what it has
    published too, and another process stored first."""

    publication: Publication
    ms: int
    publisher: bytes
    number: int
    once: bytes


def tail(draft: Draft, publisher: bytes, number: int) -> bytes:
    """What the publishing process says of a publication."""
    key = None if draft.key is None else draft.key.encode()
    length = -1 if key is None else len(key)
    return b"%b %d %b %d %b%b" % (publisher, number, once_of(draft), length, key or b"", draft.body)


def once_of(draft: Draft) -> bytes:
    """A digest of the draft's idempotency key, `-` where it has none."""
    if draft.idempotency_key is None:
        return NO_ONCE
    return hashlib.blake2b(draft.idempotency_key.encode(), digest_size=12).hexdigest().encode()


def place_of(message: bytes) -> Position:
    """Where a publication stands, without looking at the rest of it. Raises `ValueError` when it is not one of ours."""
    epoch, offset, _ = message.split(b" ", 2)
    return Position(epoch.decode(), int(offset))


def decode(topic: Topic, message: bytes, position: Position | None = None) -> Received:
    """`position` is its `place_of`, where that is known. Raises `ValueError` when it is not one of ours."""
    _, _, ms, publisher, number, once, key_length, rest = message.split(b" ", 7)
    length = int(key_length)
    key = None if length < 0 else rest[:length].decode()
    body = rest if length <= 0 else rest[length:]
    publication = Publication(topic, body, key, position or place_of(message))
    return Received(publication, int(ms), publisher, int(number), once)
