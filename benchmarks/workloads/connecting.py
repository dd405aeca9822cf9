"""Connecting, being connected, and coming back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from benchmarks.peers.catalogue import OURS, Peer
from benchmarks.results import Row, times, within
from benchmarks.traffic import Traffic
from benchmarks.workloads.base import Bench, Workload

MISSED = 100
SETTLED_SECONDS = 1.0


def _storm(bench: Bench, peer: Peer) -> Iterator[Row]:
    clients = [replace(client, topics=()) for client in bench.users(bench.count(2_000))]
    with bench.server(peer) as server:
        before = server.cpu_seconds
        with bench.load(server, peer, clients) as generator:
            took = generator.connected["seconds"]
            figures = {
                "clients": float(len(clients)),
                "connects_per_second": len(clients) / took,
                "seconds": took,
                "server_cpu": (server.cpu_seconds - before) / took,
            }
    yield Row(STORM.name, peer.name, figures)


def _idle(bench: Bench, peer: Peer) -> Iterator[Row]:
    clients = bench.users(bench.count(8_000))
    with bench.server(peer) as server:
        with bench.load(server, peer, clients[:10]):
            before = server.resident_bytes  # all that the first connection loads is loaded
        with bench.load(server, peer, clients) as generator:
            generator.tell(f"measure {SETTLED_SECONDS}")
            kib = (server.resident_bytes - before) / 1024 / len(clients)
    yield Row(IDLE.name, peer.name, {"clients": float(len(clients)), "kib_per_connection": kib})


def _back_again(bench: Bench, peer: Peer) -> Iterator[Row]:
    clients = bench.users(bench.count(5_000))
    with (
        bench.server(peer) as server,
        bench.load(server, peer, clients, resume="trading.signals.symbol.") as generator,
    ):
        server.publish(Traffic(100), 0.2)  # so that everybody stands somewhere
        generator.tell("measure 1")
        generator.tell("drop")
        server.publish(Traffic(1_000), MISSED / 1_000)
        generator.tell("measure 1")
        before = server.cpu_seconds
        answer = generator.tell(f"resume {MISSED}")
        figures = {
            "clients": float(answer["ready"]),
            "seconds": answer["seconds"],
            "connects_per_second": answer["ready"] / answer["seconds"],
            "deliveries_per_second": answer["deliveries"] / answer["seconds"],
            "lost": float(answer["gaps"] + MISSED * len(clients) - answer["deliveries"]),
            "repeated": float(answer["repeats"]),
            "server_cpu": (server.cpu_seconds - before) / answer["seconds"],
        }
    yield Row(BACK_AGAIN.name, peer.name, figures)


STORM = Workload(
    "connect-storm",
    "Connect storm: 2,000 users authenticate and get their snapshot",
    (OURS, "ours on Daphne", "Channels with its auth middleware, uvicorn", "Channels with its auth middleware, Daphne"),
    _storm,
    ("clients", "connects_per_second", "seconds", "server_cpu"),
    (times(3, "connects_per_second", "Channels with its auth middleware"),),
    best_by="connects_per_second",
)
IDLE = Workload(
    "idle-memory",
    "Memory per idle connection, 8,000 connections",
    (OURS, "ours on Daphne", "Channels with its auth middleware, uvicorn", "Channels with its auth middleware, Daphne"),
    _idle,
    ("clients", "kib_per_connection"),
    (within("kib_per_connection", 25), times(0.7, "kib_per_connection", "Channels", most=True)),
    best_by="clients",
)
BACK_AGAIN = Workload(
    "reconnect-storm",
    "Reconnect storm: 5,000 clients drop, miss 100 messages each, and resume",
    (OURS,),
    _back_again,
    ("clients", "seconds", "connects_per_second", "deliveries_per_second", "lost", "repeated", "server_cpu"),
    (within("seconds", 10), within("lost", 0), within("repeated", 0)),
    best_by="clients",
)
