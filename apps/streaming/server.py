"""The server of `manage.py serve`: uvicorn with raw frames, the engines beside it, and a clean end."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from types import FrameType
from typing import Any

import uvicorn

from apps.streaming.plugins import Runner, runner_factories
from apps.streaming.runtime import runtime
from engines.market.data import MarketData
from engines.market.feeds.base import Feed
from realtime.transports.uvicorn import RawFrameProtocol

log = logging.getLogger(__name__)

# Larger messages never reach the protocol core: uvicorn closes with 1009 itself.
MAX_FRAME_FACTOR = 16
GRACEFUL_SECONDS = 3
RESTART_SECONDS = 1.0
DRAIN_GRACE_SECONDS = 0.2


class StreamServer(uvicorn.Server):
    """uvicorn that says goodbye: on SIGINT and SIGTERM every client gets `reconnect`, then 1012."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        # uvicorn raises the signal again at its end, which would kill us before the engines have stopped.
        self._captured_signals.clear()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        count = runtime().drain()
        if count:
            log.info("asked %d clients to reconnect", count)
            await asyncio.sleep(DRAIN_GRACE_SECONDS)  # let the frames leave before the sockets are closed
        await super().shutdown(sockets)


def make_server(application: Any = "config.asgi:application") -> StreamServer:
    """A server that is ready to `serve(sockets=…)`."""
    config = uvicorn.Config(
        application,
        loop="uvloop",
        http="httptools",
        ws=RawFrameProtocol,
        ws_max_size=runtime().limits.message_bytes * MAX_FRAME_FACTOR,
        ws_per_message_deflate=False,
        lifespan="off",
        log_level="warning",
        timeout_graceful_shutdown=GRACEFUL_SECONDS,
    )
    return StreamServer(config)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `OSError` when the port is taken; port 0 takes a free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=2048)


async def serve(server: uvicorn.Server, sock: socket.socket, feed: Feed | None) -> None:
    """Serve until a signal, with the engines on `feed` where there is one."""
    runners: list[Runner] = []
    tasks: list[asyncio.Task[None]] = []
    if feed is not None:
        market = runtime().market = MarketData(feed, runtime().clock.monotonic)
        runners = [factory(market) for factory in runner_factories]
        for runner in runners:
            await runner.start()
        tasks = _supervise([market.run, *(runner.run for runner in runners)])
    try:
        await server.serve(sockets=[sock])
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for runner in runners:
            await runner.stop()
        await runtime().broker.close()


def _supervise(calls: Sequence[Callable[[], Awaitable[None]]]) -> list[asyncio.Task[None]]:
    return [asyncio.get_running_loop().create_task(_keep_running(call)) for call in calls]


async def _keep_running(call: Callable[[], Awaitable[None]]) -> None:
    """A failing engine must not take the streams down: it is logged, and starts again."""
    while True:
        try:
            await call()
        except Exception:
            log.exception("an engine failed; it starts again in %s s", RESTART_SECONDS)
        else:
            return
        await asyncio.sleep(RESTART_SECONDS)
