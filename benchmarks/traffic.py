"""What is published in a workload."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from urllib.parse import urlencode


@dataclass(frozen=True)
class Traffic:
    """`rate` messages a second in all, round-robin over so many topics; `strikes` makes them 80 bytes longer each.
    `personal`: each topic is one user's own."""

    rate: float
    topics: int = 1
    strikes: int = 0
    personal: bool = False

    def query(self, seconds: float) -> str:
        """As the servers are told it."""
        fields = asdict(self) | {"seconds": seconds}
        return urlencode({name: float(value) for name, value in fields.items()})
