"""Notices when the broker's server goes away or comes back, so that the clients of this process hear of it at once."""

from __future__ import annotations

from apps.streaming.background import Background
from apps.streaming.plugins import health_listeners, health_looks
from realtime.brokers.base import Broker

LOOK_SECONDS = 1.0
LOOKS_PER_LONG_LOOK = 5


class HealthWatch:
    """Calls what the apps provided as `on_health_change`, and every few seconds as `on_health_look`."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._was_degraded = False
        self._looks = 0
        self._work = Background(self.look, LOOK_SECONDS)

    def ensure_running(self) -> None:
        self._work.ensure_running()

    async def stop(self) -> None:
        await self._work.stop()

    async def look(self) -> None:
        status = self._broker.status
        is_degraded = status.degraded_since is not None
        if is_degraded != self._was_degraded:
            self._was_degraded = is_degraded
            for listener in health_listeners:
                await listener()
        self._looks += 1
        if status.kind != "memory" and self._looks % LOOKS_PER_LONG_LOOK == 0:  # who stands alone has nobody to miss
            for look in health_looks:
                await look()
