"""The contract between a connection and its socket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from realtime.frames import Batch


class Transport(Protocol):
    """One socket's writing side. Nothing here waits."""

    @property
    def writable(self) -> bool:
        """Whether `write` may be called. False while the socket still has enough to send."""
        ...

    def attach(self, on_writable: Callable[[], None], on_broken: Callable[[], None]) -> None:
        """Say whom to tell when it becomes writable again, and when the peer is gone (at once, if it is already)."""
        ...

    def batch_mode(self) -> None:
        """From now on, send JSON arrays of messages. Called before the first write, if at all."""
        ...

    def write(self, batch: Batch) -> None:
        """Send these frames, in order. Only while `writable`."""
        ...

    def close(self, code: int, reason: str, last: Batch | None) -> None:
        """Send the close frame, after `last` where given; None drops whatever still waits. At most once."""
        ...


def nobody() -> None:
    """Who is told before anyone asked to be, and after the end."""
