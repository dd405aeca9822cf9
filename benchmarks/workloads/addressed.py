"""Many topics: each user's own, and symbols that some follow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

from benchmarks.machine import LOAD_CORE, Server
from benchmarks.peers.catalogue import LIMIT, OURS, OURS_REDIS, Client, Peer
from benchmarks.results import Row, times, within
from benchmarks.traffic import Traffic
from benchmarks.workloads.base import RATES, Bench, Workload, ladder, measure

USERS = 5_000
FOLLOWERS, SYMBOLS, FOLLOWED = 2_000, 200, 20
PAIRS = 100
FIRST_RATE = 1_000.0


def owners(bench: Bench) -> list[Client]:
    """A client per user, each with a topic of its own."""
    count = min(bench.count(USERS), len(bench.clients))
    return [replace(client, topics=(n,), personal=True) for n, client in enumerate(bench.clients[:count])]


def _personal_paced(bench: Bench, peer: Peer) -> Iterator[Row]:
    clients = owners(bench)
    traffic = Traffic(len(clients), topics=len(clients), personal=True)
    with bench.server(peer) as server, bench.load(server, peer, clients, topics=len(clients)) as generator:
        yield Row(PERSONAL.name, peer.name, measure(generator, server, traffic, 2 * bench.seconds))


def _personal_saturated(bench: Bench, peer: Peer) -> Iterator[Row]:
    clients = owners(bench)
    traffic = Traffic(FIRST_RATE, topics=len(clients), personal=True)
    with bench.server(peer) as server, bench.load(server, peer, clients, topics=len(clients)) as generator:
        for figures in ladder(generator, server, traffic, bench.seconds):
            yield Row(PERSONAL_SATURATED.name, peer.name, figures)


def _symbols(bench: Bench, peer: Peer) -> Iterator[Row]:
    clients = [
        replace(client, topics=tuple((n * FOLLOWED + k) % SYMBOLS for k in range(FOLLOWED)))
        for n, client in enumerate(bench.users(bench.count(FOLLOWERS)))
    ]
    with bench.server(peer) as server, bench.load(server, peer, clients, topics=SYMBOLS) as generator:
        yield Row(SYMBOLWISE.name, peer.name, measure(generator, server, Traffic(2_000, SYMBOLS), 2 * bench.seconds))


def _between_processes(bench: Bench, peer: Peer) -> Iterator[Row]:
    """The publisher is a second server, on the other core, to which nobody is connected. The limit knows no second one:
    there publisher and clients share a process."""
    clients = [replace(client, topics=(n,)) for n, client in enumerate(bench.users(min(PAIRS, bench.count(PAIRS))))]
    traffic = Traffic(5_000 * min(1.0, bench.scale * 10), topics=len(clients))
    with ExitStack() as stack:
        server = stack.enter_context(bench.server(peer))
        publisher = None
        if peer.name != LIMIT:
            publisher = stack.enter_context(Server(peer, bench.environment, core=LOAD_CORE))
        generator = stack.enter_context(bench.load(server, peer, clients, topics=len(clients)))
        figures = measure(generator, server, traffic, 2 * bench.seconds, publisher=publisher)
    yield Row(BETWEEN.name, f"{peer.name}, in one process" if peer.name == LIMIT else peer.name, figures)


_CHANNELS = ("Channels, memory, uvicorn", "Channels, redis-core, uvicorn", "Channels, redis-pubsub, uvicorn")

PERSONAL = Workload(
    "personal",
    "Personal topics: 5,000 users, one message each per second",
    (OURS, OURS_REDIS, LIMIT),
    _personal_paced,
    RATES,
    (within("p99_ms", 100), within("p99_ms", 100, OURS_REDIS), within("lost", 0), within("lost", 0, OURS_REDIS)),
)
PERSONAL_SATURATED = Workload(
    "personal-saturated",
    "Personal topics: 5,000 users, saturated",
    (OURS, OURS_REDIS, *_CHANNELS, LIMIT),
    _personal_saturated,
    RATES,
    (
        times(5, "deliveries_per_second", "Channels, memory"),
        times(5, "deliveries_per_second", "Channels, redis", ours=OURS_REDIS),
    ),
)
SYMBOLWISE = Workload(
    "symbols",
    "Symbols: 2,000 clients follow 20 of 200 symbols, each symbol 10 msg/s",
    (OURS, LIMIT),
    _symbols,
    RATES,
    (
        within("deliveries_per_second", 392_000, least=True),
        within("p99_ms", 250),
        within("closed", 0),
        within("lost", 0),
    ),
)
BETWEEN = Workload(
    "between-processes",
    "From process to process through Redis: publish in one, deliver in another, 5,000/s",
    (LIMIT, OURS_REDIS),
    _between_processes,
    RATES,
    (within("p99_ms", 10, OURS_REDIS), within("lost", 0, OURS_REDIS)),
)
