"""Starting servers and load generators, each on a core of its own."""

from __future__ import annotations

import json
import os
import platform
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import psutil

from benchmarks import garbage
from benchmarks.garbage import Stack
from benchmarks.peers.catalogue import ROOT, Client, Peer
from benchmarks.traffic import Traffic

CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, LOAD_CORE = CORES[0], CORES[-1]
SOURCE = Path(__file__).parent / "load" / "loadgen.c"
START_SECONDS = 30.0
POLL_SECONDS = 0.05


class BenchmarkFailed(RuntimeError):
    """A program did not start, or ended: the message says which, and what it said."""


class CannotBuild(BenchmarkFailed):
    """What the load generator is built with is not installed: a C compiler, or zlib's headers."""


def machine() -> str:
    """What this machine is, in words."""
    model = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = next(iter(names), model)
    return f"{model}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"


def build_load_generator(folder: Path) -> Path:
    """Compile it. Raises `CannotBuild` when there is no C compiler, or no zlib."""
    compiler = next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), None)
    if compiler is None:
        raise CannotBuild("the load generator needs a C compiler: install gcc or clang")
    program = folder / "loadgen"
    built = subprocess.run(
        [compiler, "-O2", "-D_GNU_SOURCE", "-o", program, SOURCE, "-lz"], capture_output=True, text=True, check=False
    )
    if built.returncode:
        if "zlib.h" in built.stderr or "-lz" in built.stderr:
            raise CannotBuild("the load generator needs zlib's headers: install zlib1g-dev or zlib-devel")
        raise BenchmarkFailed(f"the load generator does not build: {built.stderr[:800]}")
    return program


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


class Server:
    """One peer's process, pinned to the server's core. Use it as a context manager."""

    def __init__(self, peer: Peer, environment: Mapping[str, str], core: int = SERVER_CORE) -> None:
        self.port = free_port()
        # Where it is told to publish: most serve that beside their streams.
        self._control_port = free_port() if any("{control_port}" in part for part in peer.command) else self.port
        self._peer = peer
        redis_url = environment.get("BENCH_REDIS_URL", "")
        own = {name: value.format(redis_url=redis_url) for name, value in peer.environment.items()}
        self._process = subprocess.Popen(
            [part.format(port=self.port, control_port=self._control_port) for part in peer.command],
            cwd=ROOT,
            env={**os.environ, **environment, **own},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),  # noqa: PLW1509 - no threads here
        )
        self._usage = psutil.Process(self._process.pid)

    def __enter__(self) -> Self:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self._get("/bench/")
                return self
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self._process.kill()
                    said = self._process.stderr.read().decode() if self._process.stderr else ""
                    raise BenchmarkFailed(f"{self._peer.name} did not start: {said[-800:]}") from None
                time.sleep(POLL_SECONDS)

    def __exit__(self, *_: object) -> None:
        for process in [*self._usage.children(recursive=True), self._usage]:
            process.kill()
        self._process.wait()

    def publish(self, traffic: Traffic, seconds: float) -> None:
        """Begin to publish; returns at once."""
        self._get(f"/bench/publish?{traffic.query(seconds)}")

    def garbage(self) -> list[tuple[Stack, float]]:
        """What collecting garbage took since this was last asked; `BENCH_GARBAGE` must be set in its environment."""
        return [(tuple(stack), seconds) for stack, seconds in json.loads(self._get(garbage.PATH))]

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def cpu_seconds(self) -> float:
        """What it has used of its core so far."""
        used = [process.cpu_times() for process in self._processes]
        return sum(times.user + times.system for times in used)

    @property
    def resident_bytes(self) -> int:
        return sum(int(process.memory_info().rss) for process in self._processes)

    @property
    def _processes(self) -> list[psutil.Process]:
        return [self._usage, *self._usage.children(recursive=True)]

    def _get(self, path: str) -> bytes:
        url = f"http://127.0.0.1:{self._control_port}{path}"
        with urllib.request.urlopen(url, timeout=START_SECONDS) as answer:
            return bytes(answer.read())


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """A Redis of our own that keeps nothing on disk, beside the load generator; its address. Where there is no
    `redis-server`, peers that need one are skipped."""
    if not shutil.which("redis-server"):
        yield ""
        return
    port = free_port()
    process = subprocess.Popen(
        ["redis-server", "--port", str(port), "--save", "", "--appendonly", "no", "--dir", folder],  # noqa: S607
        stdout=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, {LOAD_CORE}),  # noqa: PLW1509 - no threads here
    )
    try:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(POLL_SECONDS)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.kill()
        process.wait()


class Load:
    """The load generator's process, pinned to its core. `answer = load.tell("measure 3")`."""

    cpu_seconds = 0.0  # of its core, at its last answer
    connected: Mapping[str, Any] = {}  # what it answered when all were

    def __init__(self, program: Path, port: int, protocol: str, targets: Path, **options: str | int) -> None:
        self._process = subprocess.Popen(
            [program, str(port), protocol, targets, *(f"{name}={value}" for name, value in options.items())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            preexec_fn=lambda: os.sched_setaffinity(0, {LOAD_CORE}),  # noqa: PLW1509 - no threads here
        )

    def tell(self, command: str) -> dict[str, Any]:
        """Give a command, and wait for what came of it. Raises `BenchmarkFailed`."""
        assert self._process.stdin is not None  # noqa: S101 - for the type checker
        assert self._process.stdout is not None  # noqa: S101 - as above
        self._process.stdin.write(command + "\n")
        line = self._process.stdout.readline()
        if not line:
            raise BenchmarkFailed(f"the load generator ended at {command!r}")
        answer: dict[str, Any] = json.loads(line)
        self.cpu_seconds = answer["cpu_seconds"]
        return answer

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


@contextmanager
def load(
    program: Path, server: Server, peer: Peer, clients: Sequence[Client], folder: Path, **options: Any
) -> Iterator[Load]:
    """A load generator for these clients; connected, all of them ready. Raises `BenchmarkFailed`."""
    targets = folder / "targets"
    targets.write_text("".join(f"{peer.target(client)}\n" for client in clients))
    generator = Load(program, server.port, peer.protocol, targets, ready=peer.ready(clients[0]), **options)
    try:
        connected = generator.connected = generator.tell("connect")
        if connected["ready"] != connected["clients"]:
            raise BenchmarkFailed(f"{peer.name}: only {connected['ready']} of {connected['clients']} clients connected")
        yield generator
    finally:
        generator.stop()
