"""Every workload runs, and what the benchmarks say can be believed. How fast anything is, is not tested."""

from __future__ import annotations

import argparse
import gc
import json
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from benchmarks import __main__ as command
from benchmarks import garbage, report
from benchmarks.garbage import watched
from benchmarks.machine import BenchmarkFailed, CannotBuild, build_load_generator, redis_server
from benchmarks.peers.catalogue import LIMIT, OURS, OURS_ON_DAPHNE, OURS_REDIS, PEERS, ROOT, Peer
from benchmarks.results import FIGURES, Results, Row, times, within
from benchmarks.traffic import Traffic
from benchmarks.workloads import WORKLOADS, addressed, base, connecting, fan_out

RESULTS = ROOT / "docs" / "benchmarks" / "results.json"


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder: Path = tmp_path_factory.mktemp("bench")
    with redis_server(folder) as url:
        try:
            yield command.prepare(folder, url, argparse.Namespace(scale=0.01, seconds=0.2))
        except CannotBuild as missing:
            pytest.skip(str(missing))


def of(name: str, bench) -> Peer:
    """The peer; skips the test where it is not installed."""
    if command._missing(PEERS[name], bench):
        pytest.skip(command._missing(PEERS[name], bench))
    return PEERS[name]


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_every_workload_runs_in_a_few_seconds(bench, workload, monkeypatch):
    assert LIMIT in workload.peers
    run(bench, workload, of(OURS if OURS in workload.peers else OURS_REDIS, bench), monkeypatch)


@pytest.mark.parametrize(
    "workload",
    [
        fan_out.COMPRESSED,
        fan_out.SLOW,
        fan_out.BY_CLIENTS,
        addressed.BETWEEN,
        connecting.STORM,
        connecting.IDLE,
        connecting.BACK_AGAIN,
    ],
    ids=lambda workload: workload.name,
)
def test_the_limit_does_what_it_can_where_a_workload_asks_for_more_than_it_does(bench, workload, monkeypatch):
    run(bench, workload, PEERS[LIMIT], monkeypatch)


def run(bench, workload, peer, monkeypatch):
    monkeypatch.setattr(base, "LAST_RATE", 16.0)
    monkeypatch.setattr(base, "SETTLE_SECONDS", 0.1)
    monkeypatch.setattr(connecting, "SETTLED_SECONDS", 0.3)
    monkeypatch.setattr("benchmarks.workloads.fan_out.CROWDS", (10, 1_000))
    monkeypatch.setattr("benchmarks.workloads.addressed.FIRST_RATE", 16.0)
    monkeypatch.setattr(fan_out, "SLOW_RATE", 4_000)
    monkeypatch.setattr(fan_out, "SLOW_SECONDS", 1.0)
    rows = list(workload.run(bench, peer))
    assert rows
    for row in rows:
        assert row.workload == workload.name
        assert row.peer.startswith(peer.name)
        assert set(row.figures) <= set(FIGURES)
        assert all(row.figures.get(name, 0) == 0 for name in ("lost", "repeated", "closed"))
        assert any(row.figures.get(name, 0) > 0 for name in ("deliveries_per_second", "connects_per_second", "clients"))
        assert row.figures.get("deaf_cut_off", 1) == 1


@pytest.mark.parametrize(
    "name",
    [
        OURS_ON_DAPHNE,
        "Channels, memory, uvicorn",
        "Channels, memory, Daphne",
        "Channels, redis-core, Daphne",
        "python-socketio",
        LIMIT,
        "ws on Node",
        "Socket.IO on Node",
        "NATS",
    ],
)
def test_a_peer_gets_the_same_messages(bench, name):
    peer = of(name, bench)
    with bench.server(peer) as server, bench.load(server, peer, bench.users(5)) as generator:
        server.publish(Traffic(100), 0.2)
        answer = generator.tell("measure 1")
    assert answer["deliveries"] == 5 * 20
    assert (answer["gaps"], answer["repeats"], answer["closed"]) == (0, 0, 0)


@pytest.mark.parametrize(
    "name", ["Channels with its auth middleware, uvicorn", "Channels with its auth middleware, Daphne"]
)
def test_a_peer_takes_connections(bench, name):
    (row,) = connecting.STORM.run(bench, of(name, bench))
    assert row.figures["clients"] == 20


@pytest.mark.parametrize("compressed", [0, 1])
def test_the_load_generator_counts_each_delivery_of_each_client_once(bench, compressed):
    peer = PEERS[OURS]
    with (
        bench.server(peer) as server,
        bench.load(server, peer, bench.users(7), compressed=compressed) as generator,
    ):
        server.publish(Traffic(20, strikes=12), 1)  # so slow that counting has begun when the first comes
        answer = generator.tell("measure 2")
    assert answer["deliveries"] == 7 * 20
    assert (answer["gaps"], answer["repeats"], answer["closed"]) == (0, 0, 0)
    assert (answer["bytes"] < answer["deliveries"] * 900) == bool(compressed)


def test_a_target_is_reached_or_missed_and_says_by_how_much():
    best = {"ours": {"p99_ms": 4.0}, "NATS": {"p99_ms": 5.0}, "Channels, memory": {"p99_ms": 100.0}}
    assert times(1, "p99_ms", "NATS", most=True).reached(best) == ("0.80 times", True)
    assert times(0.7, "p99_ms", "NATS", most=True).reached(best) == ("0.80 times", False)
    assert times(1, "p99_ms", "Socket.IO").reached(best) is None
    assert within("p99_ms", 3).reached(best) == ("4.0", False)


def test_of_several_rows_the_best_counts():
    workload = WORKLOADS[0]
    rows = [Row(workload.name, OURS, {"deliveries_per_second": rate}) for rate in (5.0, 9.0, 7.0)]
    assert report.best_of(workload, rows) == {OURS: {"deliveries_per_second": 9.0}}


def test_what_the_limit_reached_is_in_the_same_table():
    rates = {LIMIT: 200.0, "ours": 400.0, "NATS": 50.0}
    best = {peer: {"deliveries_per_second": rate} for peer, rate in rates.items()}
    assert report.to_limit(fan_out.SATURATED, best) == {LIMIT: "1.00", "ours": "2.00", "NATS": "0.25"}
    del best[LIMIT]
    assert report.to_limit(fan_out.SATURATED, best) == {}


def test_where_the_limit_has_several_rows_the_one_that_ends_alike_counts():
    rates = {f"{LIMIT}, 10": 5.0, f"{LIMIT}, 1,000": 50.0, "ours, 10": 5.0, "ours, 1,000": 100.0}
    best = {peer: {"deliveries_per_second": rate} for peer, rate in rates.items()}
    ratios = report.to_limit(fan_out.BY_CLIENTS, best)
    assert (ratios["ours, 10"], ratios["ours, 1,000"]) == ("1.00", "2.00")


def test_each_reason_for_not_measuring_is_kept(bench):
    def fails(bench, peer):
        raise BenchmarkFailed("said no")
        yield

    workloads = [replace(workload, run=fails, peers=(OURS,)) for workload in WORKLOADS[:2]]
    absent = replace(WORKLOADS[2], peers=("absent",))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "PEERS", PEERS | {"absent": replace(PEERS[LIMIT], name="absent", programs=("nowhere",))})
        rows, skipped = command._run_all(bench, [*workloads, absent], [])
    assert rows == []
    assert skipped == {
        f"{WORKLOADS[0].name}, {OURS}": "said no",
        f"{WORKLOADS[1].name}, {OURS}": "said no",
        "absent": "not installed: nowhere",
    }


def test_a_load_generator_that_does_not_build_is_told_from_a_compiler_that_is_not_there(bench, tmp_path, monkeypatch):
    broken = tmp_path / "broken.c"
    broken.write_text("int main(void) { return nothing; }")
    monkeypatch.setattr("benchmarks.machine.SOURCE", broken)
    with pytest.raises(BenchmarkFailed, match="does not build") as failed:
        build_load_generator(tmp_path)
    assert not isinstance(failed.value, CannotBuild)
    monkeypatch.setattr("benchmarks.machine.shutil.which", lambda name: None)
    with pytest.raises(CannotBuild):
        build_load_generator(tmp_path)


async def test_collecting_garbage_counts_for_whoever_set_it_off():
    async def answer(path: str) -> bytes:
        sent = []

        async def send(event):
            sent.append(event)

        await application({"type": "http", "path": path}, None, send)
        return sent[-1]["body"]

    async def plain(scope, receive, send):
        await send({"type": "http.response.body", "body": b"plain"})

    application = watched(plain)
    try:
        await answer(garbage.PATH)
        gc.collect()
        collections = json.loads(await answer(garbage.PATH))
        assert any(f"({Path('tests/benchmarks', Path(__file__).name)}:" in stack[-1] for stack, _ in collections)
        assert all(seconds >= 0 for _, seconds in collections)
        assert await answer("/") == b"plain"
    finally:
        gc.callbacks.pop()


def test_the_numbers_in_the_docs_are_those_of_the_last_run():
    results = msgspec.json.decode(RESULTS.read_bytes(), type=Results)
    assert (RESULTS.parent / "results.md").read_text() == report.full(results)
    assert report.BEGIN + report.summary(results) + report.END in report.README.read_text()
