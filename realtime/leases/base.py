"""The contract of leases."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


class Leases(Protocol):
    """Every method but `close` raises `BrokerAway` when the server that keeps the leases does not answer."""

    async def hold(self, name: str, holder: str, seconds: float) -> bool:
        """Take a lease that one holder has at a time, or renew it. False: another holder has it."""
        ...

    async def let_go(self, name: str, holder: str) -> None:
        """Give up a lease; nothing happens when another holder has it."""
        ...

    async def enter(self, group: str, member: str, seconds: float, limit: int) -> bool:
        """Take one of `limit` places in a group. False: they are taken."""
        ...

    async def stay(self, places: Iterable[tuple[str, str]], seconds: float) -> None:
        """Renew (group, member) places; those that were lost are taken again."""
        ...

    async def leave(self, group: str, member: str) -> None:
        """Give up a place; one that is not held is no error."""
        ...

    async def close(self) -> None:
        """Free what this object needs; leases run out by themselves."""
        ...
