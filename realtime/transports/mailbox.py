"""What uvicorn keeps per connection to wait on, at a tenth of the memory: asyncio's own `Queue` and `Event` hold four
deques and one, each of which reserves room for 64 waiters."""

from __future__ import annotations

import asyncio
from typing import Any


class Mailbox:
    """An unbounded queue with one reader. Part of `asyncio.Queue`'s interface: `put_nowait`, `get`, `empty`."""

    __slots__ = ("_items", "_reader")

    def __init__(self) -> None:
        self._items: list[Any] = []
        self._reader: asyncio.Future[None] | None = None

    def put_nowait(self, item: Any) -> None:
        """Add an item, and wake the reader."""
        self._items.append(item)
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    async def get(self) -> Any:
        """The oldest item; waits until there is one. A reader that is cancelled takes none."""
        while not self._items:
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        return self._items.pop(0)

    def empty(self) -> bool:
        """Whether nothing waits."""
        return not self._items


class Gate:
    """Open or shut; whoever waits passes when it opens. Part of `asyncio.Event`'s interface: `set`, `clear`, `is_set`,
    `wait`."""

    __slots__ = ("_open", "_waiters")

    def __init__(self, *, is_open: bool) -> None:
        self._open = is_open
        self._waiters: list[asyncio.Future[None]] | None = None

    def set(self) -> None:
        """Open it."""
        self._open = True
        waiters, self._waiters = self._waiters or (), None
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def clear(self) -> None:
        """Shut it."""
        self._open = False

    def is_set(self) -> bool:
        """Whether it is open."""
        return self._open

    async def wait(self) -> None:
        """Returns once it is, or was, opened."""
        if self._open:
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiters = self._waiters or []
        self._waiters.append(waiter)
        await waiter
