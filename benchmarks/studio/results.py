"""What was measured of AI Studio, and its page."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from benchmarks.studio.beside_training import Beside, Latencies

MOST_TIMES = 3.0
MOST_SECONDS = 10.0


class StudioResults(msgspec.Struct, frozen=True):
    """One run."""

    date: datetime
    machine: str
    beside: Beside
    ten_years_seconds: Mapping[str, float]

    @property
    def missed(self) -> list[str]:
        """The targets that were not reached."""
        idle, training = self.beside.idle_pnl, self.beside.training_pnl
        times = {"p50": training.p50_ms / idle.p50_ms, "p99": training.p99_ms / idle.p99_ms}
        slow = [
            f"{name} of pnl_update is {ratio:.1f} times as long while a job trains"
            for name, ratio in times.items()
            if ratio > MOST_TIMES
        ]
        long = [name for name, seconds in self.ten_years_seconds.items() if seconds > MOST_SECONDS]
        return slow + [f"ten years of {name} take {self.ten_years_seconds[name]} s" for name in long]


def page(results: StudioResults) -> str:
    """`studio.md`."""
    beside = results.beside
    lines = [
        "# AI Studio, measured",
        "",
        f"On {results.date:%Y-%m-%d}, on {results.machine}, by `python -m benchmarks.studio`, a part of `make bench`.",
        "",
        "## Streams while a model trains",
        "",
        "An embedded server (web server, engines, job worker) with the demo, the market at 600 times real time, and a",
        "client beside it on the same machine; first idle, then while a training job takes a core:",
        f"{beside.training_cores:.2f} seconds of processor time per second.",
        "",
        "| latency | idle p50 | training p50 | times | idle p99 | training p99 | times |",
        "|---|--:|--:|--:|--:|--:|--:|",
        _row("`pnl_update`, timestamp to receipt", beside.idle_pnl, beside.training_pnl),
        _row("`ping` to `pong`", beside.idle_pong, beside.training_pong),
        "",
        "## Ten years of daily bars, 20 symbols",
        "",
        "From packed bars to the result, as the computing process does it, in seconds of processor time; `model` with",
        "an artifact that was really trained: decoding it, features and predictions are included.",
        "",
        "| strategy | seconds |",
        "|---|--:|",
        *(f"| {name} | {seconds:.2f} |" for name, seconds in results.ten_years_seconds.items()),
    ]
    return "\n".join(lines) + "\n"


def _row(name: str, idle: Latencies, training: Latencies) -> str:
    cells = (
        f"{idle.p50_ms:.2f} ms",
        f"{training.p50_ms:.2f} ms",
        f"{training.p50_ms / idle.p50_ms:.2f}",
        f"{idle.p99_ms:.2f} ms",
        f"{training.p99_ms:.2f} ms",
        f"{training.p99_ms / idle.p99_ms:.2f}",
    )
    return f"| {name} | {' | '.join(cells)} |"
