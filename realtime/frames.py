"""What goes on the wire: a message encoded, framed and compressed once, shared by every connection that gets it."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import attrgetter

from realtime.once import once

_TEXT_FINAL = 0x81
_COMPRESSED = 0x40  # RSV1: permessage-deflate, RFC 7692

DEFLATE_MIN_BYTES = 512  # below, deflating saves less than a third and costs as much as building the frame
DEFLATE_WINDOW_BITS = 12  # 4 KB, as large as nearly every message; a larger one costs more memory than it saves bytes
_DEFLATE_MEM_LEVEL = 5
_SYNC_FLUSH_TAIL = b"\x00\x00\xff\xff"
MAX_ARRAY_BYTES = 262_144  # of one array in batch mode: clients refuse frames that are too large


def text_frame(payload: bytes, *, compressed: bool = False) -> bytes:
    """A complete, unmasked WebSocket text frame as a server sends it (RFC 6455, section 5.2)."""
    first = _TEXT_FINAL | _COMPRESSED if compressed else _TEXT_FINAL
    length = len(payload)
    if length < 126:
        header = bytes((first, length))
    elif length < 65_536:
        header = bytes((first, 126)) + length.to_bytes(2, "big")
    else:
        header = bytes((first, 127)) + length.to_bytes(8, "big")
    return header + payload


def deflated_frame(payload: bytes) -> bytes:
    """The payload as a frame for a client that negotiated permessage-deflate without context takeover (RFC 7692,
    section 7.2.1): compressed where that pays, else as it is, which such a client also takes."""
    if len(payload) >= DEFLATE_MIN_BYTES:
        compressor = zlib.compressobj(wbits=-DEFLATE_WINDOW_BITS, memLevel=_DEFLATE_MEM_LEVEL)
        small = (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(_SYNC_FLUSH_TAIL)
        if len(small) < len(payload):
            return text_frame(small, compressed=True)
    return text_frame(payload)


class Frame:
    """One message, ready for any transport. Each form is made at most once, when first asked for.

    `compressible` is False for replies: they are made for one client, and may hold what it sent beside what only it
    may know, whose lengths compression would tell apart.
    """

    def __init__(self, payload: bytes, *, compressible: bool = False) -> None:
        self.payload = payload
        self.compressible = compressible

    @once
    def text(self) -> str:
        return self.payload.decode()

    @once
    def plain(self) -> bytes:
        return text_frame(self.payload)

    @once
    def deflated(self) -> bytes:
        return deflated_frame(self.payload) if self.compressible else self.plain

    @once
    def deflated_array(self) -> bytes:
        """Of this message alone. Only for what is `worth_compressing`."""
        return deflated_frame(b"[" + self.payload + b"]")

    @property
    def worth_compressing(self) -> bool:
        return self.compressible and len(self.payload) >= DEFLATE_MIN_BYTES


class Batch:
    """Frames of one topic that leave in one write. Immutable and shared between connections, in the form of each
    connection's `Encoding`: `plain`, `deflated`, `array` or `deflated_array`."""

    def __init__(self, frames: Sequence[Frame]) -> None:
        self._frames = frames

    @property
    def frames(self) -> Sequence[Frame]:
        return self._frames

    @once
    def plain(self) -> bytes:
        frames = self.frames
        return frames[0].plain if len(frames) == 1 else b"".join([frame.plain for frame in frames])

    @once
    def deflated(self) -> bytes:
        return b"".join([frame.deflated for frame in self.frames])

    @once
    def array(self) -> bytes:
        return b"".join([text_frame(payload) for payload, _ in self._arrays])

    @once
    def deflated_array(self) -> bytes:
        return b"".join(
            [deflated_frame(payload) if compressible else text_frame(payload) for payload, compressible in self._arrays]
        )

    @once
    def texts(self) -> list[str]:
        """The messages, for servers that make their own frames."""
        return [frame.text for frame in self.frames]

    @once
    def array_texts(self) -> list[str]:
        """The same in batch mode."""
        return [payload.decode() for payload, _ in self._arrays]

    @once
    def size_bytes(self) -> int:
        return sum([len(frame.payload) for frame in self.frames])

    @once
    def _arrays(self) -> list[tuple[bytes, bool]]:
        return list(_arrays(self.frames))


class MixedBatch(Batch):
    """Frames of any topics and replies, as they wait for a socket. What is compressed is compressed alone: beside what
    another topic says, its length would tell of that. And so it is compressed once for everybody here, too."""

    @once
    def deflated_array(self) -> bytes:
        parts: list[bytes] = []
        for compressed, frames in groupby(self.frames, attrgetter("worth_compressing")):
            if compressed:
                parts += [frame.deflated_array for frame in frames]
            else:
                parts += [text_frame(payload) for payload, _ in _arrays(list(frames))]
        return b"".join(parts)


def _arrays(frames: Sequence[Frame]) -> Iterator[tuple[bytes, bool]]:
    """JSON arrays of at most `MAX_ARRAY_BYTES` (or one message), and whether each may be compressed."""
    start = size_bytes = 0
    for index, frame in enumerate(frames):
        size_bytes += len(frame.payload) + 1
        if size_bytes > MAX_ARRAY_BYTES and index > start:
            yield _array(frames[start:index])
            start, size_bytes = index, len(frame.payload) + 1
    if frames:
        yield _array(frames[start:])


def _array(frames: Sequence[Frame]) -> tuple[bytes, bool]:
    payload = b"[" + b",".join([frame.payload for frame in frames]) + b"]"
    return payload, all(frame.compressible for frame in frames)


class Encoding:
    """How a connection wants its messages: one frame each or one array per window, as they are or compressed."""

    def __init__(self, *, batched: bool = False, deflated: bool = False) -> None:
        self.batched = batched
        self.deflated = deflated
        name = ("deflated_array" if deflated else "array") if batched else ("deflated" if deflated else "plain")
        self.wire = attrgetter(name)  # Batch -> bytes; made here, because it runs once per connection and window
        self.texts = attrgetter("array_texts" if batched else "texts")  # Batch -> list[str]
