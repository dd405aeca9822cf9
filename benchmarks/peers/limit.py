"""The physical limit: ready-made frames, one `os.write` per message and client, nothing else. No system that writes
each message by itself can be faster; one that writes several at once can. Of connecting, it does what none can leave
out: the handshake of the websockets library on uvloop, and a welcome.

Run as a program: `python -m benchmarks.peers.limit PORT`.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import sys
from collections import defaultdict
from typing import cast

import uvloop
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from benchmarks.pump import Messages, start_pump, wire_message

_followers: defaultdict[int, set[int]] = defaultdict(set)


def _publish(messages: Messages, personal: bool) -> None:  # noqa: ARG001 - all topics are alike
    for topic, content in messages:
        frame = _frame(wire_message(topic, content))
        for descriptor in _followers[topic]:
            _write(descriptor, frame)


def _frame(text: str) -> bytes:
    return Frame(Opcode.TEXT, text.encode()).serialize(mask=False)


def _write(descriptor: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            select.select([], [descriptor], [])


class _Connection(asyncio.Protocol):
    """Keeps nothing of the handshake, and ignores what comes after it. Its path lists topics, or none."""

    _handshake: ServerProtocol | None
    _topics: tuple[int, ...] = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._descriptor = transport.get_extra_info("socket").fileno()
        self._handshake = ServerProtocol()

    def data_received(self, data: bytes) -> None:
        if self._handshake is None:
            return
        if data.startswith(b"GET /bench/"):
            start_pump(_publish, data.split(b" ", 2)[1].partition(b"?")[2].decode())
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            self._transport.close()
            return
        self._handshake.receive_data(data)
        for request in self._handshake.events_received():
            self._accept(self._handshake, cast("Request", request))

    def _accept(self, handshake: ServerProtocol, request: Request) -> None:
        handshake.send_response(handshake.accept(request))
        _write(self._descriptor, b"".join(handshake.data_to_send()) + _frame('{"type":"welcome"}'))
        self._handshake = None
        self._topics = tuple(int(topic) for topic in request.path.strip("/").split(",") if topic)
        for topic in self._topics:
            _followers[topic].add(self._descriptor)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        for topic in self._topics:
            _followers[topic].discard(self._descriptor)


async def main(port: int) -> None:
    """Serve until killed."""
    listening = socket.create_server(("127.0.0.1", port), backlog=1_024)
    server = await asyncio.get_running_loop().create_server(_Connection, sock=listening)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
