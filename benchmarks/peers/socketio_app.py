"""python-socketio as its documentation shows it: an asynchronous server, a room per topic."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

import socketio

from benchmarks.pump import controlled, message, one_by_one

server = socketio.AsyncServer(async_mode="asgi", cors_allowed_origins="*", ping_interval=60)


@server.event
async def connect(sid: str, environ: dict[str, Any], auth: Any) -> None:  # noqa: ARG001 - Socket.IO's signature
    for topic in parse_qs(environ["QUERY_STRING"])["topics"][0].split(","):
        await server.enter_room(sid, f"topic-{topic}")


async def _publish(topic: int, signal: dict[str, Any]) -> None:
    await server.emit("new_signal", message(topic, signal), room=f"topic-{topic}")


application = controlled(socketio.ASGIApp(server), one_by_one(_publish))
