"""The process's delivery engine: one broker, and one hub per event loop (in production there is one loop)."""

from __future__ import annotations

import asyncio
import logging
import random
from functools import lru_cache
from typing import Any

from django.conf import settings

from apps.streaming.metrics import PrometheusMetrics
from apps.streaming.revocation import RevocationWatch
from engines.market.data import MarketData
from realtime.brokers.base import Broker
from realtime.brokers.memory import MemoryBroker
from realtime.clock import SystemClock
from realtime.close import SERVER_RESTARTING
from realtime.connection import Connection
from realtime.hub import Hub
from realtime.limits import Limits
from realtime.messages import Reconnect
from realtime.topic import Retention, RetentionRules

log = logging.getLogger(__name__)

DRAIN_SPREAD_MS = 2_000


class Runtime:
    """Everything that a process has once, from a `config.env.Environment`. Get it with `runtime()`."""

    def __init__(self, environment: Any) -> None:
        self.clock = SystemClock()
        self.metrics = PrometheusMetrics()
        self.heartbeat_seconds = environment.heartbeat_seconds
        self.limits = Limits(
            message_bytes=environment.limit_message_bytes,
            commands_per_second=environment.limit_commands_per_second,
            command_burst=environment.limit_command_burst,
            subscriptions_per_connection=environment.limit_subscriptions_per_connection,
            connections_per_user=environment.limit_connections_per_user,
            outbox_bytes=environment.limit_outbox_bytes,
        )
        self.broker: Broker = MemoryBroker(
            self.clock,
            metrics=self.metrics,
            max_bytes=environment.memory_broker_bytes,
            retention=RetentionRules(
                [(rule.pattern, Retention(rule.count, rule.age_seconds)) for rule in environment.history_rules],
                Retention(environment.history_count, environment.history_seconds),
            ),
        )
        self.market: MarketData | None = None
        self.draining = False
        self._window_seconds = environment.coalescing_ms / 1_000
        self._hub: Hub | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watch: RevocationWatch | None = None
        if environment.redis_url:
            log.warning("REDIS_URL is set, but this version delivers within one process: other processes get nothing")

    @property
    def hub(self) -> Hub:
        """The hub of the running event loop."""
        loop = asyncio.get_running_loop()
        if self._hub is None or self._loop is not loop:
            self._loop = loop
            self._hub = Hub(self.broker, self.clock, self.metrics, window_seconds=self._window_seconds)
            self._watch = RevocationWatch(self._hub)
        return self._hub

    def watch_revocations(self) -> None:
        """Keep looking, while anyone is connected, for users and tokens that are no longer good."""
        if self._watch is not None:
            self._watch.ensure_running()

    def drain(self) -> int:
        """Ask every client to reconnect elsewhere, spread over a moment, and close with 1012. How many there were."""
        self.draining = True
        connections = [c for c in self._hub.connections if isinstance(c, Connection)] if self._hub else []
        for connection in connections:
            after_ms = random.randrange(DRAIN_SPREAD_MS)  # noqa: S311 - jitter, not a secret
            connection.send(Reconnect(after_ms=after_ms, timestamp=self.clock.now()))
            connection.close(SERVER_RESTARTING)
        return len(connections)


@lru_cache(maxsize=1)
def runtime() -> Runtime:
    """This process's runtime, made on first use."""
    return Runtime(settings.ENV)
