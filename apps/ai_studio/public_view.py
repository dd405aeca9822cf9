"""What everybody may see of the system: no host, no connections, no machine's name, no work of others."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import UNSET
from msgspec.structs import replace

from apps.ai_studio import payloads


def public_status(status: payloads.SystemStatus) -> payloads.SystemStatus:
    """Without what is for staff."""
    return replace(status, host=UNSET, connections=UNSET)


def public_workers(workers: Sequence[payloads.Worker]) -> list[payloads.Worker]:
    """Numbered by kind instead of named: a worker's name says which machine it is on."""
    public = []
    for worker in workers:
        kind = "worker" if worker.kind is UNSET else worker.kind
        number = 1 + sum(other.kind == worker.kind for other in workers[: len(public)])
        public.append(replace(worker, name=f"{kind} {number}", job=UNSET))
    return public
