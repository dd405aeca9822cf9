"""Measure how often each strategy's signals hit their target, and write what `calibration` reads and the page about it.

    python -m engines.trading.calibrate

Two markets: the daily bars that are shipped, walked as `SignalEngine.on_history_bar` says (the stop before the
target), and the simulated market, by its quotes, as it is traded live, with a seed that no default uses. The same
inputs give the same files.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Hashable, Iterable, Sequence
from datetime import date, datetime
from itertools import count
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import Progress

from engines.market.bars import BarBuilder
from engines.market.feeds.replay import load_bars
from engines.market.feeds.simulated import SimulatedFeed
from engines.market.quotes import DAY_SECONDS, Bar
from engines.trading.calibration import (
    PATH,
    Calibration,
    CalibrationFile,
    MarketTables,
    Outcome,
    fit,
    split_moment,
)
from engines.trading.calibration_page import page
from engines.trading.signals import MAX_AGE_BARS, SignalEngine, SignalEvent
from engines.trading.strategies.base import all_strategies

ROOT = Path(__file__).parents[2]
DAILY = ROOT / "data" / "daily_bars.csv"
PAGE = ROOT / "docs" / "explanation" / "engines" / "signals-calibration.md"
FIRST_DAY = date(2026, 1, 5)
SESSIONS, SEED = 250, 20_260

Report = Callable[[float], None]  # how much of the work is done, 0 to 1


class _Ledger:
    """An engine with all strategies, the bars that it saw, and how its signals ended."""

    def __init__(self, bar_seconds: int) -> None:
        numbers = count(1)
        self.engine = SignalEngine(
            all_strategies(), Calibration("none", bar_seconds), new_id=lambda: str(next(numbers))
        )
        self._bar_seconds = bar_seconds
        self._outcomes: dict[str, list[Outcome]] = {strategy.name: [] for strategy in all_strategies()}
        self._moments: list[datetime] = []
        self._symbols: set[str] = set()

    def note(self, events: Iterable[SignalEvent], moment: datetime) -> None:
        for event in events:
            if event.realised_r is not None:
                reward = abs(event.target_price - event.entry_price)
                self._outcomes[event.strategy].append(
                    Outcome(
                        score=event.score,
                        driftless_rate=event.risk / (event.risk + reward),
                        opened_at=event.opened_at,
                        closed_at=moment,
                        status=event.status,
                        realised_r=event.realised_r,
                    )
                )

    def count(self, bar: Bar) -> None:
        self._moments.append(bar.time)
        self._symbols.add(bar.symbol)

    def tables(self, data: str) -> MarketTables:
        split = split_moment(self._moments)
        return MarketTables(
            data=data,
            bar_seconds=self._bar_seconds,
            bars=len(self._moments),
            symbols=sorted(self._symbols),
            split=split.date(),
            tables={
                name: fit(outcomes, split, _cluster(self._bar_seconds)) for name, outcomes in self._outcomes.items()
            },
        )


def measure_bars(bars: Sequence[Bar], bar_seconds: int, data: str, report: Report) -> MarketTables:
    """Over bars in order of time. Raises `ValueError` when a strategy has no signal before or after the split."""
    ledger = _Ledger(bar_seconds)
    for number, bar in enumerate(bars, start=1):
        ledger.count(bar)
        ledger.note(ledger.engine.on_history_bar(bar), bar.time)
        if number % 100 == 0:
            report(number / len(bars))
    return ledger.tables(data)


async def measure_simulated(sessions: int, seed: int, report: Report) -> MarketTables:
    """Over so many sessions of the simulated market's shares and indices, quote by quote. Raises as `measure_bars`."""
    feed = SimulatedFeed(start=FIRST_DAY, sleep=_no_pause, seed=seed, options=False)
    symbols = {instrument.symbol for instrument in feed.instruments if instrument.kind in ("index", "equity")}
    ledger, builder = _Ledger(feed.bar_seconds), BarBuilder(feed.bar_seconds)
    for earlier in feed.warmup():
        if earlier.symbol in symbols:
            ledger.engine.warm_up(earlier)
    days: set[date] = set()
    async for batch in feed.batches():
        quotes = [quote for quote in batch if quote.symbol in symbols]
        days.add(quotes[0].time.date())
        if len(days) > sessions:
            break
        report((len(days) - 1) / sessions)
        ledger.note(ledger.engine.on_quotes(quotes), quotes[0].time)
        for closed in [bar for quote in quotes if (bar := builder.add(quote)) is not None]:
            ledger.count(closed)
            ledger.note(ledger.engine.on_bar(closed), quotes[0].time)
    return ledger.tables(
        f"{feed.description} (`engines/market/feeds/simulated.py`), seed {seed}, {sessions} sessions from {FIRST_DAY}"
    )


def _cluster(bar_seconds: int) -> Callable[[datetime], Hashable]:
    """Signals that opened on the same day, of daily bars in the same month, are no independent cases."""
    if bar_seconds < DAY_SECONDS:
        return datetime.date
    return lambda opened_at: (opened_at.year, opened_at.month)


async def _no_pause(_seconds: float) -> None:
    return


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description="Measure the strategies' hit rates; write the calibration and its page."
    )
    parser.add_argument("--bars", type=Path, default=DAILY, help="daily bars (default: those shipped)")
    parser.add_argument("--sessions", type=int, default=SESSIONS, help="sessions of the simulated market (%(default)s)")
    parser.add_argument("--seed", type=int, default=SEED, help="of the simulated market (%(default)s)")
    parser.add_argument("--json", type=Path, default=PATH, help="where the tables go")
    parser.add_argument("--page", type=Path, default=PAGE, help="where the page goes")
    chosen = parser.parse_args(arguments)
    console = Console()
    file = load_bars(chosen.bars)
    with Progress(console=console) as progress:
        first = progress.add_task("daily bars", total=1.0)
        second = progress.add_task("simulated market", total=1.0)
        daily = measure_bars(
            file.bars, DAY_SECONDS, f"`data/{chosen.bars.name}`", lambda done: progress.update(first, completed=done)
        )
        progress.update(first, completed=1.0)
        simulated = asyncio.run(
            measure_simulated(chosen.sessions, chosen.seed, lambda done: progress.update(second, completed=done))
        )
        progress.update(second, completed=1.0)
    tables = CalibrationFile(MAX_AGE_BARS, {"daily": daily, "simulated": simulated})
    chosen.json.parent.mkdir(parents=True, exist_ok=True)
    chosen.json.write_bytes(msgspec.json.format(msgspec.json.encode(tables), indent=2) + b"\n")
    chosen.page.write_text(page(tables), encoding="utf-8")
    console.print(f"wrote {chosen.json} and {chosen.page}")


if __name__ == "__main__":
    main()
