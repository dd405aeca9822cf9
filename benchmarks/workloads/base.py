"""What a workload is, and what it works with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.machine import Load, Server, load
from benchmarks.peers.catalogue import Client, Peer
from benchmarks.results import Row, Target
from benchmarks.traffic import Traffic

LAST_RATE = 65_536.0
WORTH_GOING_ON = 1.1  # twice the messages must give at least this many times the deliveries
LEAD_SHARE = 1 / 3  # of the time that is measured
SETTLE_SECONDS = 0.5
SETTLE_TRIES = 20

# What most workloads show.
RATES = ("messages_per_second", "deliveries_per_second", "p50_ms", "p99_ms", "lost", "closed", "server_cpu", "load_cpu")


@dataclass(frozen=True)
class Bench:
    """What every workload needs. `scale` shrinks the number of clients, for a quick look."""

    program: Path
    folder: Path
    environment: dict[str, str]
    clients: Sequence[Client]
    seconds: float
    scale: float = 1.0

    def count(self, clients: int) -> int:
        """So many clients, at this scale."""
        return max(10, round(clients * self.scale))

    def server(self, peer: Peer, **environment: str) -> Server:
        """The peer's server, to be used as a context manager. Each workload has one of its own: none pays for the one
        before."""
        return Server(peer, self.environment | environment)

    def users(self, count: int) -> list[Client]:
        """So many clients, each a user of its own as far as there are enough."""
        return [self.clients[n % len(self.clients)] for n in range(count)]

    @contextmanager
    def load(self, server: Server, peer: Peer, clients: Sequence[Client], **options: object) -> Iterator[Load]:
        """Clients that are connected and follow their topics."""
        with load(self.program, server, peer, clients, self.folder, **options) as g:
            yield g


@dataclass(frozen=True)
class Workload:
    """`run` measures one peer and yields figures: several, where it looks for the most. `best_by` says which of them
    counts."""

    name: str
    title: str
    peers: tuple[str, ...]
    run: Callable[[Bench, Peer], Iterator[Row]]
    columns: tuple[str, ...]
    targets: tuple[Target, ...] = ()
    best_by: str = "deliveries_per_second"


def measure(
    generator: Load,
    server: Server,
    traffic: Traffic,
    seconds: float,
    *,
    publisher: Server | None = None,
    first: str = "",
) -> dict[str, float]:
    """Publish (on the server itself, unless there is another), let it settle in, tell the load generator `first`, and
    count. The figures."""
    lead_seconds = seconds * LEAD_SHARE
    (publisher or server).publish(traffic, lead_seconds + seconds)
    generator.tell(f"measure {lead_seconds}")
    if first:
        generator.tell(first)
    server_before, load_before = server.cpu_seconds, generator.cpu_seconds
    answer = generator.tell(f"measure {seconds}")
    used = server.cpu_seconds - server_before
    figures = {
        "clients": float(answer["clients"]),
        "messages_per_second": traffic.rate,
        "deliveries_per_second": answer["deliveries"] / answer["seconds"],
        "cpu_us_per_delivery": 1e6 * used / max(answer["deliveries"], 1),
        "p50_ms": answer["latency_ms"]["p50"],
        "p99_ms": answer["latency_ms"]["p99"],
        "lost": float(answer["gaps"]),
        "repeated": float(answer["repeats"]),
        "closed": float(answer["closed"]),
        "server_cpu": used / answer["seconds"],
        "load_cpu": (generator.cpu_seconds - load_before) / answer["seconds"],
    }
    settle(generator)
    return figures


def ladder(generator: Load, server: Server, traffic: Traffic, seconds: float) -> Iterator[dict[str, float]]:
    """Twice the rate again and again, until that brings no more or clients are cut off. The last figures are not always
    the best ones."""
    rate, best = traffic.rate, 0.0
    while rate <= LAST_RATE:
        figures = measure(generator, server, replace(traffic, rate=rate), seconds)
        yield figures
        reached = figures["deliveries_per_second"]
        if figures["closed"] or reached < best * WORTH_GOING_ON:
            return
        best = reached
        # Far below what it can do, eight times as much is as safe as twice.
        easy = figures["server_cpu"] < 0.1 and figures["p99_ms"] < 50
        rate *= 8 if easy else 2


def settle(generator: Load) -> None:
    """Let what a saturated server still holds come, so that it does not count for the next step."""
    for _ in range(SETTLE_TRIES):
        if generator.tell(f"measure {SETTLE_SECONDS}")["deliveries"] == 0:
            return
