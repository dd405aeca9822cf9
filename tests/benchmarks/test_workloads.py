"""Every workload runs, and what the benchmarks say can be believed. How fast anything is, is not tested."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec
import pytest

from benchmarks import __main__ as command
from benchmarks import report
from benchmarks.machine import BenchmarkFailed, redis_server
from benchmarks.peers.catalogue import OURS, OURS_REDIS, PEERS, ROOT
from benchmarks.results import FIGURES, Results, Row, times, within
from benchmarks.traffic import Traffic
from benchmarks.workloads import WORKLOADS, base

RESULTS = ROOT / "docs" / "benchmarks" / "results.json"


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder: Path = tmp_path_factory.mktemp("bench")
    with redis_server(folder) as url:
        try:
            yield command.prepare(folder, url, argparse.Namespace(scale=0.01, seconds=0.2))
        except BenchmarkFailed as failed:
            pytest.skip(str(failed))


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_every_workload_runs_in_a_few_seconds(bench, workload, monkeypatch):
    monkeypatch.setattr(base, "LAST_RATE", 16.0)
    monkeypatch.setattr("benchmarks.workloads.fan_out.CROWDS", (10, 1_000))
    monkeypatch.setattr("benchmarks.workloads.addressed.FIRST_RATE", 16.0)
    peer = PEERS[OURS if OURS in workload.peers else OURS_REDIS]
    if command._missing(peer, bench):
        pytest.skip(command._missing(peer, bench))
    rows = list(workload.run(bench, peer))
    assert rows
    for row in rows:
        assert row.workload == workload.name
        assert row.peer.startswith(peer.name)
        assert set(row.figures) <= set(FIGURES)
        assert all(row.figures.get(name, 0) == 0 for name in ("lost", "repeated", "closed"))
        assert any(row.figures.get(name, 0) > 0 for name in ("deliveries_per_second", "connects_per_second", "clients"))


@pytest.mark.parametrize("name", ["Channels, memory, uvicorn", "os.write, the limit", "ws on Node"])
def test_a_peer_gets_the_same_messages(bench, name):
    peer = PEERS[name]
    if command._missing(peer, bench):
        pytest.skip(command._missing(peer, bench))
    with bench.server(peer) as server, bench.load(server, peer, bench.users(5)) as generator:
        server.publish(Traffic(1_000), 0.1)
        answer = generator.tell("measure 1")
    assert answer["deliveries"] == 5 * 100
    assert (answer["gaps"], answer["repeats"], answer["closed"]) == (0, 0, 0)


@pytest.mark.parametrize("compressed", [0, 1])
def test_the_load_generator_counts_each_delivery_of_each_client_once(bench, compressed):
    peer = PEERS[OURS]
    with (
        bench.server(peer) as server,
        bench.load(server, peer, bench.users(7), compressed=compressed) as generator,
    ):
        server.publish(Traffic(1_000, strikes=12), 0.2)
        answer = generator.tell("measure 2")
    assert answer["deliveries"] == 7 * 200
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


def test_the_numbers_in_the_docs_are_those_of_the_last_run():
    results = msgspec.json.decode(RESULTS.read_bytes(), type=Results)
    assert (RESULTS.parent / "results.md").read_text() == report.full(results)
    assert report.BEGIN + report.summary(results) + report.END in report.README.read_text()
