"""One topic, many clients."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from benchmarks.peers.catalogue import ALL, LIMIT, NATS, OURS, WS_NODE, Peer
from benchmarks.results import Best, Row, Target, times, within
from benchmarks.traffic import Traffic
from benchmarks.workloads.base import Bench, Workload, ladder, measure

FIRST_RATE = 4.0
OPTION_CHAIN = 12  # strikes: as long a message as pays to compress
CROWDS = (10, 100, 1_000, 8_000)
SLOW_SHARE = 0.05


def _saturated(bench: Bench, peer: Peer) -> Iterator[Row]:
    clients = bench.users(bench.count(500))
    with bench.server(peer) as server, bench.load(server, peer, clients) as generator:
        for figures in ladder(generator, server, Traffic(FIRST_RATE), bench.seconds):
            yield Row(SATURATED.name, peer.name, figures)


def _paced(bench: Bench, peer: Peer) -> Iterator[Row]:
    clients = bench.users(bench.count(500))
    with bench.server(peer) as server, bench.load(server, peer, clients) as generator:
        yield Row(PACED.name, peer.name, measure(generator, server, Traffic(20), max(bench.seconds, 5 * bench.scale)))


def _crowd(bench: Bench, peer: Peer) -> Iterator[Row]:
    clients = bench.users(bench.count(8_000))
    with bench.server(peer) as server, bench.load(server, peer, clients) as generator:
        yield Row(CROWD.name, peer.name, measure(generator, server, Traffic(50), 2 * bench.seconds))


def _compressed(bench: Bench, peer: Peer) -> Iterator[Row]:
    clients = bench.users(bench.count(500))
    for label, compressed in (("plain", 0), ("compressed", 1)):
        with bench.server(peer) as server, bench.load(server, peer, clients, compressed=compressed) as generator:
            traffic = Traffic(FIRST_RATE, strikes=OPTION_CHAIN)
            for figures in ladder(generator, server, traffic, bench.seconds):
                yield Row(COMPRESSED.name, f"{peer.name}, {label}", figures)


def _slow_readers(bench: Bench, peer: Peer) -> Iterator[Row]:
    """The same server and clients before and while some read nothing; in the second part those are cut off."""
    count = bench.count(1_000)
    deaf = max(1, round(count * SLOW_SHARE))
    traffic = Traffic(20, strikes=OPTION_CHAIN)
    clients = bench.users(count)
    with bench.server(peer) as server, bench.load(server, peer, clients, deaf=deaf) as generator:
        yield Row(SLOW.name, f"{peer.name}, none slow", measure(generator, server, traffic, 2 * bench.seconds))
        generator.tell(f"stop_reading {deaf}")
        yield Row(SLOW.name, f"{peer.name}, 5 % slow", measure(generator, server, traffic, 4 * bench.seconds))


def _by_clients(bench: Bench, peer: Peer) -> Iterator[Row]:
    for crowd in CROWDS:
        clients = bench.users(bench.count(crowd))
        with bench.server(peer) as server, bench.load(server, peer, clients) as generator:
            yield Row(
                BY_CLIENTS.name, f"{peer.name}, {crowd:,}", measure(generator, server, Traffic(50), bench.seconds)
            )


def _flat_or_falling(best: Best) -> tuple[str, bool] | None:
    costs = [figures["cpu_us_per_delivery"] for peer, figures in best.items() if peer.startswith(f"{OURS}, ")]
    if len(costs) < len(CROWDS):
        return None
    flat = all(after <= 1.15 * before for before, after in pairwise(costs))
    return " → ".join(f"{cost:.2f}" for cost in costs), flat


_RATES = ("messages_per_second", "deliveries_per_second", "p50_ms", "p99_ms", "lost", "closed", "server_cpu")

SATURATED = Workload(
    "fan-out-saturated",
    "Fan-out, 500 clients on one topic, saturated",
    ALL,
    _saturated,
    _RATES,
    (
        times(200, "deliveries_per_second", "Channels, redis-pubsub"),
        times(2, "deliveries_per_second", NATS),
        times(10, "deliveries_per_second", "Socket.IO on Node"),
    ),
)
PACED = Workload(
    "fan-out-20-per-second",
    "Fan-out, 500 clients, 20 msg/s",
    ALL,
    _paced,
    _RATES,
    (times(1, "p99_ms", NATS, most=True), times(1, "p99_ms", WS_NODE, most=True)),
)
CROWD = Workload(
    "fan-out-8000",
    "Fan-out, 8,000 clients, 50 msg/s",
    (LIMIT, OURS, NATS, WS_NODE),
    _crowd,
    _RATES,
    (
        within("deliveries_per_second", 392_000, least=True),
        within("p99_ms", 250),
        within("closed", 0),
        within("lost", 0),
    ),
)
COMPRESSED = Workload(
    "fan-out-compressed",
    "Fan-out of 1.4 KB messages, with compression and without, saturated",
    (OURS,),
    _compressed,
    _RATES,
    (times(0.7, "deliveries_per_second", f"{OURS}, plain", ours=f"{OURS}, compressed"),),
)
SLOW = Workload(
    "slow-readers",
    "1,000 clients, 20 msg/s of 1.4 KB, of whom 5 % stop reading",
    (OURS,),
    _slow_readers,
    _RATES,
    (times(1.5, "p99_ms", f"{OURS}, none slow", ours=f"{OURS}, 5 % slow", most=True),),
)
BY_CLIENTS = Workload(
    "cost-by-clients",
    "Cost of a delivery as clients grow, 50 msg/s",
    (OURS,),
    _by_clients,
    ("clients", "deliveries_per_second", "cpu_us_per_delivery", "p50_ms", "p99_ms", "server_cpu"),
    (Target("CPU µs/delivery flat or falling, 10 → 8,000 clients", _flat_or_falling),),
)
