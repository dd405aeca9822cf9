"""Publishes from an event loop that ends at once, through the channel layer, and from a forked child."""

from __future__ import annotations

import asyncio
import os
import sys

import django

django.setup()

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer

from apps.trading.websocket_utils import broadcast_signal
from tests.cluster.signals import signal_of


async def publish(name: str, count: int) -> None:
    for n in range(count):
        broadcast_signal(signal_of(name, "SYM0", n))


def send(name: str, count: int) -> None:
    group_send = async_to_sync(get_channel_layer().group_send)
    for n in range(count):
        group_send("trading.signals.symbol.SYM0", {"type": "new_signal", "signal": signal_of(name, "SYM0", n)})


if __name__ == "__main__":
    how_many = int(sys.argv[1])
    send("layer", how_many)
    child = os.fork()
    if child == 0:
        send("child", how_many)
        os._exit(0)  # as a worker's child ends: without a last chance
    _, status = os.waitpid(child, 0)
    assert status == 0
    asyncio.run(publish("loop", how_many))
