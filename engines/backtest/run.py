"""A backtest from its spec to its result. What is modelled and what is not: docs/explanation/engines/backtests.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from engines.backtest.market import BacktestFailed, historical_market
from engines.backtest.results import BacktestResult, Benchmark, Trade, sharpe_interval
from engines.backtest.simulation import BacktestProgress, Simulation
from engines.backtest.spec import NO_LIMITS, BacktestSpec
from engines.backtest.traders import BUY_AND_HOLD, trader_of
from engines.learning.spec import LabelSpec
from engines.market.calendar import TRADING_DAYS_PER_YEAR
from engines.market.history import Column, History
from engines.trading.performance import cagr, calmar, max_drawdown, sharpe, sortino

__all__ = [
    "BacktestCancelled",
    "BacktestFailed",
    "BacktestProgress",
    "BacktestResult",
    "Benchmark",
    "Trade",
    "run_backtest",
]


class BacktestCancelled(Exception):
    """Someone asked to stop."""


def run_backtest(
    history: History,
    spec: BacktestSpec,
    *,
    report: Callable[[BacktestProgress], None],
    cancelled: Callable[[], bool],
    probabilities: Mapping[str, Column] | None = None,
    label: LabelSpec | None = None,
) -> BacktestResult:
    """Trade by `spec` over the bars of its symbols and days; earlier bars only warm indicators up.

    The strategy "model" needs `probabilities`: P(up) at the close of each bar of each whole series, NaN where the model
    says nothing, and begins on the first day of which it says something; and `label`: what "up" means, and within which
    horizon. A symbol that is not in them is not traded.
    `report` is called after each simulated day, and `cancelled` asked before it. The same input gives the same result.
    Raises `BacktestFailed` (for the user), `BacktestCancelled`, and `ValueError` for probabilities that do not fit.
    """
    spoken = probabilities if spec.strategy == "model" else None
    market = historical_market(history, spec, spoken)
    run = Simulation(market, spec, trader_of(spec, market, spoken, label))
    held_spec = msgspec.structs.replace(spec, strategy="buy_and_hold", limits=NO_LIMITS)
    held = run if spec == held_spec else Simulation(market, held_spec, trader_of(held_spec, market))
    for day, moments in market.moments():
        if cancelled():
            raise BacktestCancelled
        if held is not run:
            held.pass_day(day, moments)
        report(run.pass_day(day, moments))
    account, totals = run.account, run.account.book.totals()
    cash = float(spec.opening_cash)
    values, held_values = [cash, *run.equity], [cash, *held.equity]
    low, high = sharpe_interval(values, spec.seed)
    years = len(run.equity) / TRADING_DAYS_PER_YEAR
    return BacktestResult(
        strategy=run.description,
        start=market.days[0],
        end=market.days[-1],
        opening_cash=spec.opening_cash,
        final_equity=totals.total_value,
        total_return=values[-1] / cash - 1,
        cagr=cagr(values),
        sharpe=sharpe(values),
        sharpe_low=low,
        sharpe_high=high,
        sortino=sortino(values),
        calmar=calmar(values),
        max_drawdown=max_drawdown(values),
        trades=account.record.trades,
        win_rate=account.record.win_rate,
        profit_factor=account.record.profit_factor,
        exposure=sum(run.invested_shares) / len(run.invested_shares),
        turnover=float(account.traded_value) / years / (sum(run.equity) / len(run.equity)),
        charges=totals.charges,
        refused_orders=dict(sorted(account.refused.items())),
        days=market.days,
        equity_curve=tuple(run.equity),
        benchmark_curve=tuple(held.equity),
        benchmark=Benchmark(
            name=BUY_AND_HOLD,
            total_return=held_values[-1] / cash - 1,
            cagr=cagr(held_values),
            sharpe=sharpe(held_values),
            max_drawdown=max_drawdown(held_values),
        ),
        trade_list=tuple(account.trades),
    )
