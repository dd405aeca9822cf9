"""Fan-out: one topic, many clients."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from benchmarks.machine import Load, Server, load
from benchmarks.peers.catalogue import Peer

FIRST_RATE = 4.0
LAST_RATE = 32_768.0
WORTH_GOING_ON = 1.1  # twice the messages must give at least this many times the deliveries
LEAD_SECONDS = 1.0


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """One row: what a peer did under a workload. `lost`: publications that a client did not get, between two it got."""

    workload: str
    peer: str
    clients: int
    messages_per_second: float
    deliveries_per_second: float
    p50_ms: float
    p99_ms: float
    lost: int
    closed: int
    server_cpu: float
    load_cpu: float


def saturated(
    program: Path, peer: Peer, server: Server, token: str, folder: Path, *, clients: int, seconds: float
) -> Iterator[Measured]:
    """Twice the rate again and again, until that brings no more or clients are cut off. The last row is not always the
    best one."""
    with load(program, server, peer, [peer.target(token)] * clients, folder) as generator:
        rate, best = FIRST_RATE, 0.0
        while rate <= LAST_RATE:
            row = _measure(
                generator, server, peer, workload="fan-out, saturated", clients=clients, rate=rate, seconds=seconds
            )
            yield row
            if row.closed or row.deliveries_per_second < best * WORTH_GOING_ON:
                return
            best = row.deliveries_per_second
            # Far below what it can do, eight times as much is as safe as twice.
            easy = row.server_cpu < 0.1 and row.deliveries_per_second > 0.9 * rate * clients
            rate *= 8 if easy else 2


def at_rate(
    program: Path, peer: Peer, server: Server, token: str, folder: Path, *, clients: int, rate: float, seconds: float
) -> Measured:
    """So many messages a second."""
    with load(program, server, peer, [peer.target(token)] * clients, folder) as generator:
        return _measure(
            generator, server, peer, workload=f"fan-out, {rate:g} msg/s", clients=clients, rate=rate, seconds=seconds
        )


def _measure(
    generator: Load, server: Server, peer: Peer, *, workload: str, clients: int, rate: float, seconds: float
) -> Measured:
    server.publish(rate, LEAD_SECONDS + seconds)
    generator.tell(f"measure {LEAD_SECONDS}")
    server_before, load_before = server.cpu_seconds, generator.cpu_seconds
    answer = generator.tell(f"measure {seconds}")
    row = Measured(
        workload=workload,
        peer=peer.name,
        clients=clients,
        messages_per_second=rate,
        deliveries_per_second=answer["deliveries"] / answer["seconds"],
        p50_ms=answer["latency_ms"]["p50"],
        p99_ms=answer["latency_ms"]["p99"],
        lost=answer["gaps"],
        closed=answer["closed"],
        server_cpu=(server.cpu_seconds - server_before) / answer["seconds"],
        load_cpu=(answer["cpu_seconds"] - load_before) / answer["seconds"],
    )
    _settle(generator)
    return row


def _settle(generator: Load) -> None:
    """Let what a saturated server still holds come, so that it does not count for the next step."""
    for _ in range(20):
        if generator.tell("measure 0.5")["deliveries"] == 0:
            return
