"""How well an account or a strategy did: from its closed trades, and from its value at the end of each day.

Ratios are yearly, of 252 days, with a risk-free rate of 0. A figure that the numbers do not define is `None`, never NaN
or infinite. `daily_values` begins with the value before the first day: n days of trading are n + 1 values, n returns. A
series that touches 0 or less before its last value has no returns, and so no ratios. Every function raises `ValueError`
for a value that is not finite.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal

import msgspec
import numpy as np
import numpy.typing as npt

from engines.market.calendar import TRADING_DAYS_PER_YEAR
from engines.trading.book import ZERO, FillOutcome

NO_DEVIATION = 1e-12  # daily; below it is the rounding of floats, not risk


class TradeStats(msgspec.Struct, frozen=True):
    """Closed trades so far. Each fill that reduces a position is one trade, with the P&L that it realised *before*
    charges, so that `gross_profit - gross_loss` is the realised P&L of the books to the last digit. One that realised 0
    is neither won nor lost. `gross_loss` is positive."""

    trades: int = 0
    wins: int = 0
    losses: int = 0
    gross_profit: Decimal = ZERO
    gross_loss: Decimal = ZERO

    def after(self, outcome: FillOutcome) -> TradeStats:
        """With one more fill; the same when it closed nothing."""
        if not outcome.closed_quantity:
            return self
        won, lost = outcome.realised > 0, outcome.realised < 0
        return TradeStats(
            trades=self.trades + 1,
            wins=self.wins + won,
            losses=self.losses + lost,
            gross_profit=self.gross_profit + (outcome.realised if won else ZERO),
            gross_loss=self.gross_loss - (outcome.realised if lost else ZERO),
        )

    @property
    def win_rate(self) -> float | None:
        """Won trades among all, 0 to 1; `None` without trades."""
        return self.wins / self.trades if self.trades else None

    @property
    def profit_factor(self) -> float | None:
        """Gross profit per rupee of gross loss; `None` while nothing was lost."""
        return float(self.gross_profit / self.gross_loss) if self.gross_loss else None


class Drawdown(msgspec.Struct, frozen=True):
    """How far a value is below its highest so far: a share of that peak, over 1 when the value is negative."""

    peak: float
    current: float = 0.0
    maximum: float = 0.0

    def after(self, value: float) -> Drawdown:
        """With one more value. Raises `ValueError` when it is not finite."""
        if not math.isfinite(value):
            raise ValueError(f"a value of {value} has no drawdown")
        peak = max(self.peak, value)
        current = (peak - value) / peak if peak > 0 else 0.0
        return Drawdown(peak, current, max(self.maximum, current))


def daily_returns(daily_values: Sequence[float]) -> npt.NDArray[np.float64]:
    """value / previous value - 1; empty where the module's docstring says that there are none."""
    values = np.asarray(daily_values, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("a daily value is not finite")
    if len(values) < 2 or values[:-1].min() <= 0:
        return np.empty(0)
    returns: npt.NDArray[np.float64] = values[1:] / values[:-1] - 1
    return returns


def sharpe(daily_values: Sequence[float]) -> float | None:
    """Mean daily return by its sample deviation (n - 1), times the root of 252 (Sharpe 1994).

    `None` under two returns, or when they do not vary.
    """
    returns = daily_returns(daily_values)
    if len(returns) < 2:
        return None
    deviation = float(returns.std(ddof=1))
    return _yearly(float(returns.mean()), deviation)


def sortino(daily_values: Sequence[float]) -> float | None:
    """As `sharpe`, by the downside deviation: root of the mean, over all days, of the squared losses, target 0
    (Sortino and Price 1994). `None` under two returns, or without a losing day."""
    returns = daily_returns(daily_values)
    if len(returns) < 2:
        return None
    downside = float(np.sqrt(np.mean(np.minimum(returns, 0) ** 2)))
    return _yearly(float(returns.mean()), downside)


def _yearly(mean: float, deviation: float) -> float | None:
    return mean / deviation * math.sqrt(TRADING_DAYS_PER_YEAR) if deviation > NO_DEVIATION else None


def cagr(daily_values: Sequence[float]) -> float | None:
    """The yearly growth that leads from the first value to the last: (last / first)^(252 / days) - 1.

    -1 when all was lost; `None` without returns. Of less than a year it is an extrapolation.
    """
    returns = daily_returns(daily_values)
    if not len(returns):
        return None
    growth = daily_values[-1] / daily_values[0]
    if growth <= 0:
        return -1.0
    exponent = TRADING_DAYS_PER_YEAR / len(returns) * math.log(growth)
    return math.expm1(exponent) if exponent < math.log(np.finfo(np.float64).max) else None


def max_drawdown(daily_values: Sequence[float]) -> float:
    """The greatest fall from a peak, as a share of it (`Drawdown`); 0 without one."""
    if not len(daily_values):
        return 0.0
    drawdown = Drawdown(peak=float(daily_values[0]))
    for value in daily_values:
        drawdown = drawdown.after(float(value))
    return drawdown.maximum


def calmar(daily_values: Sequence[float]) -> float | None:
    """`cagr` by `max_drawdown`, over the whole series (Young 1991 takes 36 months); `None` without a drawdown."""
    growth, fall = cagr(daily_values), max_drawdown(daily_values)
    return growth / fall if growth is not None and fall > NO_DEVIATION else None
