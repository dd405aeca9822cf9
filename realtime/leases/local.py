"""Leases of one process: nobody else is there to contend. Places are counted by the hub."""

from __future__ import annotations

from collections.abc import Iterable


class LocalLeases:
    """See `realtime.leases.base.Leases`."""

    async def hold(self, name: str, holder: str, seconds: float) -> bool:  # noqa: ARG002 - the contract's
        return True

    async def let_go(self, name: str, holder: str) -> None:
        """Nobody waits for it."""

    async def enter(self, group: str, member: str, seconds: float, limit: int) -> bool:  # noqa: ARG002 - as above
        return True

    async def stay(self, places: Iterable[tuple[str, str]], seconds: float) -> None:
        """Nothing runs out."""

    async def leave(self, group: str, member: str) -> None:
        """Nothing was taken."""

    async def close(self) -> None:
        """Nothing is needed."""
