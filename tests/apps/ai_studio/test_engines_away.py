"""What a process without engines says of the system: what those with engines said last, or that they are missed."""

from __future__ import annotations

import json
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.utils import timezone
from msgspec import UNSET

from apps.ai_studio import payloads, system_report, topics, websocket_utils
from apps.ai_studio.engines_report import ENGINES_AWAY, OLD_AFTER, REDIS_AWAY, EnginesEar
from apps.ai_studio.system_watch import EnginesWatch
from apps.streaming import health_watch, plugins
from apps.streaming.runtime import runtime
from realtime.brokers.base import BrokerStatus
from realtime.clock import ManualClock
from realtime.errors import BrokerAway
from realtime.publication import Draft

STATUS = {"status": "ok", "broker": "memory", "redis": "x", "database": "ok", "feed": "elsewhere"}
WORKER = {"name": "w", "busy": True, "alive": True, "done": 1, "failed": 0, "queued": 0, "job": "training of x"}
OTHER = payloads.Worker(name="celery@b", kind="celery", busy=True, done=0, failed=0, queued=2, alive=True, job="y")
OLD_SECONDS = OLD_AFTER.total_seconds()


@pytest.fixture
def clock(monkeypatch):
    """Of this process, and of those on the broker."""
    clock = ManualClock()
    ear = EnginesEar(clock)
    monkeypatch.setattr(system_report, "ear", lambda: ear)
    monkeypatch.setattr(runtime(), "clock", clock)
    return clock


@pytest.fixture
def shared(monkeypatch):
    """As if other processes were on the same broker."""
    monkeypatch.setattr(
        "apps.ai_studio.engines_report.settings", SimpleNamespace(ENV=SimpleNamespace(redis_url="redis://x"))
    )


@pytest.fixture
def broker(monkeypatch):
    """The broker, which is away when the test says so."""
    real = runtime().broker

    class Seen:
        is_away = False
        status = BrokerStatus("redis")

        def __getattr__(self, name):
            return getattr(real, name)

        async def read(self, topic):
            if self.is_away:
                raise BrokerAway
            return await real.read(topic)

    seen = Seen()
    monkeypatch.setattr(runtime(), "broker", seen)
    return seen


@pytest.fixture
def said(monkeypatch):
    """What was published."""
    said = []
    for name in ("notify_system_status", "notify_worker_status"):
        notify = getattr(websocket_utils, name)
        monkeypatch.setattr(websocket_utils, name, lambda told, notify=notify: (said.append(told), notify(told)))
    return said


def engines_say(**status):
    websocket_utils.notify_system_status({**STATUS, **status})
    websocket_utils.notify_worker_status([WORKER])


async def held(topic):
    """What the broker would hand to who subscribes now."""
    publications = (await runtime().broker.read(topic)).publications
    return {publication.key: json.loads(publication.body) for publication in publications}


async def feed():
    return (await system_report.status(detail=False)).feed


async def test_a_process_without_engines_hands_on_what_the_one_with_engines_said(known_workers, clock):
    engines_say(feed="elsewhere (stale)", feed_age_seconds=31.0)
    status, workers = await system_report.snapshot(detail=True)
    assert (status.status, status.feed, status.feed_age_seconds) == ("degraded", "elsewhere (stale)", 31.0)
    assert [(each.name, each.job) for each in workers] == [("w", "training of x")]
    _, public = await system_report.snapshot(detail=False)
    assert public[0].job is UNSET


async def test_a_process_that_stands_alone_misses_no_engines(known_workers, clock):
    status, workers = await system_report.snapshot(detail=True)
    assert (status.status, status.feed, workers) == ("ok", "none", [])
    engines_say()
    assert await feed() == "elsewhere"
    clock.advance(OLD_SECONDS + 0.1)
    status, workers = await system_report.snapshot(detail=True)
    assert (status.status, status.feed, workers) == ("ok", "none", []), "that was too long ago"
    assert await system_report.report_without_engines() is None


async def test_engines_that_say_nothing_any_more_are_missed(known_workers, clock, shared):
    assert await feed() == ENGINES_AWAY, "none ever said anything"
    engines_say()
    assert await feed() == "elsewhere"
    clock.advance(OLD_SECONDS)
    assert (await system_report.status(detail=True)).feed == "elsewhere"
    clock.advance(0.1)
    known_workers.append(OTHER)
    status, workers = await system_report.snapshot(detail=True)
    assert (status.status, status.feed, workers) == ("degraded", ENGINES_AWAY, [OTHER]), "what the database says"
    engines_say()
    assert (await system_report.status(detail=False)).status == "ok"


async def test_how_old_a_report_is_depends_on_no_other_machines_clock(known_workers, clock, shared, monkeypatch):
    there = ManualClock(clock.now() - timedelta(minutes=1))
    monkeypatch.setattr(runtime(), "clock", there)
    engines_say()
    assert await feed() == ENGINES_AWAY, "the first is as old as it says"
    there.advance(5.0)
    engines_say()
    for seconds in (OLD_SECONDS - 1, 0.9):
        assert await feed() == "elsewhere"
        clock.advance(seconds)
    monkeypatch.setattr(runtime(), "clock", ManualClock(there.now() - timedelta(seconds=3)))
    engines_say()
    assert await feed() == "elsewhere"
    clock.advance(1.0)
    assert (await system_report.status(detail=True)).feed == "elsewhere", "another process, another clock"


async def test_while_redis_is_away_nobody_is_missed_nor_just_after(known_workers, clock, shared, broker):
    engines_say()
    assert await feed() == "elsewhere"
    broker.is_away = True
    for _ in range(3):
        clock.advance(OLD_SECONDS - 1)
        assert await feed() == REDIS_AWAY
        assert await system_report.report_without_engines() is None
    broker.is_away, broker.status = False, BrokerStatus("redis", degraded_since=timezone.now())
    assert await feed() == REDIS_AWAY, "it serves alone"
    broker.status = BrokerStatus("redis")
    clock.advance(OLD_SECONDS)
    assert await feed() == "elsewhere"
    clock.advance(0.1)
    assert await feed() == ENGINES_AWAY
    broker.is_away = True
    assert await feed() == REDIS_AWAY
    broker.is_away = False
    assert await feed() == ENGINES_AWAY, "they were away before"


async def test_that_they_are_missed_is_told_by_one_and_then_what_changes(known_workers, clock, shared, said):
    engines_say()
    first, second = EnginesWatch(), EnginesWatch()
    await first.look()
    said.clear()
    clock.advance(OLD_SECONDS + 0.1)
    known_workers.append(OTHER)
    await first.look()
    status, workers = said
    assert (status.status, status.feed, status.host, workers) == ("degraded", ENGINES_AWAY, UNSET, [OTHER])
    for topic in (topics.system(), topics.system_detail()):
        assert (await held(topic)).keys() == {"system_status_update"}, "the workers of then are forgotten"
    await second.look()
    await first.look()
    assert len(said) == 2, "nothing new"
    known_workers.clear()
    await second.look()
    assert said[3:] == [[]], "a worker went"
    engines_say()
    for watch in (first, second):
        await watch.look()
    assert (await held(topics.system())).keys() == {"system_status_update", "worker_status_update"}
    assert await feed() == "elsewhere"


async def test_who_tells_of_redis_does_not_take_back_that_engines_are_missed(known_workers, clock, shared, said):
    await system_report.publish()
    assert (said[0].status, said[0].feed) == ("degraded", ENGINES_AWAY)
    engines_say()
    await system_report.publish()
    assert said[-1].feed is UNSET, "they say it themselves"
    status, workers = await system_report.snapshot(detail=False)
    assert (status.status, status.feed, len(workers)) == ("ok", UNSET, 1), "which they do within five seconds"


async def test_where_engines_run_none_are_missed(known_workers, clock, shared, market, said):
    await EnginesWatch().look()
    assert said == []


async def test_a_process_without_engines_says_nothing_of_feed_and_workers(known_workers, clock, said):
    await system_report.publish()
    [status] = said
    assert (status.feed, status.feed_age_seconds) == (UNSET, UNSET)
    assert "process_memory_mb" in status.host


async def test_what_cannot_be_read_is_passed_by(known_workers, clock):
    of_another_version = b'{"type":"system_status_update","timestamp":"2030-01-01T00:00:00Z","status":{"new":1}}'
    runtime().broker.publish_soon(Draft(topics.system_detail(), of_another_version, key="system_status_update"))
    assert (await system_report.snapshot(detail=True))[0].feed == "none"


async def test_others_are_looked_for_every_five_seconds_where_there_may_be_some(monkeypatch):
    looks = []

    async def look():
        looks.append("look")

    monkeypatch.setattr(health_watch, "health_looks", [look])
    alone = health_watch.HealthWatch(SimpleNamespace(status=BrokerStatus("memory")))
    among_others = health_watch.HealthWatch(SimpleNamespace(status=BrokerStatus("redis")))
    for _ in range(10):
        await alone.look()
    assert looks == []
    for _ in range(10):
        await among_others.look()
    assert looks == ["look", "look"]
    assert any(isinstance(each.__self__, EnginesWatch) for each in plugins.health_looks)
