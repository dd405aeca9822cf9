"""The health of the system: what is told of host, feed and workers, when, and to whom."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.db import OperationalError
from django.utils import timezone
from msgspec import UNSET
from msgspec.structs import replace

from apps.accounts.models import User
from apps.ai_studio import models, payloads, system_report, workforce
from apps.ai_studio.celery_watch import CeleryWatch, WorkerState
from apps.ai_studio.engines_report import OLD_AFTER
from apps.ai_studio.host import HostMeter
from apps.ai_studio.jobs.embedded import JobWorker
from apps.ai_studio.system_watch import SYSTEM_SECONDS, SystemWatch
from apps.streaming.runtime import runtime
from realtime.clock import ManualClock

DOCS = Path(__file__).parents[3] / "docs"
ALIVE = payloads.Worker(name="celery@a", kind="celery", busy=True, done=0, failed=0, queued=0, alive=True)


@pytest.fixture
def model(db):
    owner = User.objects.create(email="asha@example.com")
    return models.Model.objects.create(owner=owner, name="momentum")


@pytest.fixture
def embedded(monkeypatch):
    worker = SimpleNamespace(
        name="embedded:7@here", alive=True, busy=False, done=4, failed=1, mean_runtime_seconds=2.00049
    )
    monkeypatch.setattr(JobWorker, "of_this_process", worker)
    return worker


@pytest.fixture
def celery(monkeypatch):
    watch = SimpleNamespace(book=[], connected=True, asked=True)
    watch.book = SimpleNamespace(states=lambda: watch.states)
    watch.states = []
    monkeypatch.setattr(CeleryWatch, "of_this_process", watch)
    return watch


def celery_state(name="celery@a", **fields):
    known = {"alive": True, "busy": False, "done": 2, "failed": 1, "mean_runtime_seconds": None}
    return WorkerState(**{"name": name, "job_ids": (), **known, **fields})


def run_job(model, worker, *, silent_seconds=1.0, **fields):
    heartbeat_at = timezone.now() - timedelta(seconds=silent_seconds)
    return models.TrainingJob.objects.create(
        model=model, status="RUNNING", worker=worker, heartbeat_at=heartbeat_at, **fields
    )


# Workers


def test_where_no_engines_run_there_are_no_workers(db):
    assert workforce.workers(detail=True) == []


def test_the_embedded_worker(model, embedded):
    models.Backtest.objects.create(model=model)
    models.Backtest.objects.create(model=model, not_before=timezone.now() + timedelta(hours=1))
    [idle] = workforce.workers(detail=True)
    assert idle == payloads.Worker(
        name="embedded",
        kind="embedded",
        alive=True,
        busy=False,
        done=4,
        failed=1,
        queued=1,
        mean_runtime_seconds=2.0,
        job=None,
    )
    run_job(model, embedded.name)
    embedded.busy = True
    [busy] = workforce.workers(detail=True)
    assert (busy.busy, busy.job) == (True, "training of momentum")
    [seen] = workforce.workers(detail=False)
    assert (seen.name, seen.busy, seen.job) == ("embedded 1", True, UNSET)


def test_celerys_workers_and_what_waits_for_them(model, celery):
    job = run_job(model, "celery@a")
    claimed_only = run_job(model, "celery@b")
    models.Backtest.objects.create(model=model)
    celery.states = [
        celery_state(busy=True, job_ids=(str(job.pk),), mean_runtime_seconds=1.5),
        celery_state("celery@b"),
        celery_state("celery@c", alive=False, busy=True),
    ]
    first, second, dead = workforce.workers(detail=True)
    assert (first.kind, first.alive, first.busy, first.queued, first.job) == (
        *("celery", True, True, 1, "training of momentum"),
    )
    assert (first.done, first.failed, first.mean_runtime_seconds) == (2, 1, 1.5)
    assert (second.busy, second.queued) == (True, 1), f"the database knows of {claimed_only}"
    assert (dead.alive, dead.busy) == (False, False)
    assert [each.name for each in workforce.workers(detail=False)] == ["celery 1", "celery 2", "celery 3"]


def test_a_worker_that_says_nothing_while_it_works_lives_by_its_jobs_heartbeat(model, celery):
    celery.states = [celery_state(alive=False)]
    job = run_job(model, "celery@a")
    assert workforce.workers(detail=False)[0].alive is True
    models.TrainingJob.objects.filter(pk=job.pk).update(heartbeat_at=timezone.now() - timedelta(minutes=1))
    assert workforce.workers(detail=False)[0].alive is False


def test_who_else_runs_jobs_is_known_by_the_jobs(model, embedded):
    run_job(model, "terminal:9@there")
    run_job(model, "gone", silent_seconds=60)
    models.Backtest.objects.create(model=model, status="RUNNING")
    _, gone, terminal, unnamed = workforce.workers(detail=True)
    assert (terminal.name, terminal.alive, terminal.busy, terminal.job, terminal.kind) == (
        *("terminal:9@there", True, True, "training of momentum", UNSET),
    )
    assert (gone.name, gone.alive) == ("gone", False)
    assert (unnamed.name, unnamed.alive, unnamed.job) == ("unnamed", False, "backtest of momentum")


# The status


async def test_host_numbers_mean_something_and_are_not_taken_anew_for_everybody():
    clock = ManualClock()
    meter = HostMeter(clock.monotonic)
    first = await meter.numbers()
    assert all(0 <= first[name] <= 100 for name in ("cpu_percent", "memory_percent", "disk_percent"))
    assert first["process_memory_mb"] > 1
    assert first["process_threads"] >= 1
    assert first["cpu_count"] >= 1
    assert await meter.numbers() is first
    clock.advance(1.0)
    assert await meter.numbers() is not first


async def test_the_status_of_a_process_that_runs_engines(known_workers, market):
    seen = (await system_report.report()).status
    assert (seen.status, seen.broker, seen.redis, seen.database) == ("ok", "memory", "not configured", "ok")
    assert (seen.feed, seen.feed_age_seconds, seen.feed_rejected) == ("test market", 1.23, {"crossed": 3})
    assert seen.host["event_loop_lag_ms"] >= 0
    public = await system_report.status(detail=False)
    assert (public.host, public.connections, public.feed) == (UNSET, UNSET, "test market")
    market.is_stale = True
    stale = await system_report.status(detail=False)
    assert (stale.status, stale.feed) == ("degraded", "test market (stale)")
    market.is_stale, market.ended = False, True
    ended = await system_report.status(detail=False)
    assert (ended.status, ended.feed) == ("ok", "test market (ended)")


async def test_it_is_degraded_when_nobody_takes_jobs(known_workers, market, celery):
    known_workers[:] = [ALIVE]
    assert (await system_report.report()).status.status == "ok"
    known_workers[:] = [replace(ALIVE, alive=False)]
    assert (await system_report.report()).status.status == "degraded"
    known_workers.clear()
    assert (await system_report.report()).status.status == "degraded"
    celery.asked = False
    assert (await system_report.report()).status.status == "ok", "they had no time to answer yet"
    celery.asked, celery.connected = True, False
    known_workers[:] = [ALIVE]
    assert (await system_report.report()).status.status == "degraded"


async def test_without_the_database_the_status_says_so_and_nothing_is_said_of_workers(market, monkeypatch):
    def away(**_):
        raise OperationalError

    monkeypatch.setattr(system_report, "workers", away)
    monkeypatch.setattr("apps.streaming.health._database_status", lambda: "failed: OperationalError")
    found = await system_report.report()
    assert found.workers is None
    assert (await system_report.snapshot(detail=False))[1] == []
    assert (found.status.status, found.status.database) == ("degraded", "failed: OperationalError")


# When


@pytest.fixture
def told(monkeypatch):
    """What was published."""
    said = []
    monkeypatch.setattr(system_report, "publish_report", said.append)
    return said


async def test_it_is_told_every_five_seconds_and_at_once_when_the_state_changes(
    known_workers, market, told, monkeypatch
):
    known_workers.append(ALIVE)
    clock = ManualClock()
    watch = SystemWatch(clock.monotonic)
    await watch.look()
    assert len(told) == 1
    clock.advance(SYSTEM_SECONDS - 0.1)
    market.quote_age_seconds = 4.0
    known_workers[0] = replace(ALIVE, done=1)
    await watch.look()
    assert len(told) == 1, "numbers wait"
    clock.advance(0.1)
    await watch.look()
    assert len(told) == 2
    for change in (
        lambda: known_workers.append(replace(ALIVE, name="celery@c")),
        lambda: known_workers.append(replace(known_workers.pop(), busy=False)),
        lambda: known_workers.append(replace(known_workers.pop(), alive=False)),
        lambda: setattr(market, "is_stale", True),
        lambda: setattr(market, "is_stale", False),
        lambda: setattr(market, "ended", True),
        lambda: monkeypatch.setattr("apps.streaming.health._database_status", lambda: "failed: X"),
        lambda: monkeypatch.setattr("apps.streaming.health._redis_status", lambda _: "away"),
        known_workers.clear,
    ):
        before = len(told)
        change()
        clock.advance(1.0)
        await watch.look()
        assert len(told) == before + 1
        clock.advance(1.0)
        await watch.look()
        assert len(told) == before + 1
    assert (told[-1].status.status, told[-1].workers) == ("degraded", [])


async def test_celery_is_followed_where_it_is_configured_until_the_end(known_workers, market, told, monkeypatch):
    done = []
    monkeypatch.setattr(CeleryWatch, "start", lambda self: done.append("start"))
    monkeypatch.setattr(CeleryWatch, "stop", lambda self: done.append("stop"))
    without = SystemWatch(ManualClock().monotonic)
    await without.look()
    await without.stop()
    assert done == []
    monkeypatch.setattr(
        "apps.ai_studio.system_watch.settings", SimpleNamespace(ENV=SimpleNamespace(celery_broker_url="redis://x"))
    )
    watch = SystemWatch(ManualClock().monotonic)
    await watch.look()
    await watch.look()
    await watch.stop()
    assert done == ["start", "stop"]


def test_staff_and_everybody_are_told_over_their_sockets(server, model, market, embedded):
    staff = User.objects.create(email="staff@example.com", is_staff=True)
    watch = SystemWatch(ManualClock().monotonic)
    with server.open("ai-studio/system/", model.owner) as everyone, server.open("ai-studio/system/", staff) as operator:
        for client in (everyone, operator):
            client.until("system_status_update")
            client.until("worker_status_update")
            client.answer("ping")
        run_job(model, embedded.name)
        embedded.busy, market.is_stale = True, True
        asyncio.run_coroutine_threadsafe(watch.look(), runtime()._loop).result(5)
        public = everyone.until("system_status_update")["status"]
        assert (public["status"], public["feed"], "host" in public) == ("degraded", "test market (stale)", False)
        [worker] = everyone.until("worker_status_update")["workers"]
        assert (worker["busy"], "job" in worker) == (True, False)
        detail = operator.until("system_status_update")["status"]
        assert {"ai-studio.system"} <= set(detail["connections"])
        assert detail["host"]["process_memory_mb"] > 1
        [worker] = operator.until("worker_status_update")["workers"]
        assert (worker["name"], worker["job"]) == ("embedded", "training of momentum")


# The page


def _table(page, heading):
    body = page.split(f"## {heading}\n", 1)[1].split("\n##", 1)[0]
    return re.findall(r"^\| `(\w+)` \|", body, re.MULTILINE)


async def test_the_page_names_every_field(known_workers, market):
    page = (DOCS / "reference" / "system-health.md").read_text()
    assert set(_table(page, "`system_status_update`")) == set(payloads.SystemStatus.__struct_fields__)
    assert set(_table(page, "`worker_status_update`")) == set(payloads.Worker.__struct_fields__)
    assert set(_table(page, "`host`")) == set((await system_report.report()).status.host)
    assert f"every {SYSTEM_SECONDS:.0f} seconds" in page
    assert f"at most {OLD_AFTER.seconds} seconds ago" in page
