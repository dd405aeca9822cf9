"""Work that goes on beside the streams: started when it is needed, and again after it failed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)

RESTART_SECONDS = 1.0


class Background:
    """One coroutine function, run again and again with a pause, on the loop that asked for it last."""

    def __init__(self, call: Callable[[], Awaitable[object]], pause_seconds: float) -> None:
        self._call = call
        self._pause_seconds = pause_seconds
        self._task: asyncio.Task[None] | None = None

    def ensure_running(self) -> None:
        loop = asyncio.get_running_loop()
        task = self._task
        if task is not None and not task.done():
            if task.get_loop() is loop:
                return
            with contextlib.suppress(RuntimeError):  # that loop is closed
                task.get_loop().call_soon_threadsafe(task.cancel)
        self._task = loop.create_task(every(self._pause_seconds, self._call))

    async def stop(self) -> bool:
        """End it. Whether it ran on this loop."""
        task, self._task = self._task, None
        if task is None or task.get_loop() is not asyncio.get_running_loop():
            return False
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return True


async def every(
    seconds: float,
    call: Callable[[], Awaitable[object]],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Call again and again, with a pause, until cancelled."""
    while True:
        try:
            await call()
        except Exception:
            # One round lost is better than this work, or that beside it, standing still.
            log.exception("%s failed; it is tried again in %s s", getattr(call, "__name__", call), seconds)
        await sleep(seconds)


async def keep_running(call: Callable[[], Awaitable[None]]) -> None:
    """A failing engine must not take the streams down: it is logged, and starts again."""
    while True:
        try:
            await call()
        except Exception:
            log.exception("an engine failed; it starts again in %s s", RESTART_SECONDS)
        else:
            return
        await asyncio.sleep(RESTART_SECONDS)
