"""A group that is a stream's topic: what is sent to it reaches the stream."""

from __future__ import annotations

import asyncio
from typing import Any

from apps.streaming.publishing import SETTLE_SECONDS, notification_for
from apps.streaming.runtime import runtime


async def publish_to_streams(group: str, message: dict[str, Any]) -> None:
    """Publish a message to the stream whose topic the group is; nothing happens when it is none, or the message is not
    one of its. Raises `InvalidMessage` when the message is one of its and does not fit."""
    fields = {name: value for name, value in message.items() if name not in ("type", "timestamp")}
    notify = notification_for(group, str(message.get("type")), fields)
    if notify is None:
        return
    notify(**fields)
    engine = runtime()
    if not engine.is_long_lived:
        await asyncio.to_thread(engine.broker.settle, SETTLE_SECONDS)
