"""The same behaviour with raw frames, on plain uvicorn, and on Daphne; and a client that does not read."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.sync.client import connect

from apps.accounts import tokens
from apps.trading.websocket_utils import broadcast_signal, notify_pnl_update
from tests.apps.streaming.test_consumer import since
from tests.conftest import LiveServer, StreamClient, wait_until

ROOT = Path(__file__).parents[3]
PADDING = {"padding": "x" * 8_000}


@pytest.fixture(params=["raw frames", "plain uvicorn"])
def either_server(request, server):
    if request.param == "raw frames":
        yield server
        return
    from apps.streaming.runtime import runtime

    plain = LiveServer(ws_protocol_class=_plain_protocol())
    yield plain
    plain.stop()
    runtime().draining = False
    runtime()._hub = None  # the shared server's loop makes its own again


def _plain_protocol():
    from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

    return WebSocketsSansIOProtocol


def signal(number):
    return {
        "id": str(number),
        "symbol": "NIFTY",
        "signal_type": "HOLD",
        "confidence_score": 0.0,
        "entry_price": 1.0,
        "metadata": PADDING,
    }


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


@pytest.mark.parametrize("how", [{"batch": "1"}, {"subprotocols": ["sharewise.v1.batch"]}])
@pytest.mark.parametrize("compression", ["deflate", None])
def test_batch_mode_sends_arrays_of_messages(either_server, user, how, compression):
    query = dict(how)
    subprotocols = query.pop("subprotocols", None)
    url = either_server.url("trading/signals/", token=tokens.log_in(user).access, **query)
    with connect(url, subprotocols=subprotocols, compression=compression) as client:
        assert client.subprotocol == (subprotocols[0] if subprotocols else None)
        messages = _messages(client)
        assert next(messages)["type"] == "welcome"
        client.send(json.dumps({"type": "subscribe_symbol", "symbol": "NIFTY"}))
        _until(messages, "subscription_confirmed")
        client.send("garbage")
        _until(messages, "error")
        for number in range(50):
            broadcast_signal(signal(number))
        assert [_until(messages, "new_signal")["signal"]["id"] for _ in range(50)] == [str(n) for n in range(50)]


def test_who_is_refused_in_batch_mode_is_told_so_in_an_array(either_server):
    for path in ("trading/pnl/", "no/such/stream/"):
        with connect(either_server.url(path, batch="1")) as client:
            assert [message["type"] for message in json.loads(client.recv(10))] == ["error"]


def test_another_value_of_batch_is_refused_and_the_stream_goes_on(either_server, user):
    with either_server.open("trading/pnl/", user, batch="yes") as client:
        error = client.until("error")
        assert error["error_code"] == "invalid_batch"
        assert "'yes'" in error["error"]
        client.until("current_pnl")


def _messages(client):
    while True:
        yield from json.loads(client.recv(10))


def _until(messages, type_):
    return next(message for message in messages if message["type"] == type_)


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


@pytest.mark.parametrize("window_bits", [9, 15])
def test_who_asks_for_a_smaller_window_still_understands_everything(server, user, window_bits):
    offer = ClientPerMessageDeflateFactory(server_max_window_bits=window_bits)
    url = server.url("trading/signals/", token=tokens.log_in(user).access)
    with connect(url, compression=None, extensions=[offer]) as client:
        client.send(json.dumps({"type": "subscribe_symbol", "symbol": "NIFTY"}))
        texts = iter(client)
        while json.loads(next(texts))["type"] != "subscription_confirmed":
            pass
        broadcast_signal(signal(1))
        assert json.loads(client.recv(10))["signal"]["metadata"] == PADDING


def test_daphne_serves_every_endpoint(user, other_user, transactional_db, instruments, tmp_path):
    from django.db import connection

    from apps.streaming.registry import streams
    from tests.apps.ai_studio.test_streams import studio

    ids = studio(user)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [Path(sys.executable).with_name("daphne"), "-p", str(port), "config.asgi:application"],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": f"sqlite:///{connection.settings_dict['NAME']}"},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(lambda: _answers(port, process), "Daphne did not start")
        token = tokens.log_in(user).access
        for stream in streams():
            path = stream.path
            if "<" in path:
                path = path[: path.index("<")] + ids[stream.name] + "/"
            with StreamClient(f"ws://127.0.0.1:{port}/ws/{path}?token={token}") as client:
                assert client.next()["type"] == "welcome"
                assert client.next()["type"] in {m.__struct_config__.tag for m in stream.messages}
                client.send_text("garbage")
                client.until("error")
        with StreamClient(f"ws://127.0.0.1:{port}/ws/trading/pnl/") as nobody:
            assert nobody.close_code() == 4001
    finally:
        process.terminate()
        _, log = process.communicate(timeout=10)
    assert token not in log


def _answers(port, process):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        assert process.poll() is None, process.stderr.read()
        return False
    return True


def test_raw_frames_rely_on_parts_of_uvicorn_that_are_there():
    import inspect

    from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol as Base

    source = inspect.getsource(Base)
    for name in (
        "handle_connect",
        "handle_close",
        "handle_parser_exception",
        "keepalive_timeout",
        "pause_writing",
        "resume_writing",
        "connection_lost",
    ):
        assert callable(getattr(Base, name)), f"uvicorn's {name} is gone: see realtime/transports/uvicorn.py"
    for name in (
        "self.conn",
        "self.transport",
        "self.queue",
        "self.close_sent",
        "self.close_timer",
        "self.scope",
        "self.config",
    ):
        assert name in source, f"uvicorn's {name} is gone: see realtime/transports/uvicorn.py"
    assert '"extensions": {' in source


def test_the_server_uses_raw_frames(server, user, monkeypatch):
    from realtime.transports.uvicorn import RawFrameTransport

    written = []
    write = RawFrameTransport.write
    monkeypatch.setattr(RawFrameTransport, "write", lambda self, batch: (written.append(batch), write(self, batch)))
    with server.open("trading/pnl/", user) as client:
        client.until("current_pnl")
    assert len(written) >= 2
    assert json.loads(written[0].frames[0].text)["type"] == "welcome"
