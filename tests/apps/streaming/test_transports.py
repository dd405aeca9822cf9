"""The same behaviour with raw frames and on plain uvicorn; and a client that does not read."""

from __future__ import annotations

import ast
import asyncio
import gc
import inspect
import json
import re
import socket
import threading
import time
import weakref
from contextlib import ExitStack
from pathlib import Path

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import Close, Opcode
from websockets.server import ServerProtocol

from apps.accounts import tokens
from apps.streaming.runtime import runtime
from apps.trading.websocket_utils import broadcast_signal, notify_new_signal, notify_pnl_update
from realtime.close import NOT_AUTHENTICATED
from realtime.frames import Frame
from realtime.transports import uvicorn as raw_frames
from realtime.transports.asgi import AsgiTransport
from realtime.transports.uvicorn import RawFrameProtocol, RawFrameTransport
from tests.apps.streaming.test_consumer import since
from tests.conftest import BareClient, StreamClient, connection_of, in_loop, wait_until

ROOT = Path(__file__).parents[3]
PADDING = {"padding": "x" * 8_000}


def signal(number):
    return {
        "id": str(number),
        "symbol": "NIFTY",
        "signal_type": "HOLD",
        "confidence_score": 0.0,
        "entry_price": 1.0,
        "metadata": PADDING,
    }


def fill(user):
    """Publish until this user's socket takes no more, and one message waits in the outbox. The user's connection."""
    connection, hub = connection_of(user), runtime()._hub
    deadline = time.monotonic() + 30.0  # not a count: a socket's buffers grow as they like
    while not len(connection._outbox):
        assert time.monotonic() < deadline, "it takes everything"
        notify_new_signal(user.pk, {**signal(0), "metadata": {"padding": "x" * 60_000}})
        # One at a time: those of a long window together would overflow the outbox, and end the connection.
        wait_until(lambda: in_loop(lambda: not hub._dirty and not hub._mail), "the hub never wrote it")
    return connection


def lazy_client(server, path, user):
    """A client with a small window that reads only when asked to."""
    raw = socket.create_connection(("127.0.0.1", server.port))
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    token = tokens.log_in(user).access
    return StreamClient(server.url(path, token=token), sock=raw, max_queue=1, ping_interval=None, compression=None)


@pytest.mark.timeout(90)
def test_a_client_that_stops_reading_delays_nobody_and_gets_everything_after_4008(either_server, user, other_user):
    server = either_server
    with (
        lazy_client(server, "trading/signals/", user) as lazy,
        server.open("trading/signals/", other_user) as quick,
    ):
        for client in (lazy, quick):
            client.answer("subscribe_symbol", symbol="NIFTY")
        for number in range(900):
            broadcast_signal(signal(number))
            assert quick.until("new_signal")["signal"]["id"] == str(number)
        assert lazy.close_code(timeout=15) == 4008
    got = [m["signal"]["id"] for m in lazy.received if m["type"] == "new_signal"]
    assert len(got) < 900
    with server.open("trading/signals/", user, since=since(lazy)) as again:
        while len(got) < 900:
            got.append(again.until("new_signal")["signal"]["id"])
    assert got == [str(number) for number in range(900)]


@pytest.mark.timeout(90)
def test_a_client_that_stops_reading_holds_one_state_message_per_key(either_server, user):
    pnl = {"realised_pnl": 0.0, "unrealised_pnl": 0.0, "daily_pnl": 0.0}
    with lazy_client(either_server, "trading/pnl/", user) as lazy:
        lazy.until("current_pnl")
        for number in range(60_000):
            notify_pnl_update(user.pk, {**pnl, "total_pnl": float(number)})
        last = lazy.until("pnl_update")
        count = 1
        while last["pnl"]["total_pnl"] != 59_999.0:
            last = lazy.next()
            count += 1
        assert count < 59_000, "nothing was conflated"
        assert lazy.answer("ping")["type"] == "pong"


def test_a_publication_is_compressed_once_for_all_who_take_it_and_replies_never(server, user, other_user, monkeypatch):
    from realtime import frames

    compressed = []
    make = frames.deflated_frame
    monkeypatch.setattr(frames, "deflated_frame", lambda payload: compressed.append(payload) or make(payload))
    with ExitStack() as stack:
        clients = [
            stack.enter_context(server.open("trading/signals/", reader)) for reader in (user, other_user, user, user)
        ]
        for client in clients:
            client.answer("subscribe_symbol", symbol="NIFTY")
        broadcast_signal(signal(1))
        for client in clients:
            assert client.until("new_signal")["signal"]["metadata"] == PADDING
    assert [json.loads(payload)["type"] for payload in compressed] == ["new_signal"]


NEGOTIATED = "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits="


@pytest.mark.parametrize(
    ("offer", "negotiated", "compressed"),
    [
        (None, None, False),
        ("permessage-deflate", NEGOTIATED + "12", True),
        ("permessage-deflate; client_max_window_bits", NEGOTIATED + "12", True),
        ("permessage-deflate; client_max_window_bits=10", NEGOTIATED + "12; client_max_window_bits=10", True),
        ("permessage-deflate; server_max_window_bits=15", NEGOTIATED + "12", True),
        ("permessage-deflate; server_max_window_bits=12", NEGOTIATED + "12", True),
        ("permessage-deflate; server_max_window_bits=9", NEGOTIATED + "9", False),
        ("permessage-deflate; server_max_window_bits=8", None, False),
        ("permessage-deflate; mood=good", None, False),
        ("x-webkit-deflate-frame", None, False),
        ("permessage-deflate; server_max_window_bits=8, permessage-deflate", NEGOTIATED + "12", True),
        ("permessage-deflate; server_max_window_bits=9, permessage-deflate", NEGOTIATED + "9", False),
    ],
)
def test_what_a_client_offers_decides_whether_publications_come_compressed(server, user, offer, negotiated, compressed):
    with BareClient(server, "trading/signals/", user, offer=offer) as client:
        assert client.negotiated == negotiated
        client.command("subscribe_symbol", symbol="NIFTY")
        client.until("subscription_confirmed")
        assert not client.deflate or client.deflate.compressed == 0
        broadcast_signal(signal(1))
        assert client.until("new_signal")["signal"]["metadata"] == PADDING
        assert bool(client.deflate and client.deflate.compressed) == compressed


@pytest.mark.parametrize(("said", "counted"), [(b"\x03\xe8", 1000), (b"\x03\xe9bye", 1001), (b"", 1005)])
def test_a_clients_close_code_is_counted(either_server, user, codes, said, counted):
    with BareClient(either_server, "trading/signals/", user) as client:
        client.until("recent_signals")
        client.send(Opcode.CLOSE, said)
        assert next(frame for frame in client.frames() if frame.opcode is Opcode.CLOSE).data == said
        wait_until(lambda: codes, "the connection was never released")
    assert codes == [counted]


def test_a_client_that_vanishes_is_counted_as_1006(server, user, codes):
    with BareClient(server, "trading/signals/", user) as client:
        client.until("recent_signals")
    wait_until(lambda: codes, "the connection was never released")
    assert codes == [1006]


def test_a_connection_that_ended_needs_no_garbage_collector(either_server, user, codes):
    gc.disable()
    try:
        with BareClient(either_server, "trading/signals/", user) as client:
            client.until("recent_signals")
            connection = weakref.ref(connection_of(user))
        wait_until(lambda: connection() is None, "the connection is still in memory")
    finally:
        gc.enable()


def test_nor_does_what_uvicorn_had_for_it(server, user, monkeypatch):
    made = weakref.WeakSet()
    for protocol in (HttpToolsProtocol, RawFrameProtocol):
        make = protocol.__init__
        monkeypatch.setattr(
            protocol, "__init__", lambda self, *given, make=make, **more: made.add(self) or make(self, *given, **more)
        )
    gc.disable()
    try:
        with BareClient(server, "trading/signals/", user) as client:
            client.until("recent_signals")
            assert [type(protocol) for protocol in made] == [RawFrameProtocol], "the HTTP part has done its work"
        wait_until(lambda: not made, "still in memory")
    finally:
        gc.enable()


def test_text_that_is_no_utf_8_closes_with_1007(either_server, user, codes):
    with BareClient(either_server, "trading/signals/", user) as client:
        client.until("recent_signals")
        client.send(Opcode.TEXT, b"\xff\xfe")
        assert client.close_code() == 1007
    wait_until(lambda: codes, "the connection was never released")
    assert codes == [1007]


def test_what_waits_leaves_before_the_close_frame_and_nothing_after_it(either_server, user, codes):
    with BareClient(either_server, "trading/signals/", user) as client:
        client.until("recent_signals")
        connection = fill(user)

        def close():
            waiting = [frame.payload for frame in connection._outbox._frames.values()]
            connection.close(NOT_AUTHENTICATED)
            return waiting

        waiting = in_loop(close)
        *messages, last = client.frames()
    assert [message.data for message in messages[-len(waiting) :]] == waiting
    assert Close.parse(last.data).code == 4001
    wait_until(lambda: codes, "the connection was never released")
    assert codes == [4001]


@pytest.mark.parametrize("reads", [True, False])
def test_nothing_follows_the_close_frame_of_a_server_that_shuts_down(server, user, codes, reads):
    with BareClient(server, "trading/signals/", user) as client:
        client.until("recent_signals")
        connection = connection_of(user) if reads else fill(user)
        protocol = connection._transport._protocol
        late = Frame(b'{"type":"late"}')
        in_loop(lambda: (protocol.shutdown(), protocol.resume_writing(), connection.send_frame(late)))
        assert client.close_code() == 1012
    wait_until(lambda: codes, "the connection was never released")
    assert codes == [1012]


@pytest.mark.parametrize("says_goodbye", [True, False])
def test_a_client_that_does_not_read_holds_up_no_shutdown(server, user, codes, monkeypatch, says_goodbye):
    with BareClient(server, "trading/signals/", user) as client:
        client.until("recent_signals")
        protocol = fill(user)._transport._protocol
        if says_goodbye:
            client.send(Opcode.CLOSE, b"")
            wait_until(lambda: codes, "the goodbye was not heard")
        monkeypatch.setattr(raw_frames, "CLOSE_GRACE_SECONDS", 0.05)
        in_loop(protocol.shutdown)
        in_loop(protocol.shutdown)
        wait_until(lambda: protocol not in protocol.connections, "the socket was never closed", 5)


def test_a_close_while_uvicorn_is_closing_waits_for_nobody(server, user):
    with BareClient(server, "trading/signals/", user) as client:
        client.until("recent_signals")
        connection = fill(user)
        in_loop(connection._transport._protocol.transport.close)
        in_loop(connection.close, NOT_AUTHENTICATED)
        wait_until(lambda: str(user.pk) not in runtime()._hub.user_ids, "the connection was never released")


def test_the_buffered_bytes_are_those_that_the_kernel_did_not_take(server, user):
    with BareClient(server, "trading/signals/", user) as client:
        client.until("recent_signals")
        transport = connection_of(user)._transport
        assert transport.buffered_bytes == 0
        fill(user)
        assert transport.buffered_bytes > 0
        assert any(transport.buffered_bytes == 0 for _ in client.frames())


def test_a_client_whose_command_takes_long_is_not_taken_for_dead(another_server, user, monkeypatch):
    from apps.trading.streams import SignalsStream

    asked, answer = [], threading.Event()

    async def on_request_signals(self, command):
        while not answer.is_set():
            await asyncio.sleep(0.01)
        return ()

    look = RawFrameProtocol.keepalive_timeout
    monkeypatch.setattr(RawFrameProtocol, "keepalive_timeout", lambda self: asked.append(self) or look(self))
    monkeypatch.setattr(SignalsStream, "on_request_signals", on_request_signals)
    server = another_server(ws_ping_interval=0.1, ws_ping_timeout=0.1)
    with server.open("trading/signals/", user) as client:
        client.until("recent_signals")
        client.send("request_signals")
        client.send("ping")
        wait_until(lambda: len(asked) > 3, "the keepalive never looked")
        answer.set()
        assert client.until("pong")


@pytest.mark.timeout(60)
def test_a_client_that_stalls_while_its_command_waits_is_let_go(another_server, user):
    server = another_server(ws_ping_interval=0.1, ws_ping_timeout=0.1)
    with BareClient(server, "trading/signals/", user) as client:
        client.until("recent_signals")
        start = f"trading.signals.user.{user.pk}:{connection_of(user).subscriptions[0].epoch}:0"
        for number in range(900):
            notify_new_signal(user.pk, signal(number))
    wait_until(lambda: str(user.pk) not in runtime()._hub.user_ids, "the first connection was never released")
    with BareClient(server, "trading/signals/", user, since=start) as client:
        client.until("welcome")
        client.command("ping")
        client.command("ping")
        protocol = connection_of(user)._transport._protocol
        wait_until(lambda: protocol.read_paused, "no command waits")
        wait_until(lambda: protocol not in protocol.connections, "the socket was never closed")


class FakeSocket(asyncio.Transport):
    """What uvicorn needs of a TCP transport, with as many bytes waiting as a test says."""

    def __init__(self):
        super().__init__()
        self.waiting_bytes = 0
        self.aborted = False
        self.written = b""

    def get_write_buffer_size(self):
        return self.waiting_bytes

    def write(self, data):
        self.written += data

    def is_closing(self):
        return self.aborted

    def get_protocol(self):
        return HttpToolsProtocol(uvicorn.Config(never), ServerState(), {})

    def pause_reading(self):
        pass

    resume_reading = pause_reading

    def close(self):
        self.aborted = True

    abort = close


def in_memory(application):
    """A protocol and the fake socket that it serves."""
    config = uvicorn.Config(application, ws=RawFrameProtocol)
    config.load()
    protocol, sock = RawFrameProtocol(config, ServerState(), {}), FakeSocket()
    protocol.connection_made(sock)
    return protocol, sock


async def never(scope, receive, send):
    await asyncio.Future()


@pytest.mark.parametrize(
    ("command_waits", "is_paused", "waiting_bytes", "lives"),
    [
        (False, False, [0, 0], [False]),
        (False, True, [9_000, 8_000], [False]),
        (True, False, [0, 0, 0], [True, True, True]),
        (True, True, [9_000, 8_000, 7_000], [True, True, True]),
        (True, True, [9_000, 8_000, 8_000], [True, True, False]),
        (True, True, [9_000, 9_000], [True, False]),
    ],
)
async def test_whose_ping_is_not_answered_is_gone_unless_a_command_waits_and_it_takes_what_we_send(
    command_waits, is_paused, waiting_bytes, lives
):
    protocol, sock = in_memory(never)
    protocol.raw = RawFrameTransport(protocol)
    protocol.handshake_complete = True
    protocol.conn.state = protocol.conn.state.OPEN
    protocol.read_paused = command_waits
    if is_paused:
        protocol.pause_writing()
    for count, expected in zip(waiting_bytes, lives, strict=False):
        sock.waiting_bytes = count
        protocol.keepalive_timeout()
        assert sock.aborted is not expected
        assert (protocol.pong_timer is not None) is expected
        protocol.stop_keepalive()


async def test_a_server_that_shuts_down_during_a_handshake_writes_no_frames():
    protocol, sock = in_memory(never)
    protocol.data_received(
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    raw = protocol.raw
    assert raw.writable
    protocol.shutdown()
    told = []
    raw.attach(lambda: told.append("writable"), lambda: told.append("broken"))
    raw.resumed()
    assert not raw.writable
    assert told == ["broken"]
    assert sock.written.startswith(b"HTTP/1.1 500")
    for task in protocol.tasks:
        task.cancel()


def test_raw_frames_rely_on_just_those_parts_of_uvicorn_and_websockets_that_the_docstring_lists():
    _, of_protocol, of_conn = raw_frames.__doc__.split("\n\nOf ")
    listed, listed_of_conn = ({*re.findall(r"`(\w+)`", text.partition(": ")[2])} for text in (of_protocol, of_conn))
    own = {name for name in vars(RawFrameProtocol) if not hasattr(WebSocketsSansIOProtocol, name)}
    overridden = {name for name in vars(RawFrameProtocol) if not name.startswith("__")} - own
    used, used_of_conn = overridden, set()
    for node in ast.walk(ast.parse(inspect.getsource(raw_frames))):
        if isinstance(node, ast.Attribute):
            owner = ast.unparse(node.value)
            if owner in {"protocol", "self._protocol"}:
                used.add(node.attr)
            elif owner.endswith(".conn"):
                used_of_conn.add(node.attr)
    for node in ast.walk(ast.parse(inspect.getsource(RawFrameProtocol))):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self":
            used.add(node.attr)
    assert listed == {name for name in used - own if not name.startswith("_")}
    assert listed_of_conn == used_of_conn
    source = inspect.getsource(WebSocketsSansIOProtocol)
    for name in listed:
        found = callable(getattr(WebSocketsSansIOProtocol, name, None)) or re.search(rf"self\.{name}(:.*)? = ", source)
        assert found, f"uvicorn's {name} is gone: see realtime/transports/uvicorn.py"
    for name in listed_of_conn:
        assert hasattr(ServerProtocol(), name) or name == "available_extensions", f"websockets' {name} is gone"
    assert '"extensions": {' in source
    assert "self.parser = httptools." in inspect.getsource(HttpToolsProtocol)


def test_each_server_writes_in_its_own_way(either_server, user, monkeypatch):
    written = []
    for transport in (RawFrameTransport, AsgiTransport):
        write = transport.write
        monkeypatch.setattr(
            transport,
            "write",
            lambda self, batch, write=write: written.append((type(self), batch)) or write(self, batch),
        )
    with either_server.open("trading/pnl/", user) as client:
        client.until("current_pnl")
    (kind, welcome), *others = written
    assert (kind is RawFrameTransport) == (either_server._server.config.ws is RawFrameProtocol)
    assert json.loads(welcome.frames[0].text)["type"] == "welcome"
    assert {kind for kind, _ in others} == {kind}
