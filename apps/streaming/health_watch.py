"""Notices when the broker's server goes away or comes back, so that the clients of this process hear of it at once."""

from __future__ import annotations

from apps.streaming.background import Background
from apps.streaming.plugins import health_listeners
from realtime.brokers.base import Broker

LOOK_SECONDS = 1.0


class HealthWatch:
    """Calls what the apps provided as `on_health_change`."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._was_degraded = False
        self._work = Background(self.look, LOOK_SECONDS)

    def ensure_running(self) -> None:
        self._work.ensure_running()

    async def stop(self) -> None:
        await self._work.stop()

    async def look(self) -> None:
        is_degraded = self._broker.status.degraded_since is not None
        if is_degraded != self._was_degraded:
            self._was_degraded = is_degraded
            for listener in health_listeners:
                await listener()
