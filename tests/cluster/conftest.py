"""Systems of several processes, each with a database and a Redis of the test's own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.processes import Served, start
from tests.redis_server import RedisServer, free_port

SERVICE_KEY = "a-service-key-of-these-tests-and-only-theirs"
SETTINGS = {
    "SERVICE_KEYS": SERVICE_KEY,
    "LIMIT_CONNECTIONS_PER_USER": "1000",
    "HISTORY_COUNT": "10000",
    "DRAIN_SECONDS": "2",
    "DJANGO_SETTINGS_MODULE": "config.settings",
}


class System:
    """Server processes, publishers, one Redis, one database."""

    def __init__(self, tmp_path: Path, redis: RedisServer) -> None:
        self.tmp_path = tmp_path
        self.redis = redis
        self.variables = {**SETTINGS, "REDIS_URL": redis.url}
        self.nodes: list[Served] = []
        self._publishers: list[subprocess.Popen[str]] = []

    def seed(self, users: int) -> dict[str, str]:
        """Users, each watching one symbol; an access token per symbol."""
        return json.loads(self.python("tests.cluster.seed", users))

    def python(self, module: str, *arguments: object) -> str:
        """Run a module of the tests to its end."""
        process = self.start(module, *arguments)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        return out

    def start(self, module: str, *arguments: object, **variables: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", module, *arguments]
        return start(*command, tmp_path=self.tmp_path, **self.variables, **variables)

    def serve(self, *arguments: object, **variables: str) -> Served:
        options = ["--no-engines", *arguments]
        node = Served(*options, tmp_path=self.tmp_path, port=free_port(), **{**self.variables, **variables})
        self.nodes.append(node)
        return node

    def publish(self, name: str, symbols: list[str], per_second: float, seconds: float) -> None:
        """Start a publisher; `results` waits for it."""
        arguments = (name, ",".join(symbols), per_second, seconds)
        self._publishers.append(self.start("tests.cluster.publisher", *arguments))

    def results(self) -> list[dict[str, Any]]:
        results = []
        for process in self._publishers:
            out, err = process.communicate(timeout=120)
            assert process.returncode == 0, err
            assert "Traceback" not in err, err
            results.append(json.loads(out))
        return results

    def stop(self) -> None:
        for process in self._publishers:
            process.kill()
        for node in self.nodes:
            node.kill()


@pytest.fixture
def system(tmp_path, own_redis, django_db_setup):
    """Not yet running but for Redis."""
    own_redis.start()
    made = System(tmp_path, own_redis)
    yield made
    made.stop()
