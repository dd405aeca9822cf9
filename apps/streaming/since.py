"""`?since=<topic>:<epoch>:<offset>[,…]`: where a client that comes back was."""

from __future__ import annotations

import re

from realtime.errors import CommandFailed, ProtocolError
from realtime.publication import Position

MAX_ENTRIES = 100
_ENTRY = re.compile(r"([A-Za-z0-9_.\-]{1,99}):([A-Za-z0-9]{1,64}):(\d{1,15})")


def parse_since(text: str) -> tuple[dict[str, Position], list[ProtocolError]]:
    """Positions by topic name, and a refusal for each entry that cannot be read."""
    positions: dict[str, Position] = {}
    refusals: list[ProtocolError] = []
    entries = [entry for entry in text.split(",") if entry]
    for entry in entries[:MAX_ENTRIES]:
        match = _ENTRY.fullmatch(entry)
        if match is None:
            refusals.append(CommandFailed("invalid_since", f"expected topic:epoch:offset, got {entry[:120]!r}"))
        else:
            positions[match[1]] = Position(match[2], int(match[3]))
    if len(entries) > MAX_ENTRIES:
        refusals.append(
            CommandFailed("invalid_since", f"got {len(entries)} topics in since, at most {MAX_ENTRIES} are allowed")
        )
    return positions, refusals
