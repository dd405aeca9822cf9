"""Who runs jobs: the embedded worker, or Celery."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from datetime import timedelta

import msgspec
import pytest
from django.db import OperationalError
from django.utils import timezone

from apps.accounts.models import User
from apps.ai_studio import bar_store, models, services, tasks
from apps.ai_studio.jobs import embedded, ending, queue, room, sender, watch
from apps.ai_studio.jobs.embedded import JobWorker
from apps.ai_studio.jobs.kinds import BACKTEST, TRAINING
from apps.ai_studio.jobs.running import in_turn
from engines.jobs.work import Cancelled, Failed
from tests.apps.ai_studio.jobs import DONE, Computing, Seconds, giving, make_model
from tests.conftest import wait_until


@pytest.fixture
def user(transactional_db):
    return User.objects.create_user("asha@example.com")  # without a password: hashing one takes longer than most tests


@pytest.fixture
def model(user, monkeypatch):
    monkeypatch.setattr(bar_store, "bars_for", lambda model, **_: {})
    return make_model(user)


@pytest.fixture
def celery(settings):
    """A broker in memory; the ids of the jobs that it has, in order."""

    def use(url):
        settings.ENV = msgspec.structs.replace(settings.ENV, celery_broker_url=url)
        queue.celery_app.cache_clear()

    def sent():
        with queue.celery_app().connection() as connection:
            jobs = connection.SimpleQueue(queue.QUEUE)
            found = []
            while jobs.qsize():
                message = jobs.get_nowait()
                message.ack()
                found.append((message.headers["task"], message.payload[0][0]))
            return found

    use("memory://")
    sent()
    sent.use = use
    yield sent
    queue.celery_app.cache_clear()


def status_of(job):
    return type(job).objects.get(pk=job.pk).status


def test_the_embedded_worker_takes_the_oldest_and_is_woken_by_the_next(model, monkeypatch):
    monkeypatch.setattr(embedded, "POLL_SECONDS", 60.0)
    first = services.start_training(model)
    second = services.start_backtest(model, {"strategy": "trend"})
    compute = giving(Failed(message="as this test wants"))
    worker = JobWorker(compute)
    worker.start()
    try:
        wait_until(lambda: worker.failed == 2, "the waiting jobs did not run")
        ends = [job.__class__.objects.get(pk=job.pk).finished_at for job in (first, second)]
        assert ends == sorted(ends)
        third = services.start_training(model)
        wait_until(lambda: status_of(third) == "FAILED", "the worker was not woken")
        assert worker.alive
        assert worker.mean_runtime_seconds > 0
    finally:
        worker.stop()
    assert compute.closed
    assert not worker.alive
    assert JobWorker.of_this_process is None
    assert first.pk != third.pk


def test_it_says_what_it_does_and_a_stop_fails_it(model):
    job = services.start_training(model)

    def script(on_progress, should_stop):
        wait_until(should_stop, "nobody stopped it")
        return Cancelled()

    worker = JobWorker(Computing(script))
    assert worker.mean_runtime_seconds is None
    worker.start()
    wait_until(lambda: worker.busy, "it does not begin")
    assert worker.current_job == "training of momentum"
    worker.stop()
    job.refresh_from_db()
    assert (job.status, job.error, worker.busy) == ("FAILED", ending.SERVER_STOPPED, False)


def test_owners_take_turns(model):
    other = make_model(User.objects.create_user("bala@example.com"))
    backtests = [models.Backtest.objects.create(model=model, spec={"strategy": "trend"}) for _ in range(2)]
    training, later = services.start_training(model), services.start_training(other)
    assert list(in_turn(BACKTEST)) == backtests
    assert list(in_turn(TRAINING)) == [training, later]
    models.TrainingJob.objects.filter(pk=later.pk).update(not_before=training.created_at - timedelta(minutes=1))
    assert list(in_turn(TRAINING)) == [later, training], "it has been due for longer"
    models.TrainingJob.objects.filter(pk=later.pk).update(not_before=None)
    worker = JobWorker(giving(Failed(message="as this test wants")))
    while worker.run_next():
        pass
    ran = sorted([*backtests, training, later], key=lambda job: type(job).objects.get(pk=job.pk).finished_at)
    assert (ran[0], ran[1]) == (backtests[0], later)
    assert len(ran) == worker.ended == 4


def test_a_stop_waits_for_no_job_that_takes_its_time_but_the_job_still_fails(model, monkeypatch):
    monkeypatch.setattr(embedded, "STOP_SECONDS", 0.01)
    job, has_begun, is_over = services.start_training(model), threading.Event(), threading.Event()

    def script(on_progress, should_stop):
        has_begun.set()
        assert is_over.wait(10)
        return Cancelled()

    worker = JobWorker(Computing(script))
    worker.start()
    assert has_begun.wait(10)
    worker.stop()
    assert (worker.alive, status_of(job)) == (True, "RUNNING")
    is_over.set()
    worker._thread.join(10)
    assert status_of(job) == "FAILED"


def test_what_a_dead_process_left_running_is_failed_at_the_start_but_not_what_lives(model):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    host, now = socket.gethostname(), timezone.now()

    def running(worker, heartbeat_at=now):
        return models.TrainingJob.objects.create(
            model=model, status="RUNNING", worker=worker, heartbeat_at=heartbeat_at
        )

    silent_since = now - timedelta(seconds=embedded.SILENT_SECONDS + 1)
    orphans = [
        running(f"{embedded.PREFIX}{dead.pid}@{host}"),
        running(f"{embedded.PREFIX}{os.getppid()}@{host}", silent_since),
        running(f"{embedded.PREFIX}1@elsewhere", None),
    ]
    others = [
        running(f"{embedded.PREFIX}{os.getppid()}@{host}"),
        running(f"{embedded.PREFIX}{dead.pid}@elsewhere"),
        running("celery@there", silent_since),
    ]
    worker = JobWorker(giving(DONE))
    worker.start()
    worker.stop()
    assert {status_of(job) for job in orphans} == {"FAILED"}
    assert {status_of(job) for job in others} == {"RUNNING"}


def test_a_job_that_lost_its_database_is_failed_when_it_is_back(model, monkeypatch):
    orphan = services.start_training(model)
    worker = JobWorker(giving(DONE))
    outcomes = iter([OperationalError("gone"), False])

    def run_next():
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            models.TrainingJob.objects.update(status="RUNNING", worker=worker.name)
            raise outcome
        worker._stop.set()
        return outcome

    monkeypatch.setattr(worker, "run_next", run_next)
    monkeypatch.setattr(embedded, "POLL_SECONDS", 0.01)
    worker._thread.start()
    worker._thread.join(10)
    assert status_of(orphan) == "FAILED"


def test_with_a_broker_celery_gets_a_job_when_its_transaction_is_committed(model, celery):
    training = services.start_training(model)
    backtest = services.start_backtest(model, {"strategy": "trend"})
    assert celery() == [("ai_studio.run_training", str(training.pk)), ("ai_studio.run_backtest", str(backtest.pk))]
    watch.send_due_jobs()
    assert celery() == [], "both were sent just now"
    models.TrainingJob.objects.update(sent_at=timezone.now() - timedelta(seconds=61))
    watch.send_due_jobs()
    assert celery() == [("ai_studio.run_training", str(training.pk))]


def test_a_broker_that_is_away_is_no_error_and_gets_the_job_later(model, celery):
    celery.use("redis://127.0.0.1:1/0")
    training = services.start_training(model)
    assert status_of(training) == "PENDING"
    watch.send_due_jobs()
    celery.use("memory://")
    watch.send_due_jobs()
    assert celery() == [("ai_studio.run_training", str(training.pk))]


def test_a_task_runs_its_job_once_and_returns_how_it_ended(model, monkeypatch):
    compute = giving(Failed(message="as this test wants"))
    monkeypatch.setattr(tasks, "ComputeProcess", lambda: compute)
    monkeypatch.setattr(tasks, "_warm", tasks._Warm())
    training = services.start_training(model)
    backtest = services.start_backtest(model, {"strategy": "trend"})
    ends = [tasks.run_training(str(training.pk)), tasks.run_training(str(training.pk))]
    assert [*ends, tasks.run_backtest(str(backtest.pk))] == ["FAILED", None, "FAILED"]
    assert len(compute.works) == 2
    models.Backtest.objects.all().delete()
    assert tasks.run_backtest(str(backtest.pk)) is None


def test_a_room_looks_after_jobs_by_the_clock(model, celery, monkeypatch):
    looked, clock = [], Seconds()
    monkeypatch.setattr(watch, "fail_lost_jobs", lambda: looked.append(clock.now))
    models.Model.objects.update(rerun_seconds=60)
    jobs = room.JobRoom(monotonic=clock)
    for clock.now in range(7):
        jobs.tick()
    assert looked == [0, 5]
    assert [task for task, _ in celery()] == ["ai_studio.run_training"]


def test_a_job_by_the_clock_follows_as_soon_as_one_has_ended(model, monkeypatch):
    looked, clock, worker = [], Seconds(), JobWorker(giving(DONE))
    monkeypatch.setattr(watch, "schedule_jobs", lambda: looked.append(clock.now))
    jobs = room.JobRoom(worker, monotonic=clock)
    for clock.now in range(5):
        jobs.tick()
        worker.done += clock.now == 2
    assert looked == [0, 3]


def test_with_a_broker_a_room_sends_what_it_lacks_and_runs_nothing(model, celery, monkeypatch):
    send, calls = watch.send_due_jobs, []
    monkeypatch.setattr(sender, "SEND_SECONDS", 0.01)
    monkeypatch.setattr(watch, "send_due_jobs", lambda: calls.append(1) or (1 / 0 if len(calls) == 1 else send()))
    job = models.TrainingJob.objects.create(model=model)
    jobs = room.JobRoom()
    jobs.start()
    wait_until(lambda: models.TrainingJob.objects.get().sent_at is not None, "it was not sent")
    assert JobWorker.of_this_process is None
    jobs.stop()
    assert celery() == [("ai_studio.run_training", str(job.pk))]


def test_without_a_broker_a_room_runs_them_itself(model):
    job = services.start_training(model)
    jobs = room.JobRoom(JobWorker(giving(Failed(message="as this test wants"))))
    jobs.start()
    jobs.tick()
    wait_until(lambda: status_of(job) == "FAILED", "nobody ran it")
    jobs.stop()
