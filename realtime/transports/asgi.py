"""Plain ASGI: one `send` per message, in a task of the connection's own. Works with every server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from realtime.frames import Batch, Encoding
from realtime.transports.base import nobody

CLOSE_GRACE_SECONDS = 10.0

Send = Callable[[dict[str, Any]], Awaitable[None]]


class AsgiTransport:
    """Pumps frames into ASGI's `send`, which waits when the server's buffer is full (Daphne's never waits)."""

    def __init__(self, send: Send, abandon: Callable[[], object]) -> None:
        """`abandon` ends the connection's task: called when the close frame could not be sent in time."""
        self._send = send
        self._abandon = abandon
        self._grace: asyncio.TimerHandle | None = None
        self._encoding = Encoding()
        self._batch: Batch | None = None
        self._closing: tuple[int, str, Batch | None] | None = None
        self._broken = False
        self._wake = asyncio.Event()
        self._on_writable: Callable[[], None] = nobody
        self._on_broken: Callable[[], None] = nobody

    @property
    def writable(self) -> bool:
        return self._batch is None and self._closing is None and not self._broken

    def attach(self, on_writable: Callable[[], None], on_broken: Callable[[], None]) -> None:
        self._on_writable = on_writable
        self._on_broken = on_broken

    def batch_mode(self) -> None:
        self._encoding = Encoding(batched=True)

    def write(self, batch: Batch) -> None:
        self._batch = batch
        self._wake.set()

    def close(self, code: int, reason: str, last: Batch | None) -> None:
        self._closing = (code, reason, last)
        self._wake.set()
        # A peer that does not read keeps `send` waiting, and would keep its connection for as long as it likes.
        self._grace = asyncio.get_running_loop().call_later(CLOSE_GRACE_SECONDS, self._give_up)

    def _give_up(self) -> None:
        self._broken = True
        self._on_broken()
        self._abandon()

    def finished(self) -> None:
        """The connection has ended: nothing is to be given up any more, and nobody told."""
        if self._grace is not None:
            self._grace.cancel()
        self._on_writable = self._on_broken = nobody

    async def run(self) -> None:
        """Send until closed or the peer is gone. Run it as a task; cancel it when the connection ends."""
        try:
            while self._closing is None:
                await self._wake.wait()
                self._wake.clear()
                if self._batch is not None:
                    await self._send_frames(self._batch)
                    self._batch = None
                    if self._closing is None:
                        self._on_writable()
            code, reason, last = self._closing
            if last is not None:
                for text in self._encoding.texts(last):
                    await self._send({"type": "websocket.send", "text": text})
            await self._send({"type": "websocket.close", "code": code, "reason": reason})
        except (OSError, RuntimeError):
            # The peer is gone: servers raise an OSError (spec 2.4) or a RuntimeError for sending after the close.
            self._broken = True
            self._on_broken()

    async def _send_frames(self, batch: Batch) -> None:
        for text in self._encoding.texts(batch):
            if self._closing is not None and self._closing[2] is None:
                return
            await self._send({"type": "websocket.send", "text": text})
