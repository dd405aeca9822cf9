"""ASGI middleware: puts the `Principal`, or the reason why there is none, into the scope of a WebSocket."""

from __future__ import annotations

from typing import Any

from channels.middleware import BaseMiddleware
from channels.sessions import SessionMiddlewareStack

from apps.streaming.authentication import authenticate
from realtime.errors import NotAuthenticated


class StreamAuthMiddleware(BaseMiddleware):
    """Sets `scope["principal"]` to a `Principal` or a `NotAuthenticated`. The consumer tells the client."""

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> Any:
        scope = dict(scope)
        try:
            scope["principal"] = await authenticate(scope)
        except NotAuthenticated as refused:
            scope["principal"] = refused
        return await self.inner(scope, receive, send)


def StreamAuthMiddlewareStack(inner: Any) -> Any:  # noqa: N802 - named as Channels names its stacks
    """Sessions for the cookie, then authentication."""
    return SessionMiddlewareStack(StreamAuthMiddleware(inner))
