"""The server of `manage.py serve`: uvicorn with raw frames, the engines beside it, and a clean end."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from types import FrameType
from typing import Any

import uvicorn

from apps.streaming.background import keep_running
from apps.streaming.engine_room import EngineRoom
from apps.streaming.runtime import runtime
from realtime.transports.uvicorn import RawFrameProtocol

log = logging.getLogger(__name__)

# Larger messages never reach the protocol core: uvicorn closes with 1009 itself.
MAX_FRAME_FACTOR = 16
GRACEFUL_SECONDS = 3
DRAIN_GRACE_SECONDS = 0.2
HURRY_POLL_SECONDS = 0.1


class StreamServer(uvicorn.Server):
    """uvicorn that says goodbye: on SIGINT and SIGTERM it is no longer ready, and every client gets `reconnect`, then
    1012. A second signal ends it at once."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.force_exit = self.should_exit
        super().handle_exit(sig, frame)
        # uvicorn raises the signal again at its end, which would kill us before the engines have stopped.
        self._captured_signals.clear()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Still answering: a load balancer sees from health that it should send nobody any more.
        draining = asyncio.create_task(runtime().drain())
        while not draining.done() and not self.force_exit:
            await asyncio.wait((draining,), timeout=HURRY_POLL_SECONDS)
        draining.cancel()
        count = 0 if self.force_exit else await draining
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
        ws_per_message_deflate=True,
        lifespan="off",
        log_level="warning",
        timeout_graceful_shutdown=GRACEFUL_SECONDS,
        forwarded_allow_ips="127.0.0.1,::1",
    )
    return StreamServer(config)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `OSError` when the port is taken; port 0 takes a free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=2048)


async def serve(server: uvicorn.Server, sock: socket.socket, engines: EngineRoom | None) -> None:
    """Serve until a signal, with the engines where this process is to run them."""
    await _beside(engines, server.serve(sockets=[sock]))


async def run_engines(engines: EngineRoom) -> None:
    """Run the engines without a web server until a signal."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await _beside(engines, stop.wait())


async def _beside(engines: EngineRoom | None, work: Any) -> None:
    engine = runtime()
    engine.attach()
    attending = None
    if engines is not None:
        await engines.attend()
        attending = asyncio.get_running_loop().create_task(keep_running(engines.run))
    try:
        await work
    finally:
        if attending is not None and engines is not None:
            attending.cancel()
            await asyncio.gather(attending, return_exceptions=True)
            await engines.close()
        await engine.close()
