"""One topic, many clients."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from benchmarks.peers.catalogue import ALL, LIMIT, NATS, OURS, WS_NODE, Peer
from benchmarks.results import Best, Row, Target, times, within
from benchmarks.traffic import Traffic
from benchmarks.workloads.base import RATES, Bench, Workload, ladder, measure

FIRST_RATE = 4.0
OPTION_CHAIN = 12  # strikes: as long a message as pays to compress
CROWDS = (10, 100, 1_000, 8_000)
FLAT = 1.15  # a cost that is at most so many times the one before has not risen: runs differ by that
SLOW_SHARE = 0.05
SLOW_RATE = 200
SLOW_OUTBOX_BYTES = 65_536
SLOW_SECONDS = 8.0  # half of it fills the megabyte that the server's kernel takes for each, and its outbox


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
        if compressed and peer.name == LIMIT:
            continue
        with bench.server(peer) as server, bench.load(server, peer, clients, compressed=compressed) as generator:
            traffic = Traffic(FIRST_RATE, strikes=OPTION_CHAIN)
            for figures in ladder(generator, server, traffic, bench.seconds):
                yield Row(COMPRESSED.name, f"{peer.name}, {label}", figures)


def _slow_readers(bench: Bench, peer: Peer) -> Iterator[Row]:
    """The same server and clients before and while some read nothing, until their buffers are full and they are cut
    off. Both times only the others are counted."""
    count = bench.count(1_000)
    deaf = max(1, round(count * SLOW_SHARE))
    traffic = Traffic(SLOW_RATE, strikes=OPTION_CHAIN)
    with (
        bench.server(peer, LIMIT_OUTBOX_BYTES=str(SLOW_OUTBOX_BYTES)) as server,
        bench.load(server, peer, bench.users(count), deaf=deaf) as generator,
    ):
        yield Row(SLOW.name, f"{peer.name}, none slow", measure(generator, server, traffic, SLOW_SECONDS))
        if peer.name == LIMIT:
            return  # it waits for each
        figures = measure(generator, server, traffic, SLOW_SECONDS, first=f"stop_reading {deaf}")
        figures["deaf_cut_off"] = generator.tell("cut_off")["cut_off_4008"] / deaf
        yield Row(SLOW.name, f"{peer.name}, 5 % slow", figures)


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
    flat = all(after <= FLAT * before for before, after in pairwise(costs))
    return " → ".join(f"{cost:.2f}" for cost in costs), flat


SATURATED = Workload(
    "fan-out-saturated",
    "Fan-out, 500 clients on one topic, saturated",
    ALL,
    _saturated,
    RATES,
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
    RATES,
    (times(1, "p99_ms", NATS, most=True), times(1, "p99_ms", WS_NODE, most=True)),
)
CROWD = Workload(
    "fan-out-8000",
    "Fan-out, 8,000 clients, 50 msg/s",
    (LIMIT, OURS, NATS, WS_NODE),
    _crowd,
    RATES,
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
    (LIMIT, OURS),
    _compressed,
    RATES,
    (times(0.7, "deliveries_per_second", f"{OURS}, plain", ours=f"{OURS}, compressed"),),
)
SLOW = Workload(
    "slow-readers",
    f"1,000 clients, {SLOW_RATE} msg/s of 1.4 KB, of whom 5 % stop reading",
    (LIMIT, OURS),
    _slow_readers,
    (*RATES, "deaf_cut_off"),
    (
        times(1.5, "p99_ms", f"{OURS}, none slow", ours=f"{OURS}, 5 % slow", most=True),
        within("deaf_cut_off", 1, f"{OURS}, 5 % slow", least=True),
        within("closed", 0, f"{OURS}, 5 % slow"),
        within("lost", 0, f"{OURS}, 5 % slow"),
    ),
)
BY_CLIENTS = Workload(
    "cost-by-clients",
    "Cost of a delivery as clients grow, 50 msg/s",
    (LIMIT, OURS),
    _by_clients,
    ("clients", "deliveries_per_second", "cpu_us_per_delivery", "p50_ms", "p99_ms", "server_cpu", "load_cpu"),
    (
        Target(
            f"CPU µs/delivery flat or falling, 10 → 8,000 clients (each at most {FLAT - 1:.0%} above the one before)",
            _flat_or_falling,
        ),
    ),
)
