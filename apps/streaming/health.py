"""Is this process well? Asked by load balancers, `test_websockets` and the system stream."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Any

from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from django.conf import settings
from django.db import DatabaseError, connection

from apps.streaming.metrics import connection_counts
from apps.streaming.runtime import runtime
from realtime.brokers.base import BrokerStatus

CHECK_TIMEOUT_SECONDS = 2.0


async def health_report() -> dict[str, Any]:
    """Every part and its state; `status` is `ok`, `degraded` or `draining`."""
    engine = runtime()
    broker = engine.broker.status
    database, channel_layer, lag_ms = await asyncio.gather(
        sync_to_async(_database_status)(), _channel_layer_status(broker), _loop_lag_ms()
    )
    well = database == channel_layer == "ok" and broker.degraded_since is None
    report = {
        "status": "draining" if engine.draining else "ok" if well else "degraded",
        "database": database,
        "channel_layer": channel_layer,
        "redis": _redis_status(broker),
        "broker": broker_report(broker),
        "event_loop_lag_ms": round(lag_ms, 2),
        "connections": connection_counts(),
    }
    if broker.degraded_since is not None:
        report["degraded_since"] = broker.degraded_since.isoformat().replace("+00:00", "Z")
    return report


def broker_report(status: BrokerStatus) -> dict[str, Any]:
    """What the broker holds, and how it is."""
    report = {
        "kind": status.kind,
        "status": "ok" if status.degraded_since is None else "degraded",
        "topics": status.topics,
    }
    if status.kind == "memory":
        return {**report, "held_bytes": status.held_bytes}
    return {**report, "queued": status.queued, "refused": status.refused}


def _database_status() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        return f"failed: {type(error).__name__}"
    return "ok"


async def _channel_layer_status(broker: BrokerStatus) -> str:
    layer = get_channel_layer()
    if layer is None:
        return "not configured"
    if broker.degraded_since is not None:
        return "degraded: Redis is away"
    token = secrets.token_hex(8)
    channel = await layer.new_channel()
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
            await layer.send(channel, {"type": "health.check", "token": token})
            message = await layer.receive(channel)
    except TimeoutError:
        return "failed: no answer"
    return "ok" if message.get("token") == token else "failed: wrong answer"


def _redis_status(broker: BrokerStatus) -> str:
    if not settings.ENV.redis_url:
        return "not configured"
    return "ok" if broker.degraded_since is None else "away"  # why is in the log: this page is public


async def _loop_lag_ms() -> float:
    started = time.perf_counter()
    await asyncio.sleep(0)
    return (time.perf_counter() - started) * 1_000
