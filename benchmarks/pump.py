"""Publishes at a given rate, inside the server that is measured, and lets the benchmark say when over HTTP.

Every peer publishes the same messages: a trading signal, 329 bytes on the wire, with the mark that the load generator
looks for.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import random
import time
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import parse_qs

from benchmarks.peers.catalogue import symbol
from benchmarks.traffic import Traffic

Messages = Sequence[tuple[int, dict[str, Any]]]  # topic and signal
Publish = Callable[[Messages, bool], Awaitable[object] | object]  # the bool: whether each topic is one user's own

IDLE_SECONDS = 0.002  # a shorter one is a busy loop on uvloop
MAX_AT_ONCE = 512

_numbers: Counter[int] = Counter()
_running: set[asyncio.Task[None]] = set()


@cache
def _option_chain(strikes: int) -> dict[str, Any]:
    """Something as large, and as compressible, as what traders get: 80 bytes per strike."""
    prices = random.Random(7)  # noqa: S311 - the same for every peer and run
    rows = [
        {"strike": 24_000 + 50 * n, "iv": round(prices.random(), 4), "delta": round(prices.random(), 4)}
        | {"bid": round(100 * prices.random(), 2), "ask": round(100 * prices.random(), 2)}
        for n in range(strikes)
    ]
    return {"metadata": {"chain": rows}}


def signal(topic: int, strikes: int = 0) -> dict[str, Any]:
    """The next signal of a topic, marked with its number and the time; with so many strikes of options added."""
    _numbers[topic] += 1
    return (_option_chain(strikes) if strikes else {}) | {
        "id": f"~{topic}:{_numbers[topic]}:{time.monotonic_ns()}~",
        "symbol": symbol(topic),
        "signal_type": "BUY",
        "confidence_score": 0.71,
        "entry_price": 24312.55,
        "target_price": 24500.0,
        "stop_loss": 24200.0,
        "rationale": "close above the 20-bar average",
    }


def message(topic: int, signal: dict[str, Any]) -> dict[str, Any]:
    """What ours puts around a signal; the other peers send the same."""
    return {
        "type": "new_signal",
        "timestamp": datetime.now(UTC).isoformat(),
        "signal": signal,
        "topic": f"trading.signals.symbol.{signal['symbol']}",
        "offset": _numbers[topic],
    }


def wire_message(topic: int, signal: dict[str, Any]) -> str:
    """That as JSON, for peers that do not encode it themselves."""
    return json.dumps(message(topic, signal), separators=(",", ":"))


async def pump(publish: Publish, traffic: Traffic, seconds: float) -> None:
    """Publish `traffic.rate` messages a second in all, round-robin over the topics; what a busy loop made late is
    caught up."""
    began, sent = time.monotonic(), 0
    elapsed = 0.0
    while elapsed < seconds:
        elapsed = min(time.monotonic() - began, seconds)
        due = min(int(elapsed * traffic.rate) - sent, MAX_AT_ONCE)
        if due:
            topics = [n % traffic.topics for n in range(sent, sent + due)]
            waiting = publish([(topic, signal(topic, traffic.strikes)) for topic in topics], traffic.personal)
            if inspect.isawaitable(waiting):
                await waiting
            sent += due
        await asyncio.sleep(0 if due == MAX_AT_ONCE else IDLE_SECONDS)


def one_by_one(publish: Callable[[int, dict[str, Any]], Awaitable[object]]) -> Publish:
    """For peers that publish one message at a time."""

    async def publish_all(messages: Messages, personal: bool) -> None:  # noqa: ARG001 - all topics are alike
        for topic, content in messages:
            await publish(topic, content)

    return publish_all


def controlled(application: Any, publish: Publish) -> Any:
    """The ASGI application, with `/bench/publish?rate=…&seconds=…` and the other fields of `Traffic` in front of it."""

    async def wrapped(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/bench/"):
            await application(scope, receive, send)
            return
        start_pump(publish, scope["query_string"].decode())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    return wrapped


def start_pump(publish: Publish, query: str) -> None:
    """Begin what a query string asks for; nothing, when it asks for nothing."""
    asked = {name: float(values[0]) for name, values in parse_qs(query).items()}
    if not asked:
        return
    traffic = Traffic(asked["rate"], int(asked["topics"]), int(asked["strikes"]), bool(asked["personal"]))
    pumping = asyncio.get_running_loop().create_task(pump(publish, traffic, asked["seconds"]))
    _running.add(pumping)
    pumping.add_done_callback(_ended)


def _ended(pumping: asyncio.Task[None]) -> None:
    _running.discard(pumping)
    if not pumping.cancelled() and pumping.exception() is not None:
        traceback.print_exception(pumping.exception())
