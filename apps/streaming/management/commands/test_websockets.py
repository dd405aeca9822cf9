"""`manage.py test_websockets`: does every stream connect, show its state, and deliver?"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec
import websockets
from asgiref.sync import async_to_sync
from django.conf import settings
from django.core.management import BaseCommand, CommandError, call_command
from django.core.management.base import CommandParser
from django.db.models import Model
from rich.console import Console
from rich.table import Table

from apps.accounts import tokens
from apps.accounts.models import TokenFamily, User
from apps.streaming.api import service_token
from apps.streaming.demo import DEMO_EMAIL, ensure_demo_user
from apps.streaming.health import health_report
from apps.streaming.models import OutboxEntry
from apps.streaming.plugins import Probe, probe_makers
from apps.streaming.publishing import call_notification
from apps.streaming.registry import streams
from apps.streaming.server import listen, make_server
from realtime.errors import InvalidMessage
from realtime.messages import type_of

TIMEOUT_SECONDS = 10.0
PROBE_KEY = "probe-"
_OBJECT = "<"


class Row(msgspec.Struct):
    """One line of the table."""

    stream: str
    connected: bool = False
    snapshot: bool = False
    delivered: bool = False
    latency_ms: float | None = None
    problem: str = ""

    @property
    def passed(self) -> bool:
        return self.connected and self.snapshot and self.delivered


class Command(BaseCommand):
    help = (
        "Connect to all fourteen streams as a user, publish to each, and see it arrive. Uses a running server with "
        "--url, else starts one of its own. Leaves no rows behind. Exit code 1 if anything failed."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--user-email", metavar="EMAIL", help=f"whom to connect as (default: {DEMO_EMAIL})")
        parser.add_argument("--url", metavar="WS_URL", help="a running server, for example ws://localhost:8000")

    def handle(self, **options: Any) -> None:
        url = options["url"]
        if url is not None and urlsplit(url).scheme not in ("ws", "wss"):
            raise CommandError(f"--url must begin with ws:// or wss://, got {url!r}")
        if url is None:
            call_command("migrate", verbosity=0, interactive=False)
        created: list[Model] = []
        user = self._user(options["user_email"], created)
        access = tokens.log_in(user).access
        created.append(TokenFamily.objects.get(pk=tokens.verify_access(access).family_id))
        try:
            probes = [probe for make in probe_makers for probe in make(user, created)]
            if url is not None:
                rows = asyncio.run(_check_all(url.rstrip("/"), access, probes, _over_http(url)))
                health = _remote_health(url)
            else:
                with _OwnServer() as own_url:
                    rows = asyncio.run(_check_all(own_url, access, probes, call_notification))
                    health = async_to_sync(health_report)()
        finally:
            for row in reversed(created):
                row.delete()
            OutboxEntry.objects.filter(idempotency_key__startswith=PROBE_KEY).delete()
        self._print(rows, health)
        if not all(row.passed for row in rows):
            sys.exit(1)

    def _user(self, email: str | None, created: list[Model]) -> User:
        if email is None and settings.DEBUG and not User.objects.filter(email=DEMO_EMAIL).exists():
            created.append(ensure_demo_user())
        user = User.objects.filter(email=(email or DEMO_EMAIL).strip().lower()).first()
        if user is None:
            raise CommandError(f"there is no user with the e-mail {email or DEMO_EMAIL!r}; give one with --user-email")
        if not user.is_active:
            raise CommandError(f"{user.email} is not active, so it cannot connect")
        return user

    def _print(self, rows: Sequence[Row], health: dict[str, Any]) -> None:
        table = Table(title="WebSocket streams")
        for heading in ("stream", "connected", "snapshot", "delivered"):
            table.add_column(heading)
        table.add_column("latency", justify="right")
        table.add_column("problem", style="red", overflow="fold")
        for row in rows:
            latency = "–" if row.latency_ms is None else f"{row.latency_ms:.1f} ms"
            marks = (_mark(done) for done in (row.connected, row.snapshot, row.delivered))
            table.add_row(row.stream, *marks, latency, row.problem)
        console = Console(file=self.stdout, width=None if sys.stdout.isatty() else 130)
        console.print(table)
        broker = health.get("broker", {})
        console.print(f"Broker: {broker.get('kind', 'unknown')}, {broker.get('status', 'unknown')}")
        console.print(f"Redis: {health.get('redis', 'unknown')}")
        passed = sum(row.passed for row in rows)
        console.print(f"[bold {'green' if passed == len(rows) else 'red'}]{passed} of {len(rows)} streams work")


def _mark(done: bool) -> str:
    return "[green]yes" if done else "[red]no"


# One stream after the other


async def _check_all(url: str, access: str, probes: Sequence[Probe], publish: Any) -> list[Row]:
    paths = {stream.name: stream.path for stream in streams()}
    snapshots = {stream.name: {type_of(message) for message in stream.messages} for stream in streams()}
    rows = []
    for probe in probes:
        row = Row(probe.stream)
        rows.append(row)
        path = paths[probe.stream]
        if _OBJECT in path:
            path = path[: path.index(_OBJECT)] + probe.object_id + "/"
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await _check(f"{url}/ws/{path}", access, probe, snapshots[probe.stream], publish, row)
        except TimeoutError:
            row.problem = f"nothing came within {TIMEOUT_SECONDS:g} s"
        except (OSError, websockets.WebSocketException, InvalidMessage, _PublishFailed) as error:
            row.problem = f"{type(error).__name__}: {error}"
    return rows


async def _check(  # noqa: PLR0917 - one caller
    url: str, access: str, probe: Probe, snapshot_types: set[str], publish: Any, row: Row
) -> None:
    async with websockets.connect(url, additional_headers={"Authorization": f"Bearer {access}"}) as socket:
        welcome = json.loads(await socket.recv())
        if welcome["type"] != "welcome":
            row.problem = f"{welcome['type']}: {welcome.get('error', '')}"
            return
        row.connected = True
        row.snapshot = json.loads(await socket.recv())["type"] in snapshot_types
        # What the server still sends of the present state must not pass for the answer.
        await socket.send(json.dumps({"type": "ping", "request_id": "before"}))
        while json.loads(await socket.recv())["type"] != "pong":
            pass
        started = time.perf_counter()
        arguments = {**probe.arguments, "idempotency_key": PROBE_KEY + secrets.token_hex(8)}
        await asyncio.to_thread(publish, probe.notify, arguments)
        while not _matches(json.loads(await socket.recv()), probe):
            pass
        row.latency_ms = (time.perf_counter() - started) * 1_000
        row.delivered = True


def _matches(message: dict[str, Any], probe: Probe) -> bool:
    return message["type"] == probe.message_type and all(
        _holds(message.get(name), value) for name, value in probe.expected.items()
    )


def _holds(actual: Any, expected: Any) -> bool:
    if isinstance(expected, dict):
        return isinstance(actual, dict) and all(_holds(actual.get(name), value) for name, value in expected.items())
    if isinstance(expected, float) and isinstance(actual, int | float):
        return abs(actual - expected) <= 1e-9 * max(1.0, abs(expected))
    return bool(actual == expected)


# Servers


class _OwnServer:
    """A server of our own on a free port, in a thread of this process."""

    def __enter__(self) -> str:
        sock = listen("127.0.0.1", 0)
        self._server = make_server()
        self._thread = threading.Thread(target=self._server.run, args=([sock],), daemon=True)
        self._thread.start()
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not self._server.started and self._thread.is_alive():
            if time.monotonic() > deadline:
                raise CommandError("the server did not start in time")
            time.sleep(0.02)
        return f"ws://127.0.0.1:{sock.getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(TIMEOUT_SECONDS)


class _PublishFailed(Exception):
    """The publish API did not take the message."""


def _over_http(url: str) -> Any:
    """Publish through the API of a server in another process."""

    def publish(name: str, arguments: dict[str, Any]) -> None:
        key = arguments.pop("idempotency_key")
        body = {"items": [{"notify": name, "arguments": arguments, "idempotency_key": key}]}
        request = urllib.request.Request(  # noqa: S310 - the scheme was checked
            _http(url) + "/api/realtime/publish/",
            json.dumps(body).encode(),
            {"Content-Type": "application/json", "Authorization": f"Bearer {service_token()}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310 - as above
                result = json.load(response)["results"][0]
        except urllib.error.HTTPError as error:
            hint = "; the server has another SECRET_KEY" if error.code == 401 else ""
            raise _PublishFailed(f"the publish API answered {error.code}{hint}") from None
        if not result["ok"]:
            raise _PublishFailed(result["error"])

    return publish


def _remote_health(url: str) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(_http(url) + "/health/", timeout=TIMEOUT_SECONDS) as response:  # noqa: S310
            report: dict[str, Any] = json.load(response)
            return report
    except OSError as error:
        return {"redis": f"unknown: {error}"}


def _http(url: str) -> str:
    return "http" + url.rstrip("/").removeprefix("ws")
