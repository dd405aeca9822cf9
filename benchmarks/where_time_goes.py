"""`python -m benchmarks.where_time_goes`: a picture of what our server spends its core on.

A sampling profiler looks at the server 200 times a second while it fans out, publishes to many users, and takes
connections. A sample counts if the server was running, for the innermost part of the system that it is in. What
collecting garbage took, Python itself says: it is a part of its own, and taken off the one in whose midst it began.
The rates are such that the server keeps up although it is looked at: one that does not is seen queueing, not working.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.__main__ import RESULTS, prepare
from benchmarks.machine import LOAD_CORE, BenchmarkFailed, Load, Server, redis_server
from benchmarks.peers.catalogue import BIN, OURS, OURS_REDIS, PEERS, Peer
from benchmarks.traffic import Traffic
from benchmarks.workloads.addressed import owners
from benchmarks.workloads.base import Bench

SECONDS = 15
SAMPLES_PER_SECOND = 200
FAN_OUT_RATE = 4_000.0
PERSONAL_RATE = 5_000.0
KEEPS_UP = 0.9  # of what is published in that time must arrive in that time
CONNECTIONS = 12_000

GARBAGE = "collecting garbage"
OTHER = "the event loop and threads"

# The first that is in a frame's path says what the frame belongs to.
PARTS: Mapping[str, tuple[str, ...]] = {
    "writing to sockets": ("write (realtime/transports/uvicorn.py",),
    "the broker": ("realtime/brokers/", "redis/"),
    "the hub, connections, frames": ("realtime/",),
    "validating and encoding": ("apps/streaming/publishing.py", "apps/streaming/validation.py"),
    "tokens": ("jwt/", "apps/accounts/tokens.py"),
    "the ORM and the database": ("django/", "apps/trading/services.py"),
    "the handshake (uvicorn, websockets)": ("uvicorn/", "websockets/"),
    "streams and Channels": ("apps/", "channels/"),
    OTHER: ("asyncio/", "asgiref/", "concurrent/", "threading.py"),
    "the benchmark's own publisher": ("benchmarks/",),
    GARBAGE: (),
}
WAITS = ("_worker (concurrent/futures/thread.py", "wait (threading.py")  # the profiler takes waiting in C for running
COLOURS = (
    "#0b6e4f", "#e3b23c", "#4c9f70", "#a3c9a8", "#c8553d", "#8d5a97", "#5b7db1", "#9fb4d9", "#bbbbbb", "#e0e0e0",
    "#666666",
)  # fmt: skip


@dataclass(frozen=True)
class Profile:
    """`shares` of the server's CPU time, by part; `server_cpu`: how much of its core that was."""

    shares: Mapping[str, float]
    server_cpu: float
    samples: int


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
        profiles = {}
        for title, (name, situation) in SITUATIONS.items():
            if name == OURS_REDIS and not url:
                continue
            status.update(f"{title} …")
            profiles[title] = situation(bench, PEERS[name])
    _show(console, profiles)
    console.print(f"The picture is {_draw(profiles, options.output)}.")


def _fan_out(bench: Bench, peer: Peer) -> Profile:
    clients = bench.users(500)
    with _server(bench, peer) as server, bench.load(server, peer, clients) as generator:
        traffic = Traffic(FAN_OUT_RATE)
        return _profiled(bench, server, lambda: _deliver(server, generator, traffic, len(clients)))


def _personal(bench: Bench, peer: Peer) -> Profile:
    clients = owners(bench)
    with _server(bench, peer) as server, bench.load(server, peer, clients, topics=len(clients)) as generator:
        traffic = Traffic(PERSONAL_RATE, topics=len(clients), personal=True)
        return _profiled(bench, server, lambda: _deliver(server, generator, traffic, 1))


def _connecting(bench: Bench, peer: Peer) -> Profile:
    def connect() -> None:
        with bench.load(server, peer, bench.users(CONNECTIONS)):
            pass

    with _server(bench, peer) as server:
        return _profiled(bench, server, connect)


def _deliver(server: Server, generator: Load, traffic: Traffic, each: int) -> None:
    server.publish(traffic, 2 * SECONDS)
    answer = generator.tell(f"measure {SECONDS}")
    share = answer["deliveries"] / (traffic.rate * each * answer["seconds"])
    if share < KEEPS_UP or answer["gaps"]:
        raise BenchmarkFailed(f"the server did not keep up: {share:.0%} arrived in time, {answer['gaps']} were lost")


SITUATIONS: Mapping[str, tuple[str, Callable[[Bench, Peer], Profile]]] = {
    f"fan-out: {FAN_OUT_RATE:,.0f} msg/s to 500 clients": (OURS, _fan_out),
    f"personal topics: {PERSONAL_RATE:,.0f} msg/s to 5,000 users": (OURS, _personal),
    "the same through Redis": (OURS_REDIS, _personal),
    "connecting, with token and snapshot": (OURS, _connecting),
}


def _server(bench: Bench, peer: Peer) -> Server:
    return bench.server(peer, BENCH_GARBAGE="1")


def _profiled(bench: Bench, server: Server, work: Callable[[], object]) -> Profile:
    """What the server does meanwhile."""
    output = bench.folder / "profile"
    with ThreadPoolExecutor(1) as meanwhile:
        working = meanwhile.submit(work)
        server.garbage()  # forget what there was before
        began, used_before = time.monotonic(), server.cpu_seconds
        profiler = subprocess.run(
            [
                BIN / "py-spy", "record", "--pid", str(server.pid), "--format", "raw", "--output", output,
                "--duration", str(SECONDS), "--rate", str(SAMPLES_PER_SECOND),
            ],
            capture_output=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {LOAD_CORE}),
            check=False,
        )  # fmt: skip
        used, elapsed = server.cpu_seconds - used_before, time.monotonic() - began
        collections = server.garbage()
        working.result()
    if profiler.returncode:
        raise BenchmarkFailed(f"py-spy could not look at the server: {profiler.stderr.decode()[-400:]}")
    counts: Counter[str] = Counter()
    for line in output.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        if not any(waits in stack.rpartition(";")[2] for waits in WAITS):
            counts[_part(stack.split(";"))] += int(count)
    shares = {part: count / counts.total() for part, count in counts.items()}
    for frames, seconds in collections:
        shares[_part(frames)] = shares.get(_part(frames), 0.0) - seconds / used
        shares[GARBAGE] = shares.get(GARBAGE, 0.0) + seconds / used
    return Profile({part: max(share, 0.0) for part, share in shares.items()}, used / elapsed, counts.total())


def _part(frames: Sequence[str]) -> str:
    for frame in reversed(frames):
        for part, pieces in PARTS.items():
            if any(piece in frame for piece in pieces):
                return part
    return OTHER


def _show(console: Console, profiles: Mapping[str, Profile]) -> None:
    table = Table(title="Where the server's time goes", title_justify="left")
    table.add_column("")
    for title in profiles:
        table.add_column(title, justify="right")
    for part in PARTS:
        table.add_row(part, *(f"{its.shares.get(part, 0):.0%}" for its in profiles.values()))
    table.add_row("server CPU", *(f"{its.server_cpu:.0%}" for its in profiles.values()))
    table.add_row("samples", *(f"{its.samples:,}" for its in profiles.values()))
    console.print(table)


def _draw(profiles: Mapping[str, Profile], folder: Path) -> Path:
    import matplotlib as mpl  # noqa: PLC0415 - slow to load

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "sharewise"
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after the choice above

    picture, axes = plt.subplots(figsize=(9, 0.6 * len(profiles) + 2.2))
    left = [0.0] * len(profiles)
    for part, colour in zip(PARTS, COLOURS, strict=True):
        widths = [its.shares.get(part, 0.0) for its in profiles.values()]
        bars = axes.barh(list(profiles), widths, left=left, color=colour, label=part)
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
