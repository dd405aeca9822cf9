"""Many careful clients: each keeps what it got and where it stands, and comes back with `since` when it is cut off."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import websockets

WITH_SINCE = {1006, 1011, 1012, 4008, 4010}
CONNECT_SECONDS = 10


class Client:
    """One client of the signals stream; `symbol` is what its user watches."""

    def __init__(self, ports: Sequence[int], token: str, symbol: str) -> None:
        self._ports = ports
        self._token = token
        self.symbol = symbol
        self.topic = f"trading.signals.symbol.{symbol}"
        self.since: dict[str, tuple[str, int]] = {}
        self.got: list[tuple[str, int | None]] = []  # signal id, offset
        self.welcomes: list[dict[str, Any]] = []
        self.snapshots: list[dict[str, Any]] = []
        self.closes: Counter[int] = Counter()
        self.errors: list[str] = []
        self.connected_to: int | None = None
        self.reconnect_after_ms: list[int] = []

    async def run(self) -> None:
        while True:
            port = random.choice(self._ports)
            since = ",".join(f"{topic}:{epoch}:{offset}" for topic, (epoch, offset) in self.since.items())
            url = f"ws://127.0.0.1:{port}/ws/trading/signals/?token={self._token}" + (
                f"&since={since}" if since else ""
            )
            try:
                async with websockets.connect(url, open_timeout=CONNECT_SECONDS, ping_interval=None) as socket:
                    self.connected_to = port
                    async for text in socket:
                        self._take(json.loads(text))
                self.closes[socket.close_code or 1006] += 1
            except websockets.ConnectionClosed as closed:
                self.closes[closed.rcvd.code if closed.rcvd else 1006] += 1
            except (OSError, TimeoutError, websockets.InvalidHandshake, websockets.InvalidMessage):
                self.closes[0] += 1
            finally:
                self.connected_to = None
            await asyncio.sleep(random.uniform(0, 0.3))  # full jitter, as the protocol asks for

    def _take(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "welcome":
            self.welcomes.append(message)
            for subscription in message["subscriptions"]:
                self.since[subscription["topic"]] = (subscription["epoch"], subscription["offset"])
        elif kind == "recent_signals":
            self.snapshots.append(message)
        elif kind == "new_signal":
            self.got.append((message["signal"]["id"], message.get("offset")))
            if "offset" in message:
                self._stand(message["topic"], message["offset"])
        elif kind == "heartbeat":
            for topic, offset in message["offsets"].items():
                self._stand(topic, offset)
        elif kind == "reconnect":
            self.reconnect_after_ms.append(message["after_ms"])
        elif kind == "error":
            self.errors.append(message["error"])

    def _stand(self, topic: str, offset: int) -> None:
        epoch, before = self.since[topic]
        assert offset >= before, f"{topic} went back from {before} to {offset}"
        self.since[topic] = (epoch, offset)


class Swarm:
    """`per_symbol` clients for each (symbol, token)."""

    def __init__(self, ports: Sequence[int], tokens: dict[str, str], per_symbol: int) -> None:
        self.clients = [Client(ports, token, symbol) for symbol, token in tokens.items() for _ in range(per_symbol)]
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        self._tasks = [asyncio.create_task(client.run()) for client in self.clients]
        await self.until(lambda: all(client.welcomes for client in self.clients), "not everybody got in", 60)

    async def until(self, condition: Any, what: str, seconds: float) -> None:
        deadline = asyncio.get_running_loop().time() + seconds
        while not condition():
            for task in self._tasks:
                if task.done():
                    task.result()
            assert asyncio.get_running_loop().time() < deadline, what
            await asyncio.sleep(0.05)

    async def stop(self) -> None:
        """Raises what a client failed with."""
        for task in self._tasks:
            task.cancel()
        for outcome in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome


def published_of(results: Sequence[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """symbol -> publisher -> how many."""
    published: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for result in results:
        for symbol, count in result["published"].items():
            published[symbol][result["name"]] = count
    return published


def problems(client: Client, published: dict[str, int]) -> list[str]:
    """Where what a client got is not what was published: lost, duplicated or out of a publisher's order."""
    found = []
    by_publisher: defaultdict[str, list[int]] = defaultdict(list)
    for signal_id, _ in client.got:
        name, _, number = signal_id.partition(":")
        by_publisher[name].append(int(number))
    for name, count in published.items():
        got = by_publisher[name]
        if got != list(range(count)):
            lost = sorted(set(range(count)) - set(got))[:5]
            twice = [n for n, times in Counter(got).items() if times > 1][:5]
            found.append(f"{client.symbol} from {name}: {len(got)} of {count}, lost {lost}, twice {twice}")
    return found
