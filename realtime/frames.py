"""What goes on the wire: a message encoded once, framed once, shared by every connection that gets it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

_TEXT_FINAL = 0x81


def text_frame(payload: bytes) -> bytes:
    """A complete, unmasked WebSocket text frame as a server sends it (RFC 6455, section 5.2)."""
    length = len(payload)
    if length < 126:
        header = bytes((_TEXT_FINAL, length))
    elif length < 65_536:
        header = bytes((_TEXT_FINAL, 126)) + length.to_bytes(2, "big")
    else:
        header = bytes((_TEXT_FINAL, 127)) + length.to_bytes(8, "big")
    return header + payload


class Frame:
    """One message, ready for any transport. The text and the raw frame are made at most once, when first asked for."""

    def __init__(self, payload: bytes) -> None:
        self.payload = payload

    @cached_property
    def text(self) -> str:
        return self.payload.decode()

    @cached_property
    def raw(self) -> bytes:
        return text_frame(self.payload)


class Batch:
    """Frames that leave in one write. Immutable and shared between connections."""

    def __init__(self, frames: Sequence[Frame]) -> None:
        self.frames = frames

    @cached_property
    def raw(self) -> bytes:
        return b"".join([frame.raw for frame in self.frames])

    @cached_property
    def size_bytes(self) -> int:
        return sum(len(frame.payload) for frame in self.frames)
