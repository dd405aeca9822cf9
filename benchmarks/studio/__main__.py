"""`python -m benchmarks.studio`: streams beside training, and long backtests."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from rich.console import Console
from rich.markdown import Markdown

from benchmarks.machine import machine
from benchmarks.studio import beside_training, ten_years
from benchmarks.studio.results import StudioResults, page

PAGE_WIDTH = 120


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure AI Studio's targets; about two minutes.")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long to listen, idle and beside (%(default)s)")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="write studio.json and studio.md there")
    chosen = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else PAGE_WIDTH)
    with console.status("Ten years of daily bars, strategy by strategy …"):
        seconds = ten_years.run()
    with console.status("The P&L stream, idle and beside a training job …"):
        beside = beside_training.run(chosen.seconds)
    results = StudioResults(datetime.now(UTC), machine(), beside, seconds)
    console.print(Markdown(page(results)))
    if chosen.output:
        chosen.output.mkdir(parents=True, exist_ok=True)
        (chosen.output / "studio.json").write_bytes(msgspec.json.format(msgspec.json.encode(results)) + b"\n")
        (chosen.output / "studio.md").write_text(page(results))
    if results.missed:
        sys.exit(f"missed: {'; '.join(results.missed)}")


if __name__ == "__main__":
    main()
