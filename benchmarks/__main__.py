"""`python -m benchmarks`: run the workloads, show a table, and write the results as JSON."""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks import fan_out
from benchmarks.fan_out import Measured
from benchmarks.machine import BenchmarkFailed, Server, build_load_generator
from benchmarks.peers.catalogue import PEERS, ROOT, Peer

console = Console()


class Results(msgspec.Struct, frozen=True):
    """What `--output` holds. `skipped` says which peers were not measured, and why."""

    date: datetime
    machine: str
    rows: list[Measured]
    skipped: dict[str, str]


def main() -> None:
    options = _parser().parse_args()
    chosen = [peer for peer in PEERS if not options.only or any(part in peer.name for part in options.only)]
    if not chosen:
        sys.exit(f"no peer is called {' or '.join(options.only)}; there are: {'; '.join(peer.name for peer in PEERS)}")
    rows: list[Measured] = []
    skipped = {peer.name: f"not installed: {peer.missing}" for peer in chosen if peer.missing}
    with tempfile.TemporaryDirectory() as name, _progress() as progress:
        folder = Path(name)
        step = progress.add_task("building the load generator", total=None)
        program = build_load_generator(folder)
        environment, token = _prepare(folder)
        for peer in chosen:
            if peer.missing:
                continue
            try:
                for row in _run(options, program, peer, environment=environment, token=token, folder=folder):
                    rows.append(row)
                    progress.update(
                        step,
                        description=f"{peer.name}: {row.messages_per_second:,.0f} msg/s to {row.clients} clients, "
                        f"{row.deliveries_per_second:,.0f} deliveries/s",
                    )
            except BenchmarkFailed as failed:
                skipped[peer.name] = str(failed)
    _show(rows, skipped)
    if options.output:
        results = Results(datetime.now(UTC), f"{platform.machine()}, {os.cpu_count()} cores", rows, skipped)
        options.output.write_bytes(msgspec.json.format(msgspec.json.encode(results)) + b"\n")
        console.print(f"The numbers are in {options.output}.")


def _run(
    options: argparse.Namespace, program: Path, peer: Peer, *, environment: dict[str, str], token: str, folder: Path
) -> Iterator[Measured]:
    """A server of its own for each workload: none pays for the one before."""
    with Server(peer, environment) as server:
        yield fan_out.at_rate(
            program, peer, server, token, folder, clients=options.clients, rate=20, seconds=options.seconds
        )
    with Server(peer, environment) as server:
        yield from fan_out.saturated(
            program, peer, server, token, folder, clients=options.clients, seconds=options.seconds
        )


def _prepare(folder: Path) -> tuple[dict[str, str], str]:
    environment = {
        "PYTHONPATH": str(ROOT),
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "DATABASE_URL": f"sqlite:///{folder / 'bench.sqlite3'}",
        "LIMIT_CONNECTIONS_PER_USER": "100000",
        "LOG_LEVEL": "WARNING",
    }
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.prepare", "1"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BenchmarkFailed(f"our database could not be prepared: {done.stderr[-800:]}")
    # The channels peers configure Django themselves.
    return {name: value for name, value in environment.items() if name != "DJANGO_SETTINGS_MODULE"}, done.stdout.strip()


def _show(rows: list[Measured], skipped: dict[str, str]) -> None:
    by_workload: defaultdict[str, list[Measured]] = defaultdict(list)
    for row in rows:
        by_workload[row.workload].append(row)
    for workload, its_rows in by_workload.items():
        best: dict[str, Measured] = {}
        for row in its_rows:
            if row.peer not in best or row.deliveries_per_second > best[row.peer].deliveries_per_second:
                best[row.peer] = row
        ours = best.get("ours")
        table = Table(title=f"{workload}, {its_rows[0].clients} clients")
        for column in ("", "msg/s", "deliveries/s", "ours is", "p50 ms", "p99 ms", "lost", "cut off", "server CPU"):
            table.add_column(column, justify="left" if not column else "right")
        for row in sorted(best.values(), key=lambda row: -row.deliveries_per_second):
            ratio = ours.deliveries_per_second / row.deliveries_per_second if ours and row.deliveries_per_second else 0
            table.add_row(
                row.peer,
                f"{row.messages_per_second:,.0f}",
                f"{row.deliveries_per_second:,.0f}",
                f"{ratio:,.1f} times" if ratio else "",
                f"{row.p50_ms:,.1f}",
                f"{row.p99_ms:,.1f}",
                f"{row.lost:,}",
                f"{row.closed:,}",
                f"{row.server_cpu:.0%}",
            )
        console.print(table)
    for name, reason in skipped.items():
        console.print(f"skipped {name}: {reason}")


def _progress() -> Progress:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Ours beside what else a team could pick, measured in one run."
    )
    parser.add_argument("--only", action="append", default=[], metavar="PEER", help="measure peers whose name has this")
    parser.add_argument("--clients", type=int, default=500, help="how many clients listen (default: 500)")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each step is measured (default: 3)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="where to write the results as JSON")
    return parser


if __name__ == "__main__":
    main()
