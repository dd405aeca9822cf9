"""Celery's workers as the system stream sees them: a real worker and a real Redis that comes and goes."""

from __future__ import annotations

import threading

import pytest
from celery import Celery, _state
from celery.app.trace import reset_worker_optimizations
from celery.contrib.testing.worker import TestWorkController
from celery.worker import state as worker_state

from apps.ai_studio import celery_watch
from apps.ai_studio.celery_watch import CeleryWatch
from tests.conftest import wait_until

JOB_ID = "0b9a1f8e-6d9f-4f5e-9a27-4f0d1f3c2b11"
OPTIONS = {
    "task_default_queue": "watched_jobs",
    "task_ignore_result": True,
    "worker_send_task_events": True,
    "worker_hijack_root_logger": False,
    "broker_connection_retry_on_startup": True,
}


def app_at(name, url):
    app = Celery(name, broker=url, set_as_current=False, fixups=())
    app.conf.update(OPTIONS)
    return app


class Worker:
    """A worker in a thread of this process, which would take seconds to start. Its task ends as, and when, it is
    told."""

    def __init__(self, url):
        self.go_on = threading.Event()
        self._apps = _state.current_app._get_current_object(), _state.default_app
        self._app = app_at("watched", url)

        @self._app.task(name="work")
        def work(job_id, result):
            self.go_on.wait(20)
            if result == "CRASH":
                raise RuntimeError(result)
            return None if result == "NOTHING" else result

        self._controller = TestWorkController(
            app=self._app, hostname="one@test", pool="threads", concurrency=1, without_mingle=True, without_gossip=True
        )
        self._thread = threading.Thread(target=self._controller.start, daemon=True)
        self._thread.start()
        self._controller.ensure_started()

    def stop(self):
        self.go_on.set()
        if self._thread.is_alive():
            worker_state.should_stop = 0
            self._thread.join(10)
            worker_state.should_stop = None
            # A worker takes its process for its own.
            reset_worker_optimizations(self._app)
            _state._set_current_app(self._apps[0])
            _state.set_default_app(self._apps[1])


@pytest.fixture
def redis_url(own_redis):
    own_redis.start()
    return own_redis.url


@pytest.fixture
def sender(redis_url):
    return app_at("sender", redis_url)


@pytest.fixture
def watch(sender, monkeypatch):
    monkeypatch.setattr(celery_watch, "RETRY_SECONDS", 0.1)
    watch = CeleryWatch(sender, ask_seconds=0.3)
    watch.start()
    yield watch
    watch.stop()


@pytest.fixture
def worker(redis_url):
    worker = Worker(redis_url)
    yield worker
    worker.stop()


def only(watch):
    states = watch.book.states()
    return states[0] if states else None


@pytest.mark.timeout(120)
def test_a_worker_its_tasks_and_its_end_and_a_broker_that_goes_and_comes(watch, sender, worker, own_redis):
    assert CeleryWatch.of_this_process is watch
    wait_until(lambda: watch.connected and watch.asked, "the broker was not found")
    for result in ("COMPLETED", "FAILED", "NOTHING", "CRASH", "COMPLETED"):
        sender.send_task("work", (JOB_ID, result))

    wait_until(lambda: (state := only(watch)) and state.busy, "the worker was not seen at work")
    wait_until(lambda: only(watch).job_ids == (JOB_ID,), "its job was not known")
    assert (only(watch).name, only(watch).alive) == ("one@test", True)

    worker.go_on.set()
    for _ in range(3):  # Celery's events are heard at most once: on a busy machine one may be lost
        try:
            wait_until(lambda: only(watch).done >= 2 and only(watch).failed >= 2, "the tasks were not counted", 10)
            break
        except AssertionError:
            for result in ("COMPLETED", "FAILED"):
                sender.send_task("work", (JOB_ID, result))
    assert (only(watch).done, only(watch).failed) >= (2, 2)
    wait_until(lambda: not only(watch).busy, "it did not become idle")
    assert only(watch).mean_runtime_seconds > 0

    worker.stop()
    wait_until(lambda: not only(watch).alive, "nobody noticed that the worker said goodbye")

    own_redis.stop()
    wait_until(lambda: not watch.connected, "nobody noticed that the broker went away")
    own_redis.start()
    wait_until(lambda: watch.connected, "nobody noticed that the broker came back")
    with sender.connection_for_write() as connection:
        sender.events.Dispatcher(connection, hostname="two@test").send("worker-online")
    wait_until(lambda: watch.book.states()[-1].name == "two@test", "events were not heard again")

    watch.stop()
    assert CeleryWatch.of_this_process is None
