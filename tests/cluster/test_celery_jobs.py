"""Training by a real Celery worker over a real Redis; and what is left of a job whose worker is killed."""

from __future__ import annotations

import json
import signal
import sys

import psutil
import pytest

from tests.conftest import wait_until
from tests.processes import start

SHORT = {"algorithm": "logistic", "folds": 2, "features": ["return_1", "return_5"]}
LONG = {"folds": 12, "boosting": {"iterations": 5_000, "early_stopping_iterations": 0}}


@pytest.fixture
def worker(system):
    system.variables["CELERY_BROKER_URL"] = system.redis.url.replace("/0", "/1")
    started = start(
        *(sys.executable, "-m", "celery", "-A", "tests.cluster.jobs_app", "worker", "--concurrency", "1"),
        *("--loglevel", "warning"),
        tmp_path=system.tmp_path,
        **system.variables,
    )
    yield started
    for process in family(started.pid):
        process.kill()
    started.communicate()


@pytest.fixture
def overseer(system):
    """Makes the database and a user, and then waits to be told to look after lost jobs."""
    started = system.start("tests.cluster.lost_jobs")
    yield started
    started.kill()
    started.communicate()


def family(pid):
    """The process and all that came of it."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def computing(process):
    return "tests.engines.jobs.keen_child" in process.cmdline()


@pytest.mark.timeout(90)
def test_a_job_that_celery_runs_is_watched_and_one_whose_worker_is_killed_fails(system, overseer, worker):
    token = json.loads(overseer.stdout.readline())["SYM0"]
    node = system.serve()

    def train(name, training):
        definition = {"name": name, "data_source": "shipped", "bar_seconds": 86_400, "symbols": ["IBM"]}
        model = node.call("POST", "/api/ai/models/", {**definition, "training": training}, token)["id"]
        job = node.call("POST", f"/api/ai/models/{model}/training-jobs/", None, token)["id"]
        return node.open(f"ai-studio/training/{job}/", token)

    with train("short", SHORT) as client:
        result = client.until("training_completed", timeout=40)["result"]
        assert (result["version"], len(result["digest"])) == (1, 64)
        assert client.answer("request_progress")["progress"]["status"] == "COMPLETED"

    with train("long", LONG) as client:
        while (told := client.until("training_update", "training_failed", timeout=20)).get("progress", {}).get(
            "step"
        ) != 4:
            assert "error" not in told, told["error"]
        processes = family(worker.pid)
        [child] = [process for process in processes if computing(process)]
        for process in processes:
            if process != child:
                process.send_signal(signal.SIGKILL)
        wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "the child goes on")
        overseer.send_signal(signal.SIGUSR1)
        out, err = overseer.communicate(timeout=30)
        assert json.loads(out) == 1, err
        assert "worker" in client.until("training_failed", timeout=10)["error"]
        client.answer("ping")
        assert [message["type"] for message in client.received].count("training_failed") == 1
