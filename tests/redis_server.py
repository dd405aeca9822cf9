"""A real `redis-server` of a test's own: started, paused, killed and started again as the test says."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Self

import pytest
from redis import Redis
from redis.exceptions import RedisError

from tests.conftest import wait_until


def require(program: str) -> str:
    """The path of a program. Without it the test is skipped, loudly; in CI, where it has to be, it fails."""
    path = shutil.which(program)
    if path is not None:
        return path
    reason = f"{program} is not on the PATH: install it, or these tests say nothing about Redis and production"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


class RedisServer:
    """Keeps its data on disk (`appendonly`), so that a test can choose to lose it or not."""

    def __init__(self, *options: str, port: int | None = None) -> None:
        self._program = require("redis-server")
        self.port = port or free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="sharewise-redis-"))
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self, **options) -> Redis:
        return Redis(port=self.port, socket_timeout=5, decode_responses=True, **options)

    def start(self) -> Self:
        arguments = ["--port", str(self.port), "--dir", str(self.folder), "--save", "", "--appendonly", "yes"]
        arguments += ["--appendfsync", "always", "--bind", "127.0.0.1", "--enable-debug-command", "yes"]
        self._process = subprocess.Popen(
            [self._program, *arguments, *self._options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(self._answers, "redis-server did not start")
        return self

    def _answers(self) -> bool:
        try:
            return bool(self.client().ping())
        except (RedisError, OSError):
            return False

    def stop(self, *, lose_data: bool = False) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            self._process.wait(10)
            self._process = None
        if lose_data:
            shutil.rmtree(self.folder)
            self.folder.mkdir()

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def cut_connections(self, kind: str = "") -> None:
        """Cut every connection, or those of one kind (`normal`, `pubsub`)."""
        for each in [kind] if kind else ["normal", "pubsub"]:
            self.client().execute_command("CLIENT", "KILL", "TYPE", each, "SKIPME", "yes")

    def destroy(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class RedisCluster:
    """Three masters, one third of the slots each."""

    def __init__(self) -> None:
        self._bus_ports = [free_port() for _ in range(3)]
        self.nodes = [RedisServer("--cluster-enabled", "yes", "--cluster-port", str(bus)) for bus in self._bus_ports]

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def start(self) -> Self:
        bounds = [0, 5_461, 10_923, 16_384]
        for index, node in enumerate(self.nodes):
            node.start()
            node.client().execute_command("CLUSTER ADDSLOTSRANGE", bounds[index], bounds[index + 1] - 1)
        for node, bus_port in zip(self.nodes[1:], self._bus_ports[1:], strict=True):
            self.nodes[0].client().execute_command("CLUSTER MEET", "127.0.0.1", node.port, bus_port)
        wait_until(lambda: all(self._knows_all(node) for node in self.nodes), "the cluster did not form", 30)
        return self

    @staticmethod
    def _knows_all(node: RedisServer) -> bool:
        info = node.client().execute_command("CLUSTER INFO")
        return info["cluster_state"] == "ok" and info["cluster_known_nodes"] == "3"

    def flush(self) -> None:
        for node in self.nodes:
            node.client().flushall()

    def destroy(self) -> None:
        for node in self.nodes:
            node.destroy()


class RedisSentinel:
    """A master, and one Sentinel that watches it."""

    def __init__(self) -> None:
        self.master = RedisServer()
        self.port = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="sharewise-sentinel-"))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.port}/sharewise/0"

    def start(self) -> Self:
        self.master.start()
        configuration = self._folder / "sentinel.conf"
        configuration.write_text(
            f"port {self.port}\ndir {self._folder}\nsentinel monitor sharewise 127.0.0.1 {self.master.port} 1\n"
        )
        self._process = subprocess.Popen(
            [require("redis-server"), configuration, "--sentinel"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(self._answers, "the Sentinel did not start")
        return self

    def _answers(self) -> bool:
        try:
            return bool(Redis(port=self.port).execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", "sharewise"))
        except (RedisError, OSError):
            return False

    def flush(self) -> None:
        self.master.client().flushall()

    def destroy(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
        self.master.destroy()
        shutil.rmtree(self._folder, ignore_errors=True)
