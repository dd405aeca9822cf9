"""`manage.py backtest`: backtest a model, or a strategy, from the terminal."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any, get_args

import msgspec
from django.conf import settings
from django.core.management import BaseCommand
from django.core.management.base import CommandParser
from rich.console import Console
from rich.table import Table

from apps.ai_studio import payloads, services, terminal
from engines.backtest.picture import draw
from engines.backtest.spec import StrategyName

LISTED_TRADES = 8


class Command(BaseCommand):
    help = (
        "Run a strategy, or a model's own predictions, over historical bars, with the paper broker and the charges "
        "that trade live; show the result beside buying and holding, and draw it. "
        "For example: manage.py backtest --strategy trend; manage.py train && manage.py backtest"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        terminal.add_model_arguments(parser)
        parser.add_argument(
            "--strategy", choices=get_args(StrategyName), help="default: model, once it is trained; else trend"
        )
        parser.add_argument("--symbols", metavar="A,B", help="default: those of the model")
        parser.add_argument("--start", type=date.fromisoformat, metavar="YYYY-MM-DD", help="first day")
        parser.add_argument("--end", type=date.fromisoformat, metavar="YYYY-MM-DD", help="last day")
        parser.add_argument("--cash", metavar="RUPEES", help="to begin with (default: 1,000,000)")
        parser.add_argument("--share", type=float, help="of the equity, for each position (default: 0.1)")
        parser.add_argument("--slippage", type=float, metavar="BASIS_POINTS", help="default: 5")
        parser.add_argument("--picture", type=Path, help="where the equity curve goes, .png or .svg (default: var/…)")

    def handle(self, **options: Any) -> None:
        console = Console(file=self.stdout._out)
        owner = terminal.owner_of(options)
        model = terminal.known_model(owner, options["model"])
        spec = _spec(options)
        spec.setdefault("strategy", "model" if model.version else "trend")
        job = terminal.start(lambda: services.start_backtest(model, spec))
        console.print(f"Backtesting {spec['strategy']} under {model.name!r} of {owner.email}; job {job.pk}")
        terminal.run_here(console, job, _words)
        results = msgspec.convert(job.result, payloads.BacktestResults)
        if results.trade_list:
            console.print(_trades(results))
        console.print(_table(results))
        path = options["picture"] or Path(settings.BASE_DIR) / "var" / "backtests" / f"{job.pk}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        points = results.equity_curve or ()
        draw(
            path,
            title=_title(results),
            opening_cash=float(results.opening_cash or 0),
            days=[point.day for point in points],
            equity=[point.equity for point in points],
            benchmark=[point.benchmark for point in points],
        )
        console.print(f"Equity curve: {path}", soft_wrap=True)


def _title(results: payloads.BacktestResults) -> str:
    figures = (("{:+.1%} a year", results.cagr), ("Sharpe {:.2f}", results.sharpe))
    parts = [
        f"{results.start} to {results.end}",
        *(_shown(value, form) for form, value in figures if value is not None),
    ]
    parts += [f"max drawdown {results.max_drawdown:.1%}", f"{results.trades:,} trades"]
    return f"{results.strategy}\n{' · '.join(parts)}"


def _spec(options: dict[str, Any]) -> dict[str, Any]:
    names = {
        "strategy": "strategy",
        "start": "start",
        "end": "end",
        "cash": "opening_cash",
        "share": "position_share",
        "slippage": "slippage_basis_points",
        "seed": "seed",
    }
    spec = {key: options[name] for name, key in names.items() if options[name] is not None}
    if options["symbols"]:
        spec["symbols"] = [symbol.strip().upper() for symbol in options["symbols"].split(",") if symbol.strip()]
    return spec


def _words(progress: Any) -> str:
    if "simulated_date" not in progress:
        return "loading bars"
    return f"{progress['simulated_date']} · equity {progress['equity']:,.0f} · {progress['trades']} trades"


def _trades(results: payloads.BacktestResults) -> Table:
    table = Table(title=f"The last of {results.trades} closed trades")
    for name in ("symbol", "units", "opened", "closed", "entry", "exit", "P&L", "why"):
        table.add_column(name, justify="right" if name in {"units", "entry", "exit", "P&L"} else "left", no_wrap=True)
    for trade in (results.trade_list or ())[-LISTED_TRADES:]:
        table.add_row(
            trade.symbol,
            f"{trade.quantity:,}",
            str(trade.opened_on),
            str(trade.closed_on),
            f"{trade.entry_price:,.2f}",
            f"{trade.exit_price:,.2f}",
            f"{trade.pnl:,.0f}",
            trade.reason,
        )
    return table


def _table(results: payloads.BacktestResults) -> Table:
    table = Table(title=f"{results.strategy}, {results.start} to {results.end}")
    table.add_column("measure")
    table.add_column("result", justify="right")
    table.add_column(results.benchmark.name if results.benchmark else "", justify="right")
    benchmark = results.benchmark
    both = (
        ("total return", results.total_return, benchmark and benchmark.total_return, "{:.2%}"),
        ("CAGR", results.cagr, benchmark and benchmark.cagr, "{:.2%}"),
        ("Sharpe", results.sharpe, benchmark and benchmark.sharpe, "{:.2f}"),
        ("max drawdown", results.max_drawdown, benchmark and benchmark.max_drawdown, "{:.2%}"),
    )
    alone = (
        ("Sortino", results.sortino, "{:.2f}"),
        ("Calmar", results.calmar, "{:.2f}"),
        ("trades", results.trades, "{:,}"),
        ("win rate", results.win_rate, "{:.1%}"),
        ("profit factor", results.profit_factor, "{:.2f}"),
        ("exposure", results.exposure, "{:.1%}"),
        ("turnover per year", results.turnover, "{:.2f}"),
        ("charges", results.charges, "{:,.2f}"),
        ("final equity", results.final_equity, "{:,.2f}"),
    )
    for name, value, other, form in both:
        table.add_row(name, _shown(value, form), _shown(other, form))
    if results.sharpe_low is not None and results.sharpe_high is not None:
        table.add_row("  95 % interval", f"{results.sharpe_low:.2f} to {results.sharpe_high:.2f}", "")
    for name, value, form in alone:
        table.add_row(name, _shown(value, form), "")
    return table


def _shown(value: Any, form: str) -> str:
    return "–" if value is None or value is msgspec.UNSET else form.format(value)
