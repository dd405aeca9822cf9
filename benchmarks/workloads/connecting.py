"""Connecting, being connected, and coming back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from benchmarks.peers.catalogue import LIMIT, OURS, OURS_ON_DAPHNE, Peer
from benchmarks.results import Row, times, within
from benchmarks.traffic import Traffic
from benchmarks.workloads.base import Bench, Workload

MISSED = 100
SETTLED_SECONDS = 1.0


def _name(peer: Peer) -> str:
    """The limit takes connections, too; but nobody has to say who it is, and nothing is sent but a welcome."""
    return f"{peer.name}, a bare connection" if peer.name == LIMIT else peer.name


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
                "load_cpu": generator.cpu_seconds / took,
            }
    yield Row(STORM.name, _name(peer), figures)


def _idle(bench: Bench, peer: Peer) -> Iterator[Row]:
    clients = bench.users(bench.count(8_000))
    with bench.server(peer) as server:
        with bench.load(server, peer, clients[:10]):
            before = server.resident_bytes  # all that the first connection loads is loaded
        with bench.load(server, peer, clients) as generator:
            generator.tell(f"measure {SETTLED_SECONDS}")
            kib = (server.resident_bytes - before) / 1024 / len(clients)
    yield Row(IDLE.name, _name(peer), {"clients": float(len(clients)), "kib_per_connection": kib})


def _back_again(bench: Bench, peer: Peer) -> Iterator[Row]:
    clients = bench.users(bench.count(5_000))
    missed = MISSED
    if peer.name == LIMIT:  # it keeps nothing that could be missed
        clients = [replace(client, topics=()) for client in clients]
        missed = 0
    with (
        bench.server(peer) as server,
        bench.load(server, peer, clients, resume="trading.signals.symbol.") as generator,
    ):
        server.publish(Traffic(100), 0.2)  # so that everybody stands somewhere
        generator.tell(f"measure {SETTLED_SECONDS}")
        generator.tell("drop")
        server.publish(Traffic(1_000), MISSED / 1_000)
        generator.tell(f"measure {SETTLED_SECONDS}")
        before, load_before = server.cpu_seconds, generator.cpu_seconds
        answer = generator.tell(f"resume {missed}")
        figures = {
            "clients": float(answer["ready"]),
            "seconds": answer["seconds"],
            "connects_per_second": answer["ready"] / answer["seconds"],
            "deliveries_per_second": answer["deliveries"] / answer["seconds"],
            "lost": float(answer["gaps"] + missed * len(clients) - answer["deliveries"]),
            "repeated": float(answer["repeats"]),
            "server_cpu": (server.cpu_seconds - before) / answer["seconds"],
            "load_cpu": (generator.cpu_seconds - load_before) / answer["seconds"],
        }
    yield Row(BACK_AGAIN.name, _name(peer), figures)


_CPU = ("server_cpu", "load_cpu")
_CONNECTING = (LIMIT, OURS, OURS_ON_DAPHNE, *(f"Channels with its auth middleware, {s}" for s in ("uvicorn", "Daphne")))

STORM = Workload(
    "connect-storm",
    "Connect storm: 2,000 users authenticate and get their snapshot",
    _CONNECTING,
    _storm,
    ("clients", "connects_per_second", "seconds", *_CPU),
    (times(3, "connects_per_second", "Channels with its auth middleware"),),
    best_by="connects_per_second",
)
IDLE = Workload(
    "idle-memory",
    "Memory per idle connection, 8,000 connections",
    _CONNECTING,
    _idle,
    ("clients", "kib_per_connection"),
    (within("kib_per_connection", 25), times(0.7, "kib_per_connection", "Channels", most=True)),
    best_by="clients",
)
BACK_AGAIN = Workload(
    "reconnect-storm",
    "Reconnect storm: 5,000 clients drop, miss 100 messages each, and resume",
    (LIMIT, OURS),
    _back_again,
    ("clients", "seconds", "connects_per_second", "deliveries_per_second", "lost", "repeated", *_CPU),
    (within("seconds", 10), within("lost", 0), within("repeated", 0)),
    best_by="clients",
)
