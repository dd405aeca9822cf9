"""This project: real users, real tokens, the signals stream; `broadcast_signal` as an engine would call it."""

from __future__ import annotations

from typing import Any

from benchmarks.pump import controlled
from config.asgi import application as streams
from engines.market.instruments import NSE_UNIVERSE

SYMBOLS = [instrument.symbol for instrument in NSE_UNIVERSE]


def _publish(topic: int, signal: dict[str, Any]) -> None:
    from apps.trading.websocket_utils import broadcast_signal  # noqa: PLC0415 - needs Django set up

    broadcast_signal({**signal, "symbol": SYMBOLS[topic]})


application = controlled(streams, _publish)
