"""The process's delivery engine: one broker, and one hub per event loop (in production there is one loop)."""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import random
import secrets
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

from django.conf import settings

from apps.streaming.health_watch import HealthWatch
from apps.streaming.known_logins import KnownLogins
from apps.streaming.metrics import DEGRADED, QUEUED, PrometheusMetrics
from apps.streaming.outbox import OutboxRelay
from apps.streaming.places import ConnectionPlaces
from apps.streaming.revocation import RevocationWatch
from engines.market.data import MarketData
from realtime.brokers.base import Broker
from realtime.brokers.memory import MemoryBroker
from realtime.clock import SystemClock
from realtime.close import SERVER_RESTARTING
from realtime.connection import Connection
from realtime.hub import Hub
from realtime.leases.base import Leases
from realtime.leases.local import LocalLeases
from realtime.limits import Limits
from realtime.messages import Reconnect
from realtime.topic import Retention, RetentionRules

GARBAGE_THRESHOLDS = (10_000, 10, 100)

log = logging.getLogger(__name__)


class Runtime:
    """Everything that a process has once, from a `config.env.Environment`. Get it with `runtime()`."""

    def __init__(self, environment: Any) -> None:
        self.clock = SystemClock()
        self.metrics = PrometheusMetrics()
        self.process_id = secrets.token_hex(4)
        self._connection_numbers = itertools.count(1)
        self.heartbeat_seconds = environment.heartbeat_seconds
        self.limits = Limits(
            message_bytes=environment.limit_message_bytes,
            commands_per_second=environment.limit_commands_per_second,
            command_burst=environment.limit_command_burst,
            subscriptions_per_connection=environment.limit_subscriptions_per_connection,
            connections_per_user=environment.limit_connections_per_user,
            outbox_bytes=environment.limit_outbox_bytes,
        )
        self.broker: Broker
        self.leases: Leases
        self.broker, self.leases = _broker_and_leases(environment, self.clock, self.metrics)
        QUEUED.set_function(lambda: self.broker.status.queued)
        DEGRADED.set_function(self._degraded_seconds)
        self.places = ConnectionPlaces(self.leases, self.broker, self.limits.connections_per_user)
        self.relay = OutboxRelay(self.broker, self.leases, self.process_id)
        self.health_watch = HealthWatch(self.broker)
        self.market: MarketData | None = None
        self.draining = False
        # A process that may end with its next line waits until what it publishes is stored.
        self.is_long_lived = False
        self._drain_seconds = environment.drain_seconds
        self._window_seconds = environment.coalescing_ms / 1_000
        self._hub: Hub | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._logins: KnownLogins
        self._watch: RevocationWatch | None = None

    @property
    def hub(self) -> Hub:
        """The hub of the running event loop."""
        loop = asyncio.get_running_loop()
        if self._hub is None or self._loop is not loop:
            self._loop = loop
            self.is_long_lived = True
            _collect_garbage_less_often()
            self._hub = Hub(self.broker, self.clock, self.metrics, window_seconds=self._window_seconds)
            self._logins = KnownLogins(self.clock)
            self._watch = RevocationWatch(self._hub, self._logins)
        return self._hub

    @property
    def logins(self) -> KnownLogins:
        """The logins that connect to the running event loop."""
        _ = self.hub
        return self._logins

    def next_connection_id(self) -> str:
        """A name that no other connection has, on any machine. Not a secret."""
        return f"{self.process_id}{next(self._connection_numbers):08x}"

    def attach(self) -> None:
        """Serve from the running loop: hear what others publish, and keep watch. At no cost when it does already."""
        if self._hub is None or self._loop is not asyncio.get_running_loop():
            _ = self.hub
            self.keep_watch()

    def keep_watch(self) -> None:
        """Keep looking for users and tokens that are no longer good while anyone is connected, for publications that a
        process left behind, and after the broker."""
        if self._watch is not None:
            self._watch.ensure_running()
        self.relay.ensure_running()
        self.health_watch.ensure_running()

    async def drain(self) -> int:
        """Ask every client to reconnect elsewhere, each at a moment of its own, and close with 1012 then. Returns when
        all are closed, with how many there were."""
        self.draining = True
        connections = [c for c in self._hub.connections if isinstance(c, Connection)] if self._hub else []
        closings: list[tuple[float, Connection]] = []
        for connection in connections:
            after_seconds = random.uniform(0, self._drain_seconds)  # noqa: S311 - jitter, not a secret
            connection.send(Reconnect(after_ms=int(after_seconds * 1_000), timestamp=self.clock.now()))
            closings.append((after_seconds, connection))
        waited_seconds = 0.0
        for after_seconds, connection in sorted(closings, key=lambda closing: closing[0]):
            if after_seconds > waited_seconds:
                await asyncio.sleep(after_seconds - waited_seconds)
                waited_seconds = after_seconds
            connection.close(SERVER_RESTARTING)
        return len(connections)

    def _degraded_seconds(self) -> float:
        since = self.broker.status.degraded_since
        return (self.clock.now() - since).total_seconds() if since else 0.0

    async def close(self) -> None:
        """Give back everything; what waits to be stored gets a last chance."""
        await self.health_watch.stop()
        await self.relay.stop()
        await self.places.stop()
        await self.broker.close()
        await self.leases.close()


def _broker_and_leases(environment: Any, clock: SystemClock, metrics: PrometheusMetrics) -> tuple[Broker, Leases]:
    retention = RetentionRules(
        [(rule.pattern, Retention(rule.count, rule.age_seconds)) for rule in environment.history_rules],
        Retention(environment.history_count, environment.history_seconds),
    )
    if not environment.redis_url:
        memory = MemoryBroker(clock, metrics=metrics, max_bytes=environment.memory_broker_bytes, retention=retention)
        return memory, LocalLeases()
    # Without Redis, none of it is loaded.
    from realtime.brokers.redis import RedisBroker  # noqa: PLC0415
    from realtime.brokers.redis.servers import connect, public_name, split_urls  # noqa: PLC0415
    from realtime.brokers.sharded import ShardedBroker  # noqa: PLC0415
    from realtime.leases.redis import RedisLeases  # noqa: PLC0415

    urls = split_urls(environment.redis_url)
    make: Callable[[str], Broker] = lambda url: RedisBroker(  # noqa: E731 - used twice below, and nowhere else
        url,
        clock,
        prefix=environment.redis_prefix,
        retention=retention,
        metrics=metrics,
        queue_count=environment.broker_queue_count,
    )
    leases = RedisLeases(connect(urls[0]), environment.redis_prefix)
    if len(urls) == 1:
        return make(urls[0]), leases
    return ShardedBroker({public_name(url): make(url) for url in urls}), leases


@cache
def _collect_garbage_less_often() -> None:
    """Python looks through its objects each time that some hundreds were added, and a connection is made of a hundred:
    when thousands connect, that is a fifth of the work; and to look through all of them stops everything for half a
    second. What is loaded by now is never looked at again, and what comes less often: a connection that ends leaves
    nothing to be found."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)


@lru_cache(maxsize=1)
def runtime() -> Runtime:
    """This process's runtime, made on first use."""
    return Runtime(settings.ENV)
