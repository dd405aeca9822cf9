"""ASGI middleware: attaches the process to its broker; puts a WebSocket's `Principal`, or why there is none, into its
scope."""

from __future__ import annotations

from typing import Any

from channels.middleware import BaseMiddleware

from apps.streaming.authentication import authenticate
from apps.streaming.runtime import runtime
from realtime.errors import NotAuthenticated


class StreamAuthMiddleware(BaseMiddleware):
    """Sets `scope["principal"]` to a `Principal` or a `NotAuthenticated`. The consumer tells the client."""

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> Any:
        scope = dict(scope)
        try:
            scope["principal"] = await authenticate(scope, runtime().logins)
        except NotAuthenticated as refused:
            scope["principal"] = refused
        return await self.inner(scope, receive, send)


class Attached:
    """Begins to listen with the first request of any kind, so that also under Daphne health tells the truth and what
    other processes left behind is published."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> Any:
        if scope["type"] != "lifespan":
            runtime().attach()
        return await self.inner(scope, receive, send)
