"""The pictures for `docs/`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.peers.catalogue import LIMIT, OURS
from benchmarks.results import FIGURES, Results

BARS = {
    "fan-out-saturated": ("deliveries_per_second", "Fan-out to 500 clients, saturated: deliveries per second"),
    "fan-out-20-per-second": ("p99_ms", "Fan-out to 500 clients, 20 messages per second: latency, p99 in ms"),
    "personal-saturated": ("deliveries_per_second", "Personal topics of 5,000 users, saturated: deliveries per second"),
    "connect-storm": ("connects_per_second", "Connect storm: connections per second, authenticated, with snapshot"),
    "idle-memory": ("kib_per_connection", "Memory per idle connection, KiB"),
}
OUR_COLOUR, LIMIT_COLOUR, OTHER_COLOUR = "#0b6e4f", "#999999", "#c8d5d0"


def draw(results: Results, folder: Path) -> list[Path]:
    """One SVG per workload that has something to compare. The files."""
    import matplotlib as mpl  # noqa: PLC0415 - slow to load, and not needed to measure

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "sharewise"  # the same picture for the same numbers
    return [
        *(path for name, (figure, title) in BARS.items() if (path := _bars(results, folder, name, figure, title))),
        *_by_clients(results, folder),
    ]


def _bars(results: Results, folder: Path, workload: str, figure: str, title: str) -> Path | None:
    from matplotlib import pyplot as plt  # noqa: PLC0415 - as above

    best: dict[str, float] = {}
    for row in results.rows:
        if row.workload == workload and figure in row.figures:
            best[row.peer] = max(best.get(row.peer, 0.0), row.figures[figure])
    if not best:
        return None
    ordered = sorted(best.items(), key=lambda item: item[1])
    names, values = [name for name, _ in ordered], [value for _, value in ordered]
    picture, axes = plt.subplots(figsize=(8, 0.6 + 0.34 * len(ordered)))
    bars = axes.barh(names, values, color=[_colour(name) for name in names])
    axes.bar_label(bars, [FIGURES[figure][1].format(value) for value in values], padding=4, fontsize=9)
    axes.set_xscale("log")
    axes.set_xlim(max(min(values), 0.1) / 3, max(*values, 1) * 6)
    axes.set_title(title, loc="left", fontsize=10)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.tick_params(axis="x", which="both", bottom=False, labelbottom=False)
    return _save(picture, folder / f"{workload}.svg")


def _by_clients(results: Results, folder: Path) -> list[Path]:
    from matplotlib import pyplot as plt  # noqa: PLC0415 - as above

    rows = [row for row in results.rows if row.workload == "cost-by-clients"]
    if not rows:
        return []
    picture, axes = plt.subplots(figsize=(8, 3))
    for peer, colour in ((LIMIT, LIMIT_COLOUR), (OURS, OUR_COLOUR)):
        its = [row.figures for row in rows if row.peer.startswith(f"{peer}, ")]
        axes.plot(*_line(its), marker="o", color=colour, label=peer)
    axes.legend(frameon=False)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("clients on one topic, 50 messages per second")
    axes.set_ylabel("server CPU µs per delivery")
    axes.spines[["top", "right"]].set_visible(False)
    return [_save(picture, folder / "cost-by-clients.svg")]


def _line(rows: Sequence[Mapping[str, float]]) -> tuple[list[float], list[float]]:
    return [row["clients"] for row in rows], [row["cpu_us_per_delivery"] for row in rows]


def _colour(peer: str) -> str:
    if peer.startswith(LIMIT):
        return LIMIT_COLOUR
    return OUR_COLOUR if peer.startswith(OURS) else OTHER_COLOUR


def _save(picture: object, path: Path) -> Path:
    from matplotlib import pyplot as plt  # noqa: PLC0415 - as above

    picture.savefig(path, bbox_inches="tight", metadata={"Date": None})  # type: ignore[attr-defined]
    plt.close(picture)  # type: ignore[arg-type]
    return path
