"""The physical limit: ready-made frames, one `os.write` per message and client, nothing else. No system that writes
each message by itself can be faster; one that writes several at once can.

Run as a program: `python -m benchmarks.peers.limit PORT`.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import sys
from collections import defaultdict

import uvloop
from websockets.frames import Frame, Opcode
from websockets.server import ServerProtocol

from benchmarks.pump import Messages, start_pump, wire_message

_followers: defaultdict[int, list[int]] = defaultdict(list)


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


class _Handshake(asyncio.Protocol):
    follows = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._conn = ServerProtocol()

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"GET /bench/"):
            start_pump(_publish, data.split(b" ", 2)[1].partition(b"?")[2].decode())
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")  # type: ignore[attr-defined]
            self._transport.close()
            return
        self._conn.receive_data(data)
        for request in self._conn.events_received():
            self._conn.send_response(self._conn.accept(request))  # type: ignore[arg-type]
            descriptor = self._transport.get_extra_info("socket").fileno()
            _write(descriptor, b"".join(self._conn.data_to_send()) + _frame('{"type":"welcome"}'))
            self.follows = True
            for topic in request.path.strip("/").split(","):  # type: ignore[union-attr]
                _followers[int(topic)].append(descriptor)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        if self.follows:
            _followers.clear()  # the run is over: all leave together


async def main(port: int) -> None:
    """Serve until killed."""
    listening = socket.create_server(("127.0.0.1", port), backlog=1_024)
    server = await asyncio.get_running_loop().create_server(_Handshake, sock=listening)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
