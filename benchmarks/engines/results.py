"""What was measured of the engines, and its page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec


class Measured(msgspec.Struct, frozen=True):
    """One target: ours and the plain way, in milliseconds, in one run."""

    title: str
    ours_ms: float
    plain: str
    plain_ms: float
    target_ms: float

    @property
    def met(self) -> bool:
        return self.ours_ms < self.target_ms

    @property
    def ratio(self) -> float:
        return self.plain_ms / self.ours_ms


class EngineResults(msgspec.Struct, frozen=True):
    """One run."""

    date: datetime
    machine: str
    measured: Sequence[Measured]


def page(results: EngineResults) -> str:
    """`engines.md`."""
    lines = [
        "# The engines, measured",
        "",
        f"On {results.date:%Y-%m-%d}, on {results.machine}; medians, by `python -m benchmarks.engines`,",
        "a part of `make bench`.",
        "",
        "| what | ours | to reach | the plain way | times faster |",
        "|---|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {m.title} | {m.ours_ms:.2f} ms | {m.target_ms:g} ms | {m.plain_ms:.1f} ms ({m.plain}) | {m.ratio:.0f} |"
        for m in results.measured
    ]
    return "\n".join(lines) + "\n"
