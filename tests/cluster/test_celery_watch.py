"""Celery's workers as the system stream sees them: a real worker and a real Redis that comes and goes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from celery import Celery

from apps.ai_studio import celery_watch
from apps.ai_studio.celery_watch import CeleryWatch
from tests.cluster.watched_app import OPTIONS
from tests.conftest import wait_until
from tests.processes import ROOT

JOB_ID = "0b9a1f8e-6d9f-4f5e-9a27-4f0d1f3c2b11"


@pytest.fixture
def watching(own_redis, tmp_path, monkeypatch):
    monkeypatch.setattr(celery_watch, "RETRY_SECONDS", 0.1)
    own_redis.start()
    url = own_redis.url
    sender = Celery("sender", broker=url, set_as_current=False)
    sender.conf.update(OPTIONS)
    watch = CeleryWatch(sender, ask_seconds=0.3)
    watch.start()
    command = [sys.executable, "-m", "celery", "-A", "tests.cluster.watched_app", "worker", "-n", "one@test"]
    worker = subprocess.Popen(
        [*command, "--concurrency", "1", "--loglevel", "warning", "--without-mingle", "--without-gossip"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "CELERY_BROKER_URL": url},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    yield watch, sender, worker
    watch.stop()
    worker.kill()
    worker.wait(10)


def only(watch):
    states = watch.book.states()
    return states[0] if states else None


@pytest.mark.timeout(120)
def test_a_worker_its_tasks_and_its_end_and_a_broker_that_goes_and_comes(watching, own_redis, tmp_path):
    watch, sender, worker = watching
    assert CeleryWatch.of_this_process is watch
    wait_until(lambda: watch.connected and watch.asked, "the broker was not found")
    go_on = tmp_path / "go-on"
    sender.send_task("work", (JOB_ID, "COMPLETED", str(go_on)))
    for result in ("FAILED", "NOTHING", "CRASH", "COMPLETED"):
        sender.send_task("work", (JOB_ID, result))

    wait_until(lambda: (state := only(watch)) and state.busy, "the worker was not seen at work", 40)
    wait_until(lambda: only(watch).job_ids == (JOB_ID,), "its job was not known")
    assert (only(watch).name, only(watch).alive) == ("one@test", True)

    go_on.touch()
    wait_until(lambda: (only(watch).done, only(watch).failed) == (2, 2), "the tasks were not counted", 40)
    wait_until(lambda: not only(watch).busy, "it did not become idle")
    assert only(watch).mean_runtime_seconds > 0

    worker.send_signal(signal.SIGTERM)
    wait_until(lambda: not only(watch).alive, "nobody noticed that the worker said goodbye")

    own_redis.stop()
    wait_until(lambda: not watch.connected, "nobody noticed that the broker went away")
    own_redis.start()
    wait_until(lambda: watch.connected, "nobody noticed that the broker came back")
    with sender.connection_for_write() as connection:  # a real worker takes seconds to come back
        sender.events.Dispatcher(connection, hostname="two@test").send("worker-online")
    wait_until(lambda: watch.book.states()[-1].name == "two@test", "events were not heard again")

    watch.stop()
    assert CeleryWatch.of_this_process is None
