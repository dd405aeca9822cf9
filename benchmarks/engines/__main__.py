"""`python -m benchmarks.engines`: the engines' targets, each beside the plain way in one run."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.engines import live_pnl, options
from benchmarks.engines.results import EngineResults, Measured, page
from benchmarks.machine import machine

PAGE_WIDTH = 120


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the engines' targets; under a minute.")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="write engines.json and engines.md there")
    chosen = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else PAGE_WIDTH)
    with console.status("Marking 20,000 accounts with 10 positions each …"):
        marks = live_pnl.run()
    with console.status("Analysing a chain of 82 options …"):
        chain = options.run()
    results = EngineResults(
        date=datetime.now(UTC),
        machine=machine(),
        measured=[
            Measured(
                title="20,000 accounts with 10 positions each, marked at a tick",
                ours_ms=marks["mark_ms"],
                plain="a loop over the same books",
                plain_ms=marks["loop_over_books_ms"],
                target_ms=50,
            ),
            Measured(
                title="a chain of 82 options: forward, implied volatilities, Greeks, statistics",
                ours_ms=chain["analyse_ms"],
                plain="a loop with SciPy's root finder",
                plain_ms=chain["scipy_loop_ms"],
                target_ms=2,
            ),
        ],
    )
    table = Table("", "ms", "target", "plain way", "times faster")
    for each in results.measured:
        table.add_row(
            each.title, f"{each.ours_ms:.2f}", f"{each.target_ms:g}", f"{each.plain_ms:.1f} ms", f"{each.ratio:.0f}"
        )
    console.print(table)
    if chosen.output:
        chosen.output.mkdir(parents=True, exist_ok=True)
        (chosen.output / "engines.json").write_bytes(msgspec.json.format(msgspec.json.encode(results)) + b"\n")
        (chosen.output / "engines.md").write_text(page(results))
    missed = [each.title for each in results.measured if not each.met]
    if missed:
        sys.exit(f"missed: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
