"""The checker over real sockets: a client killed and resumed 200 times while 10,000 messages are published to three
topics gets each message once and in order."""

from __future__ import annotations

import asyncio
import json
import random
import threading

import pytest
import websockets

from apps.accounts import tokens
from apps.trading.websocket_utils import broadcast_signal

SYMBOLS = ("NIFTY", "BANKNIFTY", "M&M")
MESSAGES = 10_000
KILLS = 200


@pytest.fixture
def watchlist(user, instruments):
    from apps.trading.services import set_watchlist

    set_watchlist(str(user.pk), SYMBOLS)


class Checker:
    """What one client got over all its connections, per topic."""

    def __init__(self, url: str, token: str, rng: random.Random) -> None:
        self.url, self.token, self.rng = url, token, rng
        self.positions: dict[str, list] = {}
        self.got: dict[str, list[int]] = {}
        self.connections = 0

    def take(self, text: str) -> None:
        message = json.loads(text)
        if message["type"] == "welcome":
            for s in message["subscriptions"]:
                if self.connections > 1:
                    assert s["recovered"], s
                self.positions.setdefault(s["topic"], [s["epoch"], s["offset"]])
        elif message["type"] == "new_signal":
            topic, offset = message["topic"], message["offset"]
            assert offset == self.positions[topic][1] + 1, "a gap or a repetition"
            self.positions[topic][1] = offset
            self.got.setdefault(topic, []).append(int(message["signal"]["id"]))

    async def session(self, ready: threading.Event, *, until=None) -> None:
        """One connection: read a random number of messages, then vanish without a goodbye."""
        since = ",".join(f"{t}:{e}:{o}" for t, (e, o) in self.positions.items())
        query = f"?token={self.token}" + (f"&since={since}" if since else "")
        self.connections += 1
        socket = await websockets.connect(self.url + query, max_size=None, max_queue=4)
        try:
            self.take(await socket.recv())
            ready.set()
            to_read = self.rng.randrange(0, 90)
            while until() if until else to_read:
                to_read -= 1
                self.take(await asyncio.wait_for(socket.recv(), 10))
        finally:
            socket.transport.abort()


@pytest.mark.timeout(180)
def test_nothing_is_lost_repeated_or_reordered(server, user, watchlist):
    rng = random.Random(4)
    checker = Checker(server.url("trading/signals/"), tokens.log_in(user).access, rng)
    published: dict[str, list[int]] = {symbol: [] for symbol in SYMBOLS}
    ready, done = threading.Event(), threading.Event()

    def publish():
        ready.wait(10)
        for number in range(MESSAGES):
            symbol = rng_publisher.choice(SYMBOLS)
            published[symbol].append(number)
            signal = {
                "id": str(number),
                "symbol": symbol,
                "signal_type": "HOLD",
                "confidence_score": 0,
                "entry_price": 1,
            }
            broadcast_signal(signal)
            # As fast as the client keeps up with within history: the promise of a resume is bounded by retention.
            while number - sum(map(len, checker.got.values())) > 900:
                if done.wait(0.001):
                    return
        done.set()

    rng_publisher = random.Random(5)
    publisher = threading.Thread(target=publish, daemon=True)
    publisher.start()

    async def client():
        for _ in range(KILLS):
            await checker.session(ready)
        everything = lambda: sum(map(len, checker.got.values())) < MESSAGES  # noqa: E731
        await checker.session(ready, until=everything)

    try:
        asyncio.run(client())
    finally:
        done.set()
        publisher.join(10)
    from apps.trading.topics import symbol_signals

    assert checker.connections == KILLS + 1
    assert checker.got == {symbol_signals(symbol).name: numbers for symbol, numbers in published.items()}
    assert sum(map(len, published.values())) == MESSAGES
