"""A real server, real sockets and real users for the tests of the apps."""

from __future__ import annotations

import concurrent.futures
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator
from functools import cache
from typing import Any, Self

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Close, Frame, Opcode
from websockets.streams import StreamReader
from websockets.sync.client import connect

from realtime.frames import DEFLATE_WINDOW_BITS

PASSWORD = "correct horse battery staple"
TIMEOUT_SECONDS = 5.0
PROCESS_TESTS = ("test_serve.py", "test_other_servers.py")
POLL_SECONDS = 0.01


def wait_until(condition: Callable[[], bool], what: str, timeout: float = 15.0) -> None:
    """Poll until the condition holds; fail with `what` at the deadline."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(POLL_SECONDS)


class StreamClient:
    """One WebSocket, as a careful client: every message is checked against the AsyncAPI document."""

    def __init__(self, url: str, **options: Any) -> None:
        self._socket = connect(url, open_timeout=TIMEOUT_SECONDS, max_size=None, legacy=True, **options)
        self.received: list[dict[str, Any]] = []

    @property
    def subprotocol(self) -> str | None:
        return self._socket.subprotocol

    def next(self, timeout: float = TIMEOUT_SECONDS) -> dict[str, Any]:
        message = json.loads(self._socket.recv(timeout=timeout))
        validate(message)
        self.received.append(message)
        return message

    def until(self, *types: str, timeout: float = TIMEOUT_SECONDS) -> dict[str, Any]:
        """The next message of one of these types."""
        deadline = time.monotonic() + timeout
        while True:
            message = self.next(max(0.01, deadline - time.monotonic()))
            if message["type"] in types:
                return message

    def send(self, type_: str, **fields: Any) -> None:
        self.send_text(json.dumps({"type": type_, **fields}))

    def send_text(self, text: str | bytes) -> None:
        self._socket.send(text)

    def answer(self, type_: str, **fields: Any) -> dict[str, Any]:
        """Send a command and get the message that answers it."""
        request_id = f"{type_}-{len(self.received)}"
        self.send(type_, request_id=request_id, **fields)
        while (message := self.next()).get("request_id") != request_id:
            pass
        return message

    def close_code(self, timeout: float = TIMEOUT_SECONDS) -> int:
        """Read to the end, and say how it ended."""
        try:
            while True:
                self.next(timeout)
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else 1006

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class CountingDeflate(PerMessageDeflate):
    """A client's side of what our server negotiates; counts what came compressed."""

    def __init__(self, window_bits: int = DEFLATE_WINDOW_BITS) -> None:
        super().__init__(
            remote_no_context_takeover=True,
            local_no_context_takeover=True,
            remote_max_window_bits=window_bits,
            local_max_window_bits=15,
        )
        self.compressed = 0

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        self.compressed += frame.rsv1
        return super().decode(frame, max_size=max_size)


class BareClient:
    """A client that says byte for byte what a test wants, and shows frame by frame what it gets."""

    def __init__(self, server: LiveServer, path: str, user: Any, *, offer: str | None = None, **query: str) -> None:
        from apps.accounts import tokens

        token = tokens.log_in(user).access
        self.socket = socket.create_connection(("127.0.0.1", server.port))
        self.socket.settimeout(TIMEOUT_SECONDS)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        lines = [
            f"GET {server.url(path, token=token, **query).split(str(server.port), 1)[1]} HTTP/1.1",
            "Host: localhost",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version: 13",
            *([f"Sec-WebSocket-Extensions: {offer}"] if offer else []),
        ]
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self.socket.recv(65_536)
        head, _, rest = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101")
        self.negotiated = dict(re.findall(r"(?m)^([\w-]+): (.*?)\r?$", head.decode())).get("Sec-WebSocket-Extensions")
        window_bits = re.search(r"server_max_window_bits=(\d+)", self.negotiated or "")
        self.deflate = CountingDeflate(int(window_bits[1])) if window_bits else None
        self._reader = StreamReader()
        self._reader.feed_data(rest)

    def send(self, opcode: Opcode, payload: bytes) -> None:
        self.socket.sendall(Frame(opcode, payload).serialize(mask=True))

    def command(self, type_: str, **fields: Any) -> None:
        self.send(Opcode.TEXT, json.dumps({"type": type_, **fields}).encode())

    def frames(self) -> Iterator[Frame]:
        """Everything until the end of the connection. Says goodbye when the server does."""
        parsing = self._parse()
        while True:
            try:
                next(parsing)
            except StopIteration as parsed:
                yield parsed.value
                if parsed.value.opcode is Opcode.CLOSE:
                    self.send(Opcode.CLOSE, parsed.value.data)
                parsing = self._parse()
                continue
            try:
                data = self.socket.recv(65_536)
            except ConnectionResetError:
                return
            if not data:
                return
            self._reader.feed_data(data)

    def _parse(self) -> Generator[None, None, Frame]:
        return Frame.parse(self._reader.read_exact, mask=False, extensions=[self.deflate] if self.deflate else [])

    def until(self, *types: str) -> dict[str, Any]:
        """The next message of one of these types."""
        return next(
            message
            for frame in self.frames()
            if frame.opcode is Opcode.TEXT and (message := json.loads(frame.data))["type"] in types
        )

    def close_code(self) -> int:
        """Read to the end, which must be a close frame, and say its code."""
        frames = list(self.frames())
        assert [frame.opcode for frame in frames].index(Opcode.CLOSE) == len(frames) - 1, "something follows the close"
        return Close.parse(frames[-1].data).code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


@cache
def _validators() -> dict[str, Any]:
    from jsonschema import Draft202012Validator, FormatChecker

    from apps.streaming.asyncapi import document

    components = document()["components"]
    return {
        message["name"]: Draft202012Validator(
            {**message["payload"]["schema"], "components": components}, format_checker=FormatChecker()
        )
        for channel in document()["operations"].values()
        if channel["action"] == "send"
        for reference in channel["messages"]
        for message in [components["messages"][reference["$ref"].rsplit("/", 1)[1]]]
    }


def validate(message: dict[str, Any]) -> None:
    """Fail unless the AsyncAPI document describes exactly this message."""
    validator = _validators().get(message["type"])
    assert validator is not None, f"undocumented message {message['type']}"
    validator.validate(message)


class LiveServer:
    """The server of `manage.py serve --no-engines`, in a thread. Its settings are uvicorn's."""

    def __init__(self, **config: Any) -> None:
        from apps.streaming.server import listen, make_server

        self._sock = listen("127.0.0.1", 0)
        self.port = self._sock.getsockname()[1]
        self._server = make_server()
        for name, value in config.items():
            setattr(self._server.config, name, value)
        self._thread = threading.Thread(target=self._server.run, args=([self._sock],), daemon=True)
        self._thread.start()
        wait_until(lambda: self._server.started, "the server did not start")
        for name, value in config.items():
            assert getattr(self._server.config, name) == value, f"uvicorn sets {name} itself"

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def url(self, path: str, **query: str) -> str:
        from urllib.parse import urlencode

        return f"ws://127.0.0.1:{self.port}/ws/{path}" + (f"?{urlencode(query)}" if query else "")

    def open(self, path: str, user: Any = None, *, headers: dict[str, str] | None = None, **query: str) -> StreamClient:
        """Connect, with a fresh access token of `user` where given. `subprotocols` goes to the handshake."""
        from apps.accounts import tokens

        subprotocols = query.pop("subprotocols", None)
        if user is not None:
            headers = {"Authorization": f"Bearer {tokens.log_in(user).access}", **(headers or {})}
        return StreamClient(self.url(path, **query), additional_headers=headers, subprotocols=subprotocols)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        assert not self._thread.is_alive(), "the server did not stop"


def connection_of(user: Any) -> Any:
    """The one connection that this user has."""
    from apps.streaming.runtime import runtime

    return next(connection for connection in runtime()._hub.connections if connection.user_id == str(user.pk))


def in_loop(call: Callable[..., Any], *args: Any) -> Any:
    """Call it in the event loop of the server that started last."""
    from apps.streaming.runtime import runtime

    done: concurrent.futures.Future[Any] = concurrent.futures.Future()

    def run() -> None:
        try:
            done.set_result(call(*args))
        except BaseException as error:  # noqa: BLE001 - the test is to see it
            done.set_exception(error)

    runtime()._loop.call_soon_threadsafe(run)
    return done.result(TIMEOUT_SECONDS)


@pytest.fixture(scope="session")
def live_server_session(django_db_setup, django_db_blocker) -> Iterator[LiveServer]:
    # It goes on between the tests that use it, and asks the database then, too.
    with django_db_blocker.unblock():
        server = LiveServer()
        yield server
        server.stop()
    from apps.streaming.runtime import runtime

    runtime().draining = False


@pytest.fixture
def server(transactional_db, live_server_session, instruments) -> LiveServer:
    """One server for all tests; the database is empty but for the instruments."""
    return live_server_session


@pytest.fixture
def another_server(server) -> Iterator[Callable[..., LiveServer]]:
    """Starts one more server, with settings of its own."""
    from apps.streaming.runtime import runtime

    started = []

    def start(**config: Any) -> LiveServer:
        started.append(LiveServer(**config))
        return started[-1]

    yield start
    for each in started:
        each.stop()
    runtime().draining = False
    runtime()._hub = None  # the shared server's loop makes its own again


@pytest.fixture(params=["raw frames", "plain uvicorn"])
def either_server(request, server, another_server, monkeypatch) -> Iterator[LiveServer]:
    """Either way to a socket, and no other is used."""
    from realtime.transports.asgi import AsgiTransport
    from realtime.transports.uvicorn import RawFrameTransport

    is_raw = request.param == "raw frames"
    used = set()
    for transport in (RawFrameTransport, AsgiTransport):
        attach = transport.attach
        monkeypatch.setattr(
            transport, "attach", lambda self, *told, attach=attach: used.add(type(self)) or attach(self, *told)
        )
    yield server if is_raw else another_server(ws="auto")
    assert used <= {RawFrameTransport if is_raw else AsgiTransport}


@pytest.fixture
def codes(monkeypatch) -> list[int]:
    """The close codes that are counted on the stream `trading.signals`."""
    from apps.streaming.runtime import runtime

    counted: list[int] = []
    metrics = runtime().metrics
    count = metrics.connection_closed

    def closed(stream: str, code: int, duration_seconds: float) -> None:
        if stream == "trading.signals":
            counted.append(code)
        count(stream, code, duration_seconds)

    monkeypatch.setattr(metrics, "connection_closed", closed)
    return counted


@pytest.fixture
def instruments(transactional_db):
    from apps.trading.models import Instrument
    from apps.trading.services import register_instruments
    from engines.market.instruments import NSE_UNIVERSE

    register_instruments(NSE_UNIVERSE, Instrument.Source.SIMULATED)


@pytest.fixture
def user(transactional_db):
    return make_user("asha@example.com")


@pytest.fixture
def other_user(transactional_db):
    return make_user("bala@example.com")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that mostly wait for other processes are spread among those that compute, so that several workers do both
    at once, all the time."""
    waiting = [item for item in items if item.path.parent.name == "cluster" or item.path.name in PROCESS_TESTS]
    waits = set(waiting)
    computing = [item for item in items if item not in waits]
    if not waiting or not computing:
        return
    share = len(computing) / len(waiting)
    spread = []
    for number, item in enumerate(waiting):
        spread += [item, *computing[round(number * share) : round((number + 1) * share)]]
    items[:] = spread


@pytest.fixture(scope="session", autouse=True)
def _quick_passwords() -> None:
    """A good hash takes most of a second, and so would every test that has a user."""
    from django.conf import settings
    from django.contrib.auth.hashers import get_hashers, get_hashers_by_algorithm

    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher", *settings.PASSWORD_HASHERS]
    get_hashers.cache_clear()
    get_hashers_by_algorithm.cache_clear()


def make_user(email: str, **fields: Any) -> Any:
    from apps.accounts.models import User

    return User.objects.create_user(email, PASSWORD, **fields)


@pytest.fixture(autouse=True)
def _fresh_cache():
    from django.core.cache import caches

    yield
    for each in caches.all():
        each.clear()


@pytest.fixture(scope="session")
def _shared_redis() -> Iterator[Any]:
    from tests.redis_server import RedisServer

    server = RedisServer().start()
    yield server
    server.destroy()


@pytest.fixture(scope="session")
def _shared_cluster() -> Iterator[Any]:
    from tests.redis_server import RedisCluster

    cluster = RedisCluster().start()
    yield cluster
    cluster.destroy()


@pytest.fixture(scope="session")
def _shared_sentinel() -> Iterator[Any]:
    from tests.redis_server import RedisSentinel

    sentinel = RedisSentinel().start()
    yield sentinel
    sentinel.destroy()


@pytest.fixture
def redis_cluster(_shared_cluster) -> Any:
    """A running Redis Cluster of three masters, empty."""
    _shared_cluster.flush()
    return _shared_cluster


@pytest.fixture
def redis_sentinel(_shared_sentinel) -> Any:
    """A running Redis that is found through a Sentinel, empty."""
    _shared_sentinel.flush()
    return _shared_sentinel


@pytest.fixture
def redis_server(_shared_redis) -> Any:
    """A running Redis, empty. For tests that do not stop it."""
    _shared_redis.client().flushall()
    return _shared_redis


@pytest.fixture
def own_redis() -> Iterator[Any]:
    """A Redis of the test's own, not yet started, to stop, pause and lose the data of."""
    from tests.redis_server import RedisServer

    server = RedisServer()
    yield server
    server.destroy()
