"""What Python's garbage collector takes, and in whose midst: a sampling profiler counts it for whoever made the object
that set it off."""

from __future__ import annotations

import gc
import json
import sys
import time
from types import FrameType
from typing import Any

PATH = "/bench/garbage"

Stack = tuple[str, ...]  # innermost last, each as py-spy writes it: function (file:line)


def watched(application: Any) -> Any:
    """The ASGI application, which also answers how many seconds of its thread were spent on collecting garbage since
    that was last asked, and where that began: a list of stack and seconds."""
    collections = _Collections()

    async def wrapped(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] != PATH:
            await application(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(collections.take()).encode()})

    return wrapped


class _Collections:
    def __init__(self) -> None:
        self._seconds: dict[Stack, float] = {}
        self._began = 0.0
        gc.callbacks.append(self._called)

    def take(self) -> list[tuple[Stack, float]]:
        taken, self._seconds = self._seconds, {}
        return list(taken.items())

    def _called(self, phase: str, info: dict[str, int]) -> None:  # noqa: ARG002 - the collector's signature
        if phase == "start":
            self._began = time.thread_time()
            return
        seconds = time.thread_time() - self._began
        frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the only way to the caller
        stack: list[str] = []
        while frame is not None:
            stack.append(f"{frame.f_code.co_name} ({_short(frame.f_code.co_filename)}:{frame.f_lineno})")
            frame = frame.f_back
        began_in = tuple(reversed(stack))
        self._seconds[began_in] = self._seconds.get(began_in, 0.0) + seconds


def _short(path: str) -> str:
    """Without the folder that it was imported from."""
    root = max((folder for folder in sys.path if folder and path.startswith(f"{folder}/")), key=len, default="")
    return path[len(root) :].lstrip("/")
