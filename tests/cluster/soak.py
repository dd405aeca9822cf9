"""Is memory flat? 2,000 publications a second on 10,000 topics at a time, each of which lives for five seconds.

    python -m tests.cluster.soak [--seconds 600]

Starts a Redis, a server and two publishers of its own, shows what they hold, and ends with 1 when it still grows in the
last third of the time. Clients come, subscribe to some of the topics, and go.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import msgspec
import websockets
from rich.live import Live
from rich.table import Table

from tests.cluster.conftest import System
from tests.processes import Served
from tests.redis_server import RedisServer

RATE = 2_000
TOPICS = 10_000
TOPIC_SECONDS = 5
PUBLISHERS = 2
CLIENTS = 20
SYMBOLS_PER_CLIENT = 20
KNOWN_PER_GENERATION = 100  # only known instruments can be subscribed
HISTORY_SECONDS = 1
SAMPLE_SECONDS = 1.0
ALLOWED_GROWTH = 0.05
ALLOWED_SERVER_BYTES = 8_000_000


class Sample(msgspec.Struct):
    """What was held at one moment, in bytes; and how many keys Redis had."""

    seconds: float
    redis: int
    server: int
    keys: int
    queued: int


async def soak(seconds: float, say: bool) -> list[Sample]:
    """Run it; a sample a second."""
    with tempfile.TemporaryDirectory(prefix="sharewise-soak-") as folder:
        redis = RedisServer("--appendonly", "no").start()
        system = System(Path(folder), redis)
        system.variables["HISTORY_SECONDS"] = str(HISTORY_SECONDS)
        try:
            tokens = system.seed(1)
            first = int(time.time() / TOPIC_SECONDS)
            generations = int(seconds / TOPIC_SECONDS) + 10
            system.python("tests.cluster.soak_instruments", first, generations, KNOWN_PER_GENERATION)
            node = system.serve()
            publishers = [
                system.start("tests.cluster.soak_publisher", f"p{n}", RATE / PUBLISHERS, TOPICS, TOPIC_SECONDS, seconds)
                for n in range(PUBLISHERS)
            ]
            received: Counter[str] = Counter()
            visitors = [asyncio.create_task(visit(node, tokens["SYM0"], received)) for _ in range(CLIENTS)]
            samples = await watch(redis, node, seconds, say)
            for visitor in visitors:
                visitor.cancel()
            await asyncio.gather(*visitors, return_exceptions=True)
            assert received["new_signal"] > seconds, f"the visitors got only {received}"
            for publisher in publishers:
                out, err = await asyncio.to_thread(publisher.communicate)
                assert publisher.returncode == 0, err
                published = json.loads(out)["published"]
                assert published > 0.9 * seconds * RATE / PUBLISHERS, f"only {published} publications"
        finally:
            system.stop()
            redis.destroy()
    return samples


async def visit(node: Served, token: str, received: Counter[str]) -> None:
    """Come, follow some topics for a moment, go, and come again."""
    while True:
        async with websockets.connect(node.url("trading/signals/", token)) as socket:
            generation = int(time.time() / TOPIC_SECONDS)
            for symbol in random.sample(range(KNOWN_PER_GENERATION), SYMBOLS_PER_CLIENT):
                command = {"type": "subscribe_symbol", "symbol": f"G{generation}-{symbol}"}
                await socket.send(json.dumps(command))
            try:
                async with asyncio.timeout(random.uniform(1, 5)):
                    async for text in socket:
                        received[json.loads(text)["type"]] += 1
            except TimeoutError:
                pass


async def watch(redis: RedisServer, node: Served, seconds: float, say: bool) -> list[Sample]:
    samples: list[Sample] = []
    client = redis.client()
    started = time.monotonic()
    with Live(console=None if say else _silent(), refresh_per_second=2) as live:
        while (elapsed := time.monotonic() - started) < seconds:
            await asyncio.sleep(SAMPLE_SECONDS)
            used = int((await asyncio.to_thread(client.info, "memory"))["used_memory"])
            queued = int((await asyncio.to_thread(node.metrics))["sharewise_broker_queued"])
            samples.append(Sample(elapsed, used, node.memory_bytes(), client.dbsize(), queued))
            live.update(_table(samples[-1], seconds))
    return samples


def _silent():
    from rich.console import Console

    return Console(quiet=True)


def _table(sample: Sample, seconds: float) -> Table:
    table = Table(title=f"{sample.seconds:.0f} of {seconds:.0f} s")
    for heading in ("Redis", "keys", "server", "queued"):
        table.add_column(heading, justify="right")
    table.add_row(
        f"{sample.redis / 1e6:.1f} MB", f"{sample.keys:,}", f"{sample.server / 1e6:.1f} MB", str(sample.queued)
    )
    return table


def growth(samples: list[Sample], field: str) -> tuple[float, float]:
    """The mean of the middle third, and of the last."""
    third = len(samples) // 3
    middle, last = samples[third : 2 * third], samples[2 * third :]
    return statistics.mean(getattr(s, field) for s in middle), statistics.mean(getattr(s, field) for s in last)


def verdict(samples: list[Sample]) -> list[str]:
    """What still grows; nothing when all is flat."""
    found = []
    for field, extra in (("redis", 0), ("server", ALLOWED_SERVER_BYTES)):
        middle, last = growth(samples, field)
        if last > middle * (1 + ALLOWED_GROWTH) + extra:
            found.append(f"{field} grew from {middle / 1e6:.1f} MB to {last / 1e6:.1f} MB")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600, help="how long (default: %(default)g)")
    found = verdict(samples := asyncio.run(soak(parser.parse_args().seconds, say=True)))
    for field in ("redis", "server"):
        middle, last = growth(samples, field)
        print(f"{field}: {middle / 1e6:.1f} MB in the middle third, {last / 1e6:.1f} MB in the last")
    print("; ".join(found) or "Memory is flat.")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
