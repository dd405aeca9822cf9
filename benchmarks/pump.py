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
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import parse_qs

Publish = Callable[[int, dict[str, Any]], Awaitable[object] | object]

IDLE_SECONDS = 0.002  # a shorter one is a busy loop on uvloop

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
        "symbol": "NIFTY",
        "signal_type": "BUY",
        "confidence_score": 0.71,
        "entry_price": 24312.55,
        "target_price": 24500.0,
        "stop_loss": 24200.0,
        "rationale": "close above the 20-bar average",
    }


def wire_message(topic: int, signal: dict[str, Any]) -> str:
    """What ours puts around a signal; the other peers send the same."""
    message = {
        "type": "new_signal",
        "timestamp": datetime.now(UTC).isoformat(),
        "signal": signal,
        "topic": f"trading.signals.symbol.{signal['symbol']}",
        "offset": _numbers[topic],
    }
    return json.dumps(message, separators=(",", ":"))


async def pump(publish: Publish, *, rate: float, seconds: float, topics: int = 1, strikes: int = 0) -> None:
    """Publish `rate` messages a second in all, round-robin over the topics; what a busy loop made late is caught up."""
    began, sent = time.monotonic(), 0
    while (elapsed := time.monotonic() - began) < seconds:
        due = int(elapsed * rate)
        while sent < due:
            topic = sent % topics
            waiting = publish(topic, signal(topic, strikes))
            if inspect.isawaitable(waiting):
                await waiting
            sent += 1
            if time.monotonic() - began >= seconds:
                return
        await asyncio.sleep(IDLE_SECONDS)


def controlled(application: Any, publish: Publish) -> Any:
    """The ASGI application, with `/bench/publish?rate=…&seconds=…&topics=…&strikes=…` in front of it."""

    async def wrapped(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/bench/"):
            await application(scope, receive, send)
            return
        query = {name: float(values[0]) for name, values in parse_qs(scope["query_string"].decode()).items()}
        if query:
            pumping = asyncio.create_task(
                pump(
                    publish,
                    rate=query["rate"],
                    seconds=query["seconds"],
                    topics=int(query["topics"]),
                    strikes=int(query["strikes"]),
                )
            )
            _running.add(pumping)
            pumping.add_done_callback(_running.discard)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    return wrapped
