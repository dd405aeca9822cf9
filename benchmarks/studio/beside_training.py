"""The P&L stream of an embedded server, idle and while a training job uses a core, in one run.

Two latencies, seen by a client of the demo account: of `pnl_update`, from its timestamp to its receipt, and of an
answer to `ping`, which waits for the same event loop. Target: at most three times the idle one.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import psutil
from websockets.sync.client import ClientConnection, connect

from benchmarks.machine import BenchmarkFailed, free_port
from benchmarks.peers.catalogue import ROOT

START_SECONDS = 40.0
SETTLE_SECONDS = 5.0
PING_SECONDS = 0.05
SPEED = 600.0  # of the simulated market, so that profit changes often
LONG = {"folds": 12, "boosting": {"iterations": 5_000, "early_stopping_iterations": 0, "num_leaves": 255}}


class Latencies(msgspec.Struct, frozen=True):
    """In milliseconds, of so many messages."""

    count: int
    p50_ms: float
    p99_ms: float


class Beside(msgspec.Struct, frozen=True):
    """`training_cores`: how much processor time per second the computing process took meanwhile."""

    idle_pnl: Latencies
    training_pnl: Latencies
    idle_pong: Latencies
    training_pong: Latencies
    training_cores: float


def run(seconds: float) -> Beside:
    """Raises `BenchmarkFailed` when the server does not start, or the job does not run."""
    with tempfile.TemporaryDirectory() as folder, _served(Path(folder)) as server:
        _quieten_the_demo(server)
        time.sleep(SETTLE_SECONDS)
        with connect(server.stream("trading/pnl/")) as socket:
            idle = _listen(socket, seconds)
            job = _train_long(server)
            before = time.monotonic(), server.children_seconds()
            busy = _listen(socket, seconds)
            cores = (server.children_seconds() - before[1]) / (time.monotonic() - before[0])
        status = server.call("GET", f"/api/ai/training-jobs/{job}/")["status"]
        if status != "RUNNING":
            raise BenchmarkFailed(f"the training job is {status}: it did not run all the time")
    return Beside(*(_latencies(part) for pair in zip(idle, busy, strict=True) for part in pair), round(cores, 2))


class _Server:
    def __init__(self, port: int, process_id: int) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self._process_id = process_id
        self._token = ""

    def sign_in(self) -> None:
        body = {"email": "demo@sharewise.local", "password": "demo"}
        self._token = self.call("POST", "/api/token/", body)["access"]

    def call(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Content-Type": "application/json"} | (
            {"Authorization": f"Bearer {self._token}"} if self._token else {}
        )
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, headers, method=method)  # noqa: S310 - our own server
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - as above
            return json.loads(answer.read() or b"null")

    def stream(self, path: str) -> str:
        return f"ws{self._url.removeprefix('http')}/ws/{path}?token={self._token}"

    def children_seconds(self) -> float:
        return sum(sum(child.cpu_times()[:2]) for child in psutil.Process(self._process_id).children(recursive=True))


@contextmanager
def _served(folder: Path) -> Iterator[_Server]:
    port = free_port()
    command = [sys.executable, "manage.py", "serve", "--port", str(port), "--speed", str(SPEED)]
    variables = {**os.environ, "DATABASE_URL": f"sqlite:///{folder}/db.sqlite3", "DEBUG": "1"}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=variables, stdout=log, stderr=log)
        server = _Server(port, process.pid)
        try:
            deadline = time.monotonic() + START_SECONDS
            while True:
                try:
                    server.sign_in()
                    break
                except OSError:
                    if process.poll() is not None or time.monotonic() > deadline:
                        raise BenchmarkFailed((folder / "log").read_text()[-2_000:]) from None
                    time.sleep(0.2)
            yield server
        finally:
            process.terminate()
            process.wait(20)


def _quieten_the_demo(server: _Server) -> None:
    """The demo's model trains again and again; here nothing is to run beside but what is measured."""
    for model in server.call("GET", "/api/ai/models/")["items"]:
        server.call("PATCH", f"/api/ai/models/{model['id']}/", {"rerun_seconds": None})
    deadline = time.monotonic() + START_SECONDS
    for kind in ("training-jobs", "backtests"):
        while any(job["status"] in {"PENDING", "RUNNING"} for job in server.call("GET", f"/api/ai/{kind}/")["items"]):
            for job in server.call("GET", f"/api/ai/{kind}/")["items"]:
                if job["status"] == "PENDING":
                    server.call("POST", f"/api/ai/{kind}/{job['id']}/cancel/")
            if time.monotonic() > deadline:
                raise BenchmarkFailed("the demo's own jobs did not end")
            time.sleep(0.2)


def _train_long(server: _Server) -> str:
    definition = {"name": "Long", "data_source": "shipped", "bar_seconds": 86_400, "training": LONG}
    model = server.call("POST", "/api/ai/models/", definition)["id"]
    job: str = server.call("POST", f"/api/ai/models/{model}/training-jobs/")["id"]
    deadline = time.monotonic() + START_SECONDS
    while not server.call("GET", f"/api/ai/training-jobs/{job}/")["progress"].get("iteration"):
        if time.monotonic() > deadline:
            raise BenchmarkFailed("the training job did not begin")
        time.sleep(0.2)
    return job


def _listen(socket: ClientConnection, seconds: float) -> tuple[list[float], list[float]]:
    """Latencies of `pnl_update` and of answers to `ping`, in milliseconds. What came while nobody read is left out."""
    with suppress(TimeoutError):
        while True:
            socket.recv(timeout=0.0)
    pnl: list[float] = []
    pong: list[float] = []
    ends, next_ping, asked = time.monotonic() + seconds, 0.0, 0.0
    while (now := time.monotonic()) < ends:
        if now >= next_ping and not asked:
            asked = time.perf_counter()
            socket.send('{"type":"ping"}')
            next_ping = now + PING_SECONDS
        try:
            message = json.loads(socket.recv(timeout=PING_SECONDS))
        except TimeoutError:
            continue
        if message["type"] == "pnl_update":
            sent = datetime.fromisoformat(message["timestamp"])
            pnl.append((datetime.now(UTC) - sent).total_seconds() * 1_000)
        elif message["type"] == "pong":
            pong.append((time.perf_counter() - asked) * 1_000)
            asked = 0.0
    return pnl, pong


def _latencies(milliseconds: list[float]) -> Latencies:
    if len(milliseconds) < 10:
        raise BenchmarkFailed(f"{len(milliseconds)} messages came, at least 10 are needed")
    ranked = sorted(milliseconds)
    p99 = ranked[min(len(ranked) - 1, int(len(ranked) * 0.99))]
    return Latencies(len(ranked), round(statistics.median(ranked), 2), round(p99, 2))
