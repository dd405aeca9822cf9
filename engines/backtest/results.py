"""What came of a backtest, and how sure its Sharpe ratio is."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import msgspec
import numpy as np
import numpy.typing as npt

from engines.market.calendar import TRADING_DAYS_PER_YEAR
from engines.trading.performance import NO_DEVIATION, daily_returns

RESAMPLES = 1_000
MIN_RETURNS = 60  # fewer days say nothing about a year
_CHUNK = 100  # resamples at once, for the memory's sake


class Trade(msgspec.Struct, frozen=True):
    """A position from its opening to its end; prices per unit as filled, slippage included. `charges` are those of both
    ends, `pnl` is after them. `reason`: "stop", "target", "expired" or "opposite signal" of a signal; "probability",
    "horizon", "stop" or "target" of a model."""

    symbol: str
    quantity: int
    opened_on: date
    closed_on: date
    entry_price: Decimal
    exit_price: Decimal
    pnl: Decimal
    charges: Decimal
    reason: str


class Benchmark(msgspec.Struct, frozen=True):
    """The same cash, charges and slippage, an equal share in each symbol from its first opening to the end."""

    name: str
    total_return: float
    cagr: float | None
    sharpe: float | None
    max_drawdown: float


class BacktestResult(msgspec.Struct, frozen=True, kw_only=True):
    """`equity_curve` and `benchmark_curve`: value at the close of each of `days`. Ratios are yearly, of 252 days, with
    a risk-free rate of 0 (`engines.trading.performance`), `None` where they do not exist. `total_return`,
    `max_drawdown`, `exposure` (mean over days of what is invested by equity) are shares; `turnover`: value traded per
    year by mean equity.

    `trades`, `win_rate`, `profit_factor` and `trade_list` are of closed positions, after charges. What is open at the
    end stays open, is valued at the last close, and is in no trade; `charges` has those of its purchase.
    `refused_orders`: how many, by code. `sharpe_low` to `sharpe_high`: the 95 % interval (`sharpe_interval`).
    """

    strategy: str
    start: date
    end: date
    opening_cash: Decimal
    final_equity: Decimal
    total_return: float
    cagr: float | None
    sharpe: float | None
    sharpe_low: float | None
    sharpe_high: float | None
    sortino: float | None
    calmar: float | None
    max_drawdown: float
    trades: int
    win_rate: float | None
    profit_factor: float | None
    exposure: float
    turnover: float
    charges: Decimal
    refused_orders: dict[str, int]
    days: tuple[date, ...]
    equity_curve: tuple[float, ...]
    benchmark_curve: tuple[float, ...]
    benchmark: Benchmark
    trade_list: tuple[Trade, ...]


def sharpe_interval(daily_values: list[float], seed: int) -> tuple[float | None, float | None]:
    """The 2.5th and 97.5th percentile of the Sharpe ratio over resampled histories (`stationary_indexes`), with blocks
    of the cube root of the number of days on average. `None` under 60 returns, or when they do not vary.
    """
    returns = daily_returns(daily_values)
    if len(returns) < MIN_RETURNS or returns.std(ddof=1) <= NO_DEVIATION:
        return None, None
    random = np.random.default_rng(seed)
    mean_block = len(returns) ** (1 / 3)
    found = [
        _sharpes(returns[stationary_indexes(random, _CHUNK, len(returns), mean_block)])
        for _ in range(RESAMPLES // _CHUNK)
    ]
    low, high = np.nanpercentile(np.concatenate(found), (2.5, 97.5))
    return float(low), float(high)


def stationary_indexes(
    random: np.random.Generator, resamples: int, length: int, mean_block: float
) -> npt.NDArray[np.int64]:
    """Resamples x length indexes of the stationary bootstrap (Politis and Romano 1994): blocks that begin anywhere,
    with geometric lengths of the given mean, on the series bent into a circle. Keeps what days have to do with the
    days before them, which resampling single days would not."""
    begins = random.random((resamples, length)) < 1 / mean_block
    begins[:, 0] = True
    places = np.arange(length)
    begun_at = np.maximum.accumulate(np.where(begins, places, 0), axis=1)
    starts = np.take_along_axis(random.integers(length, size=(resamples, length)), begun_at, axis=1)
    indexes: npt.NDArray[np.int64] = (starts + places - begun_at) % length
    return indexes


def _sharpes(returns: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """`performance.sharpe` of many rows at once; NaN where it is `None`."""
    deviations = returns.std(axis=1, ddof=1)
    deviations[deviations <= NO_DEVIATION] = np.nan
    ratios: npt.NDArray[np.float64] = returns.mean(axis=1) / deviations * np.sqrt(TRADING_DAYS_PER_YEAR)
    return ratios
