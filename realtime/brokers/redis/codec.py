"""A publication as bytes: `<epoch> <offset> <ms> <publisher> <number> <key length> <key><body>`.

The script writes the first three, the process that publishes the rest (the tail); a key length of -1 means no key.
"""

from __future__ import annotations

import msgspec

from realtime.publication import Draft, Position, Publication
from realtime.topic import Topic


class Received(msgspec.Struct):
    """A publication as Redis has it. `publisher` and `number` tell a process its own."""

    publication: Publication
    ms: int
    publisher: bytes
    number: int


def tail(draft: Draft, publisher: bytes, number: int) -> bytes:
    """What the publishing process says of a publication."""
    key = None if draft.key is None else draft.key.encode()
    return b"%b %d %d %b%b" % (publisher, number, -1 if key is None else len(key), key or b"", draft.body)


def decode(topic: Topic, message: bytes) -> Received:
    """Raises `ValueError` when it is not one of ours."""
    epoch, offset, ms, publisher, number, key_length, rest = message.split(b" ", 6)
    length = int(key_length)
    key = None if length < 0 else rest[:length].decode()
    body = rest if length <= 0 else rest[length:]
    publication = Publication(topic, body, key, Position(epoch.decode(), int(offset)))
    return Received(publication, int(ms), publisher, int(number))
