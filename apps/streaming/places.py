"""How many connections a user has over all processes: each is a place, held by a lease."""

from __future__ import annotations

import contextlib

from apps.streaming.background import Background
from realtime.brokers.base import Broker
from realtime.errors import BrokerAway, TooManyConnections
from realtime.leases.base import Leases

PLACE_SECONDS = 15.0  # how long the places of a killed process stay taken
RENEW_SECONDS = 5.0


class ConnectionPlaces:
    """While the leases' server is away, only the connections of this process are counted (by the hub)."""

    def __init__(self, leases: Leases, broker: Broker, limit: int) -> None:
        self._leases = leases
        self._broker = broker
        self._limit = limit
        self._held: dict[tuple[str, str], None] = {}
        self._renewal = Background(self._renew, RENEW_SECONDS)

    async def take(self, user_id: str, connection_id: str) -> None:
        """Raises `TooManyConnections`. Give it back with `leave`."""
        place = (_group(user_id), connection_id)
        taken = True
        if self._broker.status.degraded_since is None:  # else nobody need wait: renewing takes the place later
            with contextlib.suppress(BrokerAway):
                taken = await self._leases.enter(*place, PLACE_SECONDS, self._limit)
        if not taken:
            raise TooManyConnections(f"you have {self._limit} connections, which is as many as are allowed")
        self._held[place] = None
        self._renewal.ensure_running()

    async def leave(self, user_id: str, connection_id: str) -> None:
        place = (_group(user_id), connection_id)
        if self._held.pop(place, "absent") is None:
            with contextlib.suppress(BrokerAway):  # it runs out by itself
                await self._leases.leave(*place)

    async def stop(self) -> None:
        await self._renewal.stop()

    async def _renew(self) -> None:
        with contextlib.suppress(BrokerAway):  # they are taken again when Redis is back
            await self._leases.stay(list(self._held), PLACE_SECONDS)


def _group(user_id: str) -> str:
    return f"connections:{user_id}"
