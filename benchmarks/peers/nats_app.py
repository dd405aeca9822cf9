"""A NATS server with its WebSocket listener, and a publisher beside it that speaks its protocol over TCP.

Run as a program: `python -m benchmarks.peers.nats_app WEBSOCKET_PORT CONTROL_PORT`. Both share the server's core.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import uvicorn

from benchmarks.pump import Messages, controlled, wire_message

CONFIGURATION = """
listen: 127.0.0.1:{tcp_port}
websocket {{ listen: "127.0.0.1:{websocket_port}", no_tls: true, compression: true }}
"""
CONNECT_SECONDS = 10.0


class Publisher:
    """A connection to the server that only publishes."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    async def publish(self, messages: Messages, personal: bool) -> None:  # noqa: ARG002 - all topics are alike
        """All of them in one write."""
        lines = []
        for topic, signal in messages:
            payload = wire_message(topic, signal).encode()
            lines.append(b"PUB topic-%d %d\r\n%b\r\n" % (topic, len(payload), payload))
        self._writer.write(b"".join(lines))
        await self._writer.drain()


def main(websocket_port: int, control_port: int) -> None:
    """Serve until killed."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        tcp_port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        configuration = Path(folder, "nats.conf")
        configuration.write_text(CONFIGURATION.format(tcp_port=tcp_port, websocket_port=websocket_port))
        server = subprocess.Popen(["nats-server", "-c", configuration])  # noqa: S607 - wherever it is installed
        try:
            asyncio.run(_publish_when_told(tcp_port, control_port))
        finally:
            server.kill()
            server.wait()


async def _publish_when_told(tcp_port: int, control_port: int) -> None:
    reader, writer = await _connect(tcp_port)
    writer.write(b'CONNECT {"verbose":false,"pedantic":false}\r\n')
    answering = asyncio.create_task(_answer_pings(reader, writer))
    control = controlled(_nothing, Publisher(writer).publish)
    await uvicorn.Server(uvicorn.Config(control, port=control_port, log_level="warning", lifespan="off")).serve()
    answering.cancel()


async def _connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    async with asyncio.timeout(CONNECT_SECONDS):
        while True:
            try:
                return await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)


async def _answer_pings(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    async for line in reader:
        if line.startswith(b"PING"):
            writer.write(b"PONG\r\n")


async def _nothing(*_: object) -> None:
    """No other path is served."""


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
