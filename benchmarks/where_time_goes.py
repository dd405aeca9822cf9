"""`python -m benchmarks.where_time_goes`: a picture of what our server spends its core on.

A sampling profiler looks at the server 300 times a second while it fans out, publishes to many users, and takes
connections; each sample counts for the innermost part of the system that it is in.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.__main__ import RESULTS, prepare
from benchmarks.machine import BenchmarkFailed, Server, redis_server
from benchmarks.peers.catalogue import BIN, OURS, OURS_REDIS, PEERS, Peer
from benchmarks.traffic import Traffic
from benchmarks.workloads.addressed import owners
from benchmarks.workloads.base import Bench

SECONDS = 6
SAMPLES_PER_SECOND = 300

# The first that is in a frame's path says what the frame belongs to.
PARTS: Mapping[str, tuple[str, ...]] = {
    "writing to sockets": ("write (realtime/transports/uvicorn.py",),
    "the hub, connections, frames": ("realtime/hub.py", "realtime/connection.py", "realtime/frames.py", "realtime/"),
    "validating and encoding": ("apps/streaming/publishing.py", "apps/streaming/validation.py"),
    "the broker": ("realtime/brokers/", "redis/"),
    "tokens": ("jwt/", "apps/accounts/tokens.py"),
    "the ORM and the database": ("django/", "apps/trading/services.py"),
    "the handshake (uvicorn, websockets)": ("uvicorn/", "websockets/"),
    "streams and Channels": ("apps/", "channels/"),
    "the event loop and threads": ("asyncio/", "asgiref/", "concurrent/", "threading.py"),
    "the benchmark's own publisher": ("benchmarks/",),
}
_ORDER = ("the broker", *(part for part in PARTS if part != "the broker"))
COLOURS = (
    "#0b6e4f", "#4c9f70", "#a3c9a8", "#e3b23c", "#c8553d", "#8d5a97", "#5b7db1", "#9fb4d9", "#bbbbbb", "#e0e0e0",
)  # fmt: skip


def main() -> None:
    console = Console()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.where_time_goes", description=__doc__)
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="FOLDER", help="where to put the picture")
    options = parser.parse_args()
    if not (BIN / "py-spy").exists():
        sys.exit("py-spy is missing: pip install -r requirements-bench.lock")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        status = stack.enter_context(console.status("Preparing …"))
        url = stack.enter_context(redis_server(folder))
        bench = prepare(folder, url, argparse.Namespace(scale=1.0, seconds=SECONDS))
        shares = {}
        for title, (name, situation) in SITUATIONS.items():
            if name == OURS_REDIS and not url:
                continue
            status.update(f"{title} …")
            shares[title] = situation(bench, PEERS[name])
    _show(console, shares)
    console.print(f"The picture is {_draw(shares, options.output)}.")


def _fan_out(bench: Bench, peer: Peer) -> dict[str, float]:
    clients = bench.users(500)
    with bench.server(peer) as server, bench.load(server, peer, clients) as generator:
        server.publish(Traffic(2_000), SECONDS + 4)
        return _profiled(bench, server, lambda: generator.tell(f"measure {SECONDS + 2}"))


def _personal(bench: Bench, peer: Peer) -> dict[str, float]:
    clients = owners(bench)
    with bench.server(peer) as server, bench.load(server, peer, clients, topics=len(clients)) as generator:
        server.publish(Traffic(len(clients), topics=len(clients), personal=True), SECONDS + 4)
        return _profiled(bench, server, lambda: generator.tell(f"measure {SECONDS + 2}"))


def _connecting(bench: Bench, peer: Peer) -> dict[str, float]:
    def connect() -> None:
        with bench.load(server, peer, bench.users(5_000)):
            pass

    with bench.server(peer) as server:
        return _profiled(bench, server, connect)


SITUATIONS: Mapping[str, tuple[str, Callable[[Bench, Peer], dict[str, float]]]] = {
    "fan-out: 2,000 msg/s to 500 clients": (OURS, _fan_out),
    "personal topics: 5,000 msg/s to 5,000 users": (OURS, _personal),
    "the same through Redis": (OURS_REDIS, _personal),
    "connecting, with token and snapshot": (OURS, _connecting),
}


def _profiled(bench: Bench, server: Server, work: Callable[[], object]) -> dict[str, float]:
    """Each part's share of the samples in which Python ran."""
    output = bench.folder / "profile"
    profiler = subprocess.Popen(
        [
            BIN / "py-spy", "record", "--pid", str(server.pid), "--gil", "--format", "raw",
            "--duration", str(SECONDS), "--rate", str(SAMPLES_PER_SECOND), "--output", output,
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    work()
    _, said = profiler.communicate()
    if profiler.returncode:
        raise BenchmarkFailed(f"py-spy could not look at the server: {said.decode()[-400:]}")
    counts: Counter[str] = Counter()
    for line in output.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        counts[_part(stack.split(";"))] += int(count)
    return {part: count / counts.total() for part, count in counts.items()}


def _part(frames: list[str]) -> str:
    for frame in reversed(frames):
        for part in _ORDER:
            if any(piece in frame for piece in PARTS[part]):
                return part
    return "the event loop and threads"


def _show(console: Console, shares: Mapping[str, Mapping[str, float]]) -> None:
    table = Table(title="Where the server's time goes", title_justify="left")
    table.add_column("")
    for title in shares:
        table.add_column(title, justify="right")
    for part in PARTS:
        table.add_row(part, *(f"{its.get(part, 0):.0%}" for its in shares.values()))
    console.print(table)


def _draw(shares: Mapping[str, Mapping[str, float]], folder: Path) -> Path:
    import matplotlib as mpl  # noqa: PLC0415 - slow to load

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "sharewise"
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after the choice above

    picture, axes = plt.subplots(figsize=(9, 0.6 * len(shares) + 2.2))
    left = [0.0] * len(shares)
    for part, colour in zip(PARTS, COLOURS, strict=True):
        widths = [its.get(part, 0.0) for its in shares.values()]
        bars = axes.barh(list(shares), widths, left=left, color=colour, label=part)
        axes.bar_label(bars, [f"{w:.0%}" if w > 0.04 else "" for w in widths], label_type="center", fontsize=8)
        left = [begin + width for begin, width in zip(left, widths, strict=True)]
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.tick_params(axis="x", bottom=False, labelbottom=False)
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, -0.02), ncols=3, fontsize=8, frameon=False)
    path = folder / "where-time-goes.svg"
    picture.savefig(path, bbox_inches="tight", metadata={"Date": None})
    plt.close(picture)
    return path


if __name__ == "__main__":
    try:
        main()
    except BenchmarkFailed as failed:
        sys.exit(str(failed))
