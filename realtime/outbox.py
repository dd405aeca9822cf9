"""A connection's queue for when its socket does not take any more. Pure, no I/O.

Log publications and replies are never dropped: past the bound the outbox is full and the connection closes.
State publications are conflated: a newer value of a topic's key takes the place of the older one.
"""

from __future__ import annotations

from collections.abc import Iterable

from realtime.errors import OutboxFull
from realtime.frames import Frame
from realtime.publication import Publication
from realtime.topic import Kind


class Outbox:
    """Frames in the order in which they will leave, bounded in bytes of payload. One frame always fits."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.size_bytes = 0
        self._next_slot = 0
        self._frames: dict[int | tuple[str, str | None], Frame] = {}

    def __len__(self) -> int:
        return len(self._frames)

    def put(self, publications: Iterable[Publication]) -> None:
        """Queue publications. Raises `OutboxFull` at the bound; the outbox is then to be thrown away."""
        for publication in publications:
            if publication.topic.kind is Kind.STATE:
                slot = (publication.topic.name, publication.key)
                older = self._frames.pop(slot, None)
                if older is not None:
                    self.size_bytes -= len(older.payload)
                self._insert(slot, publication.frame)
            else:
                self.put_frame(publication.frame)

    def put_frame(self, frame: Frame) -> None:
        """Queue a reply. Raises `OutboxFull` at the bound."""
        self._insert(self._next_slot, frame)
        self._next_slot += 1

    def _insert(self, slot: int | tuple[str, str | None], frame: Frame) -> None:
        self.size_bytes += len(frame.payload)
        if self.size_bytes > self.limit_bytes and self._frames:
            raise OutboxFull(f"{self.size_bytes} bytes wait, at most {self.limit_bytes} may")
        self._frames[slot] = frame

    def take(self) -> list[Frame]:
        """Everything queued, in order; the outbox is empty afterwards."""
        frames = list(self._frames.values())
        self.clear()
        return frames

    def clear(self) -> None:
        self._frames = {}
        self.size_bytes = 0
