"""A moving volatility surface without static arbitrage.

At the money: total variance `w(T) = a^2 T + (s^2 - a^2) (1 - e^(-kT)) / k`, the expected variance of a mean-reverting
process that stands at `s^2` and goes to `a^2`. It grows with T whatever `s` is.

Across strikes: SSVI (J. Gatheral and A. Jacquier, "Arbitrage-free SVI volatility surfaces", 2014), with
`x = ln(K/F)`: `w(x, T) = w/2 (1 + p f x + sqrt((f x + p)^2 + 1 - p^2))`, `f = h / sqrt(w (1 + w))`, `w` that at the
money. So skew `p` and curvature `h` act on `ln(K/F) / (sigma sqrt(T))`. With `h (1 + |p|) <= 2` it admits neither
butterfly nor calendar arbitrage (their section 4).

Over time: `ln s` is an Ornstein-Uhlenbeck process, correlated with the index's return (Scott 1987; the leverage
effect).
"""

from __future__ import annotations

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_MOST_LOG_DEVIATION = 1.2  # 30 % to 330 % of the usual level: a market, however long it runs


class SurfaceParameters(msgspec.Struct, frozen=True):
    """Volatilities are per year, as fractions. Raises `ValueError` where the surface would admit arbitrage.

    level, long_level: at the money now on average, and of far expiries; reversion: per year, of the term structure;
    level_reversion, level_volatility: per year, of the moving level's logarithm; correlation: of its changes with the
    index's returns; index_volatility: of these returns.
    """

    level: float
    long_level: float
    index_volatility: float
    reversion: float = 4.0
    level_reversion: float = 12.0
    level_volatility: float = 1.0
    correlation: float = -0.7
    skew: float = -0.4
    curvature: float = 1.1

    def __post_init__(self) -> None:
        positive = (self.level, self.long_level, self.index_volatility, self.reversion, self.curvature)
        if not all(0 < number < math.inf for number in positive):
            raise ValueError(f"levels, reversion and curvature are {positive}, they must be positive and finite")
        if not (abs(self.skew) < 1 and abs(self.correlation) <= 1):
            raise ValueError(f"skew {self.skew} and correlation {self.correlation} must lie between -1 and 1")
        if self.curvature * (1 + abs(self.skew)) > 2:
            raise ValueError(
                f"curvature x (1 + |skew|) is {self.curvature * (1 + abs(self.skew)):g}, above 2 there is arbitrage"
            )


class VolatilitySurface:
    """The surface of one underlying. It starts at its usual level; `advance` moves it."""

    def __init__(self, parameters: SurfaceParameters) -> None:
        self.parameters = parameters
        self._log_deviation = 0.0

    @property
    def level(self) -> float:
        """Volatility at the money of the next instant, per year."""
        return self.parameters.level * math.exp(self._log_deviation)

    def advance(self, index_return: float, years: float, shock: float) -> None:
        """`years` of trading time have passed, in which the index moved by the log return `index_return`; `shock` is
        standard normal, the part of the move that the index does not explain."""
        p = self.parameters
        with_index = p.correlation * index_return / p.index_volatility
        own = math.sqrt((1 - p.correlation**2) * years) * shock
        kept = math.exp(-p.level_reversion * years)
        moved = self._log_deviation * kept + p.level_volatility * (with_index + own)
        self._log_deviation = min(max(moved, -_MOST_LOG_DEVIATION), _MOST_LOG_DEVIATION)

    def variance_at_the_money(self, years: Array) -> Array:
        """Total variance (volatility squared x years) where strike and forward are equal."""
        p = self.parameters
        excess = self.level**2 - p.long_level**2
        variance: Array = p.long_level**2 * years - excess * np.expm1(-p.reversion * years) / p.reversion
        return variance

    def total_variance(self, log_moneyness: Array, years: Array) -> Array:
        """Total variance at `ln(strike / forward)`; the arguments are broadcast, `years` must be positive."""
        p = self.parameters
        at_the_money = self.variance_at_the_money(years)
        moneyness = log_moneyness * p.curvature / np.sqrt(at_the_money * (1 + at_the_money))
        root = np.sqrt((moneyness + p.skew) ** 2 + 1 - p.skew**2)
        variance: Array = at_the_money / 2 * (1 + p.skew * moneyness + root)
        return variance

    def volatility(self, log_moneyness: Array, years: Array) -> Array:
        """Implied volatility, per year as a fraction."""
        volatility: Array = np.sqrt(self.total_variance(log_moneyness, years) / years)
        return volatility
