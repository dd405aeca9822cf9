"""The results in Markdown: all of them for `docs/`, and a summary for the README."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.peers.catalogue import LIMIT, OURS, ROOT
from benchmarks.results import FIGURES, Results, Row
from benchmarks.workloads import WORKLOADS
from benchmarks.workloads.base import Workload

README = ROOT / "README.md"
BEGIN, END = "<!-- from `make bench`: begin -->\n", "<!-- from `make bench`: end -->\n"
LEGEND = (
    "*x limit*: the row's connects/s, deliveries/s or KiB/connection as a multiple of those of the row *os.write, the "
    "limit* in the same table; where both keep up with what is published, that is 1. Where the *load generator CPU* is "
    "near 100%, the clients were the bottleneck, and the server could do more."
)
SUMMARY = ("fan-out-saturated", "fan-out-20-per-second", "personal-saturated", "connect-storm", "idle-memory")
_SUMMARY_FIGURES = ("deliveries_per_second", "p99_ms", "connects_per_second", "kib_per_connection")
_COMPARED = ("connects_per_second", "deliveries_per_second", "kib_per_connection")


def best_of(workload: Workload, rows: Sequence[Row]) -> Mapping[str, Mapping[str, float]]:
    """Of each peer the figures that count for the workload."""
    best: dict[str, Mapping[str, float]] = {}
    for row in rows:
        if row.workload != workload.name:
            continue
        known = best.get(row.peer)
        if known is None or row.figures.get(workload.best_by, 0) > known.get(workload.best_by, 0):
            best[row.peer] = row.figures
    return best


def to_limit(workload: Workload, best: Mapping[str, Mapping[str, float]]) -> Mapping[str, str]:
    """Of each peer, its deliveries (connects, bytes) as a multiple of the limit's under the same workload; empty where
    that was not measured. Of several rows for the limit, the one whose name ends alike counts."""
    limits = [name for name in best if name.startswith(LIMIT)]
    figure = next(name for name in _COMPARED if name in workload.columns)
    ratios = {}
    for peer, figures in best.items():
        alike = [name for name in limits if len(limits) == 1 or _last_part(name) == _last_part(peer)]
        if alike and figure in figures and best[alike[0]].get(figure):
            ratios[peer] = f"{figures[figure] / best[alike[0]][figure]:,.2f}"
    return ratios


def _last_part(name: str) -> str:
    return name.rpartition(", ")[2]


def full(results: Results) -> str:
    """Every workload, what it was to reach, and what it reached."""
    lines = ["# What `make bench` measured", "", _where(results), "", LEGEND, ""]
    lines += ["| workload | to reach | reached | |", "|---|---|---|---|"]
    for verdict in results.verdicts:
        lines.append(
            f"| {verdict.workload} | {verdict.wanted} | {verdict.reached} | {'yes' if verdict.met else '**no**'} |"
        )
    for workload in WORKLOADS:
        best = best_of(workload, results.rows)
        if best:
            lines += ["", f"## {workload.title}", "", *_table(workload, best)]
    if results.skipped:
        lines += ["", "## Not measured", "", *(f"- {name}: {reason}" for name, reason in results.skipped.items())]
    return "\n".join(lines) + "\n"


def summary(results: Results) -> str:
    """A table per workload that people ask about first: one figure of each peer."""
    lines = [_where(results), ""]
    for workload in WORKLOADS:
        best = best_of(workload, results.rows)
        if workload.name not in SUMMARY or OURS not in best:
            continue
        figure = next(name for name in _SUMMARY_FIGURES if name in workload.columns and name in best[OURS])
        if workload.name == "fan-out-20-per-second":
            figure = "p99_ms"
        label, form = FIGURES[figure]
        lines += [f"| {workload.title} | {label} |", "|---|--:|"]
        lines += [f"| {peer} | {form.format(figures[figure])} |" for peer, figures in best.items() if figure in figures]
        lines.append("")
    return "\n".join(lines)


def update_readme(results: Results) -> None:
    """Put the summary in its place in the README."""
    text = README.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    README.write_text(before + BEGIN + summary(results) + END + after)


def write(results: Results, folder: Path) -> None:
    """`results.md`; and the README's summary, when the folder is that of the docs."""
    (folder / "results.md").write_text(full(results))
    if folder.resolve() == (ROOT / "docs" / "benchmarks").resolve():
        update_readme(results)


def _where(results: Results) -> str:
    return (
        f"Measured on {results.date:%Y-%m-%d} in one run of {results.seconds / 60:.0f} minutes, on {results.machine}; "
        "the server on one core, the load generator on the other."
    )


def _table(workload: Workload, best: Mapping[str, Mapping[str, float]]) -> list[str]:
    ratios = to_limit(workload, best)
    head = [FIGURES[name][0] for name in workload.columns] + (["x limit"] if ratios else [])
    lines = [f"| | {' | '.join(head)} |", "|---|" + "--:|" * len(head)]
    for peer, figures in best.items():
        cells = [FIGURES[name][1].format(figures[name]) if name in figures else "" for name in workload.columns]
        if ratios:
            cells.append(ratios.get(peer, ""))
        lines.append(f"| {peer} | {' | '.join(cells)} |")
    return lines
