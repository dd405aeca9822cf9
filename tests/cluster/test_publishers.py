"""Who publishes: a Celery worker, a view and a thread at once; a transaction rolled back; a process killed."""

from __future__ import annotations

import signal
import sys
import threading

import pytest

from tests.cluster.conftest import SERVICE_KEY
from tests.cluster.signals import signal_of
from tests.conftest import wait_until
from tests.processes import start

EACH = 60


@pytest.mark.timeout(120)
def test_a_celery_worker_a_view_and_a_thread_publish_at_once(system):
    tokens = system.seed(1)
    system.variables["CELERY_BROKER_URL"] = system.redis.url.replace("/0", "/1")
    node = system.serve()
    worker = start(
        *(sys.executable, "-m", "celery", "-A", "tests.cluster.celery_app", "worker", "--concurrency", "2"),
        *("--pool", "prefork", "--loglevel", "warning"),
        tmp_path=system.tmp_path,
        **system.variables,
    )
    client = node.open("trading/signals/", tokens["SYM0"])
    client.until("recent_signals")
    try:
        system.python("tests.cluster.celery_app", EACH)  # queues a task per signal
        threads = [
            threading.Thread(target=system.python, args=("tests.cluster.threads", EACH)),
            threading.Thread(target=publish_over_http, args=(node, EACH)),
        ]
        for thread in threads:
            thread.start()
        got = [client.until("new_signal", timeout=30) for _ in range(4 * EACH)]
        for thread in threads:
            thread.join()
    finally:
        worker.send_signal(signal.SIGTERM)
        _, err = worker.communicate(timeout=20)
    assert "Traceback" not in err, err
    assert [message["offset"] for message in got] == list(range(1, 4 * EACH + 1))
    ids = [message["signal"]["id"] for message in got]
    assert sorted(ids) == sorted(f"{name}:{n}" for name in ("celery", "http", "t0", "t1") for n in range(EACH))
    for name in ("http", "t0", "t1"):
        assert [i for i in ids if i.startswith(name)] == [f"{name}:{n}" for n in range(EACH)]


def publish_over_http(node, count):
    for n in range(count):
        item = {"notify": "broadcast_signal", "arguments": {"signal": signal_of("http", "SYM0", n)}}
        node.post("/api/realtime/publish/", {"items": [item]}, SERVICE_KEY)


@pytest.mark.timeout(120)
def test_what_is_rolled_back_is_not_published_and_what_is_committed_is_once_even_by_a_process_that_dies(system):
    tokens = system.seed(1)
    node = system.serve()
    client = node.open("trading/executions/", tokens["SYM0"])
    client.until("recent_executions")
    for how in ("rolled-back", "killed-before-commit", "committed", "killed-after-commit", "killed-after-publishing"):
        process = system.start("tests.cluster.dying", how)
        _, err = process.communicate(timeout=30)
        assert process.returncode == (-signal.SIGKILL if how.startswith("killed") else 0), err
    got = [client.until("trade_executed", timeout=15) for _ in range(3)]
    assert sorted(message["execution"]["id"] for message in got) == [
        "committed",
        "killed-after-commit",
        "killed-after-publishing",
    ]
    assert sorted(message["offset"] for message in got) == [1, 2, 3]
    wait_until(lambda: node.metrics()["sharewise_outbox_waiting"] == 0, "the outbox was not emptied")
    assert node.metrics()["sharewise_outbox_lag_seconds"] == 0
    assert client.answer("ping")["type"] == "pong"
    assert sum(message["type"] == "trade_executed" for message in client.received) == 3


@pytest.mark.timeout(120)
def test_a_script_with_an_event_loop_of_its_own_and_a_forked_child_publish_before_they_end(system):
    tokens = system.seed(1)
    node = system.serve()
    client = node.open("trading/signals/", tokens["SYM0"])
    client.until("recent_signals")
    system.python("tests.cluster.short_lived", 10)
    got = {client.until("new_signal")["signal"]["id"] for _ in range(30)}
    assert got == {f"{name}:{n}" for name in ("loop", "layer", "child") for n in range(10)}


@pytest.mark.timeout(120)
def test_the_embedded_profile_publishes_after_a_restart_what_it_had_committed(tmp_path, django_db_setup):
    from tests.cluster.conftest import System

    class NoRedis:
        url = ""

    system = System(tmp_path, NoRedis())
    tokens = system.seed(1)
    process = system.start("tests.cluster.dying", "killed-after-commit")
    process.communicate(timeout=30)
    node = system.serve()
    client = node.open("trading/executions/", tokens["SYM0"], since="")
    try:
        wait_until(lambda: node.metrics()["sharewise_outbox_waiting"] == 0, "the outbox was not emptied")
        client.until("recent_executions")
        since = client.received[0]["subscriptions"][0]
        again = node.open("trading/executions/", tokens["SYM0"], since=f"{since['topic']}:{since['epoch']}:0")
        assert again.until("trade_executed")["execution"]["id"] == "killed-after-commit"
    finally:
        system.stop()
