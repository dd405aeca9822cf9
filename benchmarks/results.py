"""What is measured, what was to be reached, and whether it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import msgspec

# What a figure is called in tables, and how it is written. A figure's name says its unit.
FIGURES: Mapping[str, tuple[str, str]] = {
    "clients": ("clients", "{:,.0f}"),
    "messages_per_second": ("msg/s", "{:,.0f}"),
    "deliveries_per_second": ("deliveries/s", "{:,.0f}"),
    "connects_per_second": ("connects/s", "{:,.0f}"),
    "kib_per_connection": ("KiB/connection", "{:,.1f}"),
    "seconds": ("seconds", "{:,.1f}"),
    "cpu_us_per_delivery": ("CPU µs/delivery", "{:,.2f}"),
    "p50_ms": ("p50 ms", "{:,.1f}"),
    "p99_ms": ("p99 ms", "{:,.1f}"),
    "lost": ("lost", "{:,.0f}"),
    "repeated": ("repeated", "{:,.0f}"),
    "closed": ("cut off", "{:,.0f}"),
    "server_cpu": ("server CPU", "{:.0%}"),
    "load_cpu": ("load generator CPU", "{:.0%}"),
    "deaf_cut_off": ("non-readers cut off with 4008", "{:.0%}"),
}


class Row(msgspec.Struct, frozen=True):
    """What a peer did under a workload. `lost`: publications that a client did not get, between two that it got."""

    workload: str
    peer: str
    figures: dict[str, float]


class Verdict(msgspec.Struct, frozen=True):
    """What a workload was to reach, and what it did reach."""

    workload: str
    wanted: str
    reached: str
    met: bool


class Results(msgspec.Struct, frozen=True):
    """One run. `skipped` says what was not measured, a peer or a peer under a workload, and why."""

    date: datetime
    machine: str
    seconds: float
    rows: list[Row]
    verdicts: list[Verdict]
    skipped: dict[str, str]


Best = Mapping[str, Mapping[str, float]]  # by peer


@dataclass(frozen=True)
class Target:
    """`reached` gets each peer's figures; None when what it compares was not measured."""

    wanted: str
    reached: Callable[[Best], tuple[str, bool] | None]


def times(factor: float, figure: str, of: str, *, ours: str = "ours", most: bool = False) -> Target:
    """Ours is to be at least (or, with `most`, at most) so many times the best peer whose name begins with `of`."""

    def reached(best: Best) -> tuple[str, bool] | None:
        others = [figures[figure] for peer, figures in best.items() if peer.startswith(of) and figure in figures]
        if ours not in best or not others:
            return None
        ratio = best[ours][figure] / max((min if most else max)(others), 1e-9)
        return f"{ratio:,.2f} times", ratio <= factor if most else ratio >= factor

    return Target(f"{FIGURES[figure][0]} {'≤' if most else '≥'} {factor:g} times {of}", reached)


def within(figure: str, limit: float, peer: str = "ours", *, least: bool = False) -> Target:
    """The figure is to be below (or, with `least`, at least) the limit."""

    def reached(best: Best) -> tuple[str, bool] | None:
        if peer not in best:
            return None
        value = best[peer][figure]
        return FIGURES[figure][1].format(value), value >= limit if least else value <= limit

    said = FIGURES[figure][1].format(limit)
    return Target(f"{FIGURES[figure][0]} {'≥' if least else '≤'} {said} ({peer})", reached)
