"""`manage.py` in processes of its own, as a person or an init system runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import psutil

from tests.conftest import StreamClient, wait_until
from tests.redis_server import free_port

ROOT = Path(__file__).parents[1]
STOP_SECONDS = 10
DEMO = {"email": "demo@sharewise.local", "password": "demo"}


def environment(tmp_path: Path, **variables: str) -> dict[str, str]:
    """What a process of a test's own system needs: its database in the test's folder."""
    return {**os.environ, "DATABASE_URL": f"sqlite:///{tmp_path}/db.sqlite3", **variables}


def start(*command: object, tmp_path: Path, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(part) for part in command],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), **environment(tmp_path, **variables)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def manage(*arguments: object, tmp_path: Path, **variables: str) -> subprocess.Popen[str]:
    return start(sys.executable, ROOT / "manage.py", *arguments, tmp_path=tmp_path, **variables)


def run(*arguments: object, tmp_path: Path, **variables: str) -> tuple[int, str, str]:
    process = manage(*arguments, tmp_path=tmp_path, **variables)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


class Served:
    """A running `manage.py serve`. Its output goes to a file, so that nobody has to read a pipe."""

    def __init__(self, *arguments: object, tmp_path: Path, port: int | None = None, **variables: str) -> None:
        self.port = port or free_port()
        self._arguments = arguments
        self._tmp_path = tmp_path
        self._variables = variables
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        self.out, self.err = (self._tmp_path / f"{self.port}.{name}" for name in ("out", "err"))
        with self.out.open("a") as out, self.err.open("a") as err:
            self.process = subprocess.Popen(
                [sys.executable, ROOT / "manage.py", "serve", "--port", str(self.port), *map(str, self._arguments)],
                cwd=self._tmp_path,
                env=environment(self._tmp_path, **self._variables),
                stdout=out,
                stderr=err,
                text=True,
            )

    def wait_until_ready(self) -> None:
        wait_until(self._answers, "serve did not start", 30)

    def _answers(self) -> bool:
        try:
            self.health()
        except OSError:
            assert self.process.poll() is None, self.err.read_text()
            return False
        return True

    def health(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health/", timeout=5) as answer:
            return json.load(answer)

    def metrics(self) -> dict[str, float]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics/", timeout=5) as answer:
            lines = [line for line in answer.read().decode().splitlines() if not line.startswith("#")]
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}

    def sign_in(self, email: str = DEMO["email"], password: str = DEMO["password"]) -> str:
        return self.post("/api/token/", {"email": email, "password": password})["access"]

    def memory_bytes(self) -> int:
        return psutil.Process(self.process.pid).memory_info().rss

    def get(self, path: str, token: str) -> Any:
        request = urllib.request.Request(self._http(path), headers={"Authorization": f"Bearer {token}"})
        return json.load(urllib.request.urlopen(request))

    def call(self, method: str, path: str, body: Any, token: str) -> Any:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._http(path), data, headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or "null")

    def post(self, path: str, body: Any, token: str | None = None, timeout: float = 30) -> Any:
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        request = urllib.request.Request(self._http(path), json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return json.loads(answer.read() or "null")

    def _http(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def url(self, path: str, token: str, **query: str) -> str:
        parameters = "&".join(f"{k}={v}" for k, v in {"token": token, **query}.items())
        return f"ws://127.0.0.1:{self.port}/ws/{path}?{parameters}"

    def open(self, path: str, token: str, **query: str) -> StreamClient:
        return StreamClient(self.url(path, token, **query))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(STOP_SECONDS)

    def stop(self, how: int = signal.SIGTERM, timeout: float = STOP_SECONDS) -> tuple[int, str, str]:
        self.process.send_signal(how)
        self.process.wait(timeout)
        return self.process.returncode, self.out.read_text(), self.err.read_text()
