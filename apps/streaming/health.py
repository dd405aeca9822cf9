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
from realtime.brokers.memory import MemoryBroker

CHECK_TIMEOUT_SECONDS = 2.0


async def health_report() -> dict[str, Any]:
    """Every part and its state; `status` is `ok`, `degraded` or `draining`."""
    engine = runtime()
    database, channel_layer, redis, lag_ms = await asyncio.gather(
        sync_to_async(_database_status)(), _channel_layer_status(), _redis_status(), _loop_lag_ms()
    )
    parts = (database, channel_layer, *([redis] if settings.ENV.redis_url else []))
    status = "draining" if engine.draining else "ok" if all(part == "ok" for part in parts) else "degraded"
    return {
        "status": status,
        "database": database,
        "channel_layer": channel_layer,
        "redis": redis,
        "broker": broker_status(),
        "event_loop_lag_ms": round(lag_ms, 2),
        "connections": connection_counts(),
    }


def broker_status() -> dict[str, Any]:
    """What the broker holds."""
    broker = runtime().broker
    status: dict[str, Any] = {"kind": type(broker).__name__.removesuffix("Broker").lower(), "status": "ok"}
    if isinstance(broker, MemoryBroker):
        status |= {"topics": broker.topic_count, "held_bytes": broker.held_bytes}
    return status


def _database_status() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        return f"failed: {type(error).__name__}"
    return "ok"


async def _channel_layer_status() -> str:
    layer = get_channel_layer()
    if layer is None:
        return "not configured"
    token = secrets.token_hex(8)
    channel = await layer.new_channel()
    await layer.send(channel, {"type": "health.check", "token": token})
    try:
        message = await asyncio.wait_for(layer.receive(channel), CHECK_TIMEOUT_SECONDS)
    except TimeoutError:
        return "failed: no answer"
    return "ok" if message.get("token") == token else "failed: wrong answer"


async def _redis_status() -> str:
    if not settings.ENV.redis_url:
        return "not configured"
    from redis.asyncio import Redis  # noqa: PLC0415 - only where Redis is configured
    from redis.exceptions import RedisError  # noqa: PLC0415 - as above

    client = Redis.from_url(settings.ENV.redis_url, socket_connect_timeout=CHECK_TIMEOUT_SECONDS, socket_timeout=2)
    try:
        await client.ping()
    except (RedisError, OSError) as error:
        return f"unreachable: {type(error).__name__}"
    finally:
        await client.aclose()
    return "ok"


async def _loop_lag_ms() -> float:
    started = time.perf_counter()
    await asyncio.sleep(0)
    return (time.perf_counter() - started) * 1_000
