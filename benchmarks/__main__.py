"""`python -m benchmarks`: run the workloads, show tables and what was to be reached, write JSON and plots."""

from __future__ import annotations

import argparse
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks import report
from benchmarks.machine import BenchmarkFailed, build_load_generator, machine, redis_server
from benchmarks.peers.catalogue import OURS, PEERS, ROOT, Client, Peer
from benchmarks.plots import draw
from benchmarks.report import best_of, to_limit
from benchmarks.results import FIGURES, Best, Results, Row, Verdict
from benchmarks.workloads import WORKLOADS
from benchmarks.workloads.base import Bench, Workload

USERS = 5_000
PAGE_WIDTH = 160  # where there is no terminal that says
RESULTS = ROOT / "docs" / "benchmarks"

console = Console(width=None if sys.stdout.isatty() else PAGE_WIDTH)


def main() -> None:
    options = _parser().parse_args()
    chosen = [w for w in WORKLOADS if not options.workload or any(part in w.name for part in options.workload)]
    if not chosen:
        sys.exit(f"no workload is called {' or '.join(options.workload)}; there are: {_listed(WORKLOADS)}")
    if options.only and not any(_wanted(name, options.only) for name in PEERS):
        sys.exit(f"no peer is called {' or '.join(options.only)}; there are: {'; '.join(PEERS)}")
    began = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        with console.status("Building the load generator, and a database with 5,000 users …"):
            bench = prepare(folder, stack.enter_context(redis_server(folder)), options)
        rows, skipped = _run_all(bench, chosen, options.only)
    results = Results(
        date=datetime.now(UTC),
        machine=machine(),
        seconds=time.monotonic() - began,
        rows=rows,
        verdicts=[verdict for workload in chosen for verdict in _verdicts(workload, rows)],
        skipped=skipped,
    )
    _show(chosen, results)
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        (options.output / "results.json").write_bytes(msgspec.json.format(msgspec.json.encode(results)) + b"\n")
        report.write(results, options.output)
        plots = draw(results, options.output)
        console.print(f"The numbers are in {options.output / 'results.json'}, with {len(plots)} plots beside it.")


def prepare(folder: Path, redis_url: str, options: argparse.Namespace) -> Bench:
    """The load generator, a database, and its users. Raises `BenchmarkFailed`."""
    environment = {
        "PYTHONPATH": str(ROOT),
        "DATABASE_URL": f"sqlite:///{folder / 'bench.sqlite3'}",
        "LIMIT_CONNECTIONS_PER_USER": "100000",
        "LOG_LEVEL": "WARNING",
        "DEBUG": "false",
        "ALLOWED_HOSTS": "localhost,127.0.0.1",
        "SECRET_KEY": secrets.token_hex(32),
        "ACCESS_TOKEN_SECONDS": "86400",
        "BENCH_REDIS_URL": redis_url,
    }
    users = max(10, round(USERS * options.scale))
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.prepare", str(users)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BenchmarkFailed(f"our database could not be prepared: {done.stderr[-800:]}")
    clients = [Client(token, session) for token, session in map(str.split, done.stdout.splitlines())]
    return Bench(
        build_load_generator(folder), folder, environment, clients, seconds=options.seconds, scale=options.scale
    )


def _run_all(bench: Bench, workloads: Sequence[Workload], only: Sequence[str]) -> tuple[list[Row], dict[str, str]]:
    rows: list[Row] = []
    skipped: dict[str, str] = {}
    turns = [(w, PEERS[name]) for w in workloads for name in w.peers if not only or _wanted(name, only)]
    columns = (
        SpinnerColumn(),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        step = progress.add_task("", total=len(turns))
        for workload, peer in turns:
            progress.update(step, description=f"{workload.title}: {peer.name}")
            try:
                if missing := _missing(peer, bench):
                    skipped[peer.name] = missing
                    continue
                for row in workload.run(bench, peer):
                    rows.append(row)
                    said = f"{workload.name}: {row.peer}: {_in_words(row.figures)}"
                    progress.update(step, description=said)
                    if not console.is_terminal:
                        console.print(said)
            except BenchmarkFailed as failed:
                skipped[f"{workload.name}, {peer.name}"] = str(failed)
            finally:
                progress.advance(step)
    return rows, skipped


def _missing(peer: Peer, bench: Bench) -> str:
    if peer.missing:
        return f"not installed: {peer.missing}"
    if "{redis_url}" in peer.environment.values() and "redis-server" in peer.programs:
        return "" if bench.environment["BENCH_REDIS_URL"] else "not installed: redis-server"
    return ""


def _verdicts(workload: Workload, rows: Sequence[Row]) -> list[Verdict]:
    best = best_of(workload, rows)
    verdicts = []
    for target in workload.targets:
        reached = target.reached(best)
        if reached is not None:
            verdicts.append(Verdict(workload.name, target.wanted, *reached))
    return verdicts


def _show(workloads: Sequence[Workload], results: Results) -> None:
    for workload in workloads:
        best = best_of(workload, results.rows)
        if best:
            console.print(_table(workload, best))
    for verdict in results.verdicts:
        mark = "[green]reached[/]" if verdict.met else "[red]missed [/]"
        console.print(f"{mark} {verdict.workload}: {verdict.wanted}: {verdict.reached}")
    for name, reason in results.skipped.items():
        console.print(f"skipped {name}: {reason}")
    console.print(f"{results.date:%Y-%m-%d}, {results.machine}, {results.seconds / 60:.0f} minutes")


def _table(workload: Workload, best: Best) -> Table:
    table = Table(title=workload.title, title_justify="left")
    table.add_column("")
    for column in workload.columns:
        table.add_column(FIGURES[column][0], justify="right")
    ours = best.get(OURS, {}).get("deliveries_per_second", 0.0)
    if ours:
        table.add_column("ours is", justify="right")
    ratios = to_limit(workload, best)
    if ratios:
        table.add_column("x limit", justify="right")
    for peer, figures in best.items():
        cells = [FIGURES[name][1].format(figures[name]) if name in figures else "" for name in workload.columns]
        rate = figures.get("deliveries_per_second")
        if ours:
            cells.append(f"{ours / rate:,.1f} times" if rate and peer != OURS else "")
        if ratios:
            cells.append(ratios.get(peer, ""))
        table.add_row(peer, *cells)
    return table


def _in_words(figures: Mapping[str, float]) -> str:
    shown = ("deliveries_per_second", "connects_per_second", "kib_per_connection")
    return ", ".join(
        f"{FIGURES[name][1].format(figures[name])} {FIGURES[name][0]}" for name in shown if name in figures
    )


def _wanted(name: str, only: Sequence[str]) -> bool:
    return any(part.lower() in name.lower() for part in only)


def _listed(workloads: Sequence[Workload]) -> str:
    return ", ".join(workload.name for workload in workloads)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Ours beside what else a team could pick, measured in one run.",
        epilog=f"Workloads: {_listed(WORKLOADS)}. Peers: {'; '.join(PEERS)}.",
    )
    parser.add_argument(
        "--workload", action="append", default=[], metavar="NAME", help="run these only (part of a name)"
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="PEER", help="measure these only (part of a name)"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="shrink the number of clients, 0.1: a tenth")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each step is measured (default: 3)")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help=f"where to write results.json and the plots ({RESULTS.relative_to(ROOT)} holds those of the docs)",
    )
    return parser


if __name__ == "__main__":
    try:
        main()
    except BenchmarkFailed as failed:
        sys.exit(str(failed))
