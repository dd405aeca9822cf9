"""The benchmarks run, and what they say can be believed. How fast anything is, is not tested."""

import pytest

from benchmarks import __main__ as command
from benchmarks import fan_out
from benchmarks.machine import BenchmarkFailed, Server, build_load_generator, load
from benchmarks.peers.catalogue import PEERS

OURS, CHANNELS = PEERS[0], next(peer for peer in PEERS if peer.name == "Channels, memory, uvicorn")


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    try:
        program = build_load_generator(folder)
    except BenchmarkFailed as failed:
        pytest.skip(str(failed))
    return program, *command._prepare(folder), folder


@pytest.mark.parametrize("peer", [OURS, CHANNELS], ids=lambda peer: peer.name)
def test_every_workload_runs_in_a_few_seconds(ready, peer, monkeypatch):
    program, environment, token, folder = ready
    monkeypatch.setattr(fan_out, "LAST_RATE", 4.0)
    monkeypatch.setattr(fan_out, "LEAD_SECONDS", 0.1)
    with Server(peer, environment) as server:
        rows = [
            fan_out.at_rate(program, peer, server, token, folder, clients=10, rate=50, seconds=0.5),
            *fan_out.saturated(program, peer, server, token, folder, clients=10, seconds=0.5),
        ]
    assert [row.peer for row in rows] == [peer.name] * 2
    assert all(row.deliveries_per_second > 0 and row.p99_ms > 0 for row in rows)
    assert [(row.lost, row.closed) for row in rows] == [(0, 0)] * 2


@pytest.mark.parametrize("compressed", [0, 1])
def test_the_load_generator_counts_each_delivery_of_each_client_once(ready, compressed):
    program, environment, token, folder = ready
    with (
        Server(OURS, environment) as server,
        load(program, server, OURS, [OURS.target(token)] * 7, folder, compressed=compressed) as generator,
    ):
        server.publish(rate=1_000, seconds=0.2, strikes=12)
        answer = generator.tell("measure 2")
    assert answer["deliveries"] % 7 == 0
    assert 0 < answer["deliveries"] <= 7 * 200
    assert (answer["gaps"], answer["repeats"], answer["closed"]) == (0, 0, 0)
    assert (answer["bytes"] < answer["deliveries"] * 900) == bool(compressed)
