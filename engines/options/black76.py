"""Black's model of options on a forward (F. Black, 1976), vectorised over strikes.

Price of a call: `e^(-rT) (F N(d1) - K N(d2))`, of a put: `e^(-rT) (K N(-d2) - F N(-d1))`, with
`d1 = (ln(F/K) + v^2 T / 2) / (v sqrt(T))` and `d2 = d1 - v sqrt(T)`. Greeks by differentiation: Hull, "Options,
Futures, and Other Derivatives", chapter 18.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Array = NDArray[np.float64]
DAYS_PER_YEAR = 365.0


class Greeks(msgspec.Struct, frozen=True):
    """One array per measure, one item per strike. theta per day; vega and rho per percentage point."""

    price: Array
    delta: Array
    gamma: Array
    theta: Array
    vega: Array
    rho: Array


def greeks(
    forward: float, strikes: Array, years: float, volatility: Array | float, rate: float, *, is_call: bool
) -> Greeks:
    """Price and Greeks. Needs `forward > 0`, `strikes > 0`, `years > 0`, `volatility > 0`; raises `ValueError`."""
    volatilities = np.broadcast_to(np.asarray(volatility, dtype=np.float64), strikes.shape)
    if not (forward > 0 and years > 0 and bool(np.all(strikes > 0)) and bool(np.all(volatilities > 0))):
        raise ValueError("forward, strikes, years and volatility must be positive")
    sign = 1.0 if is_call else -1.0
    root = volatilities * np.sqrt(years)
    d1 = np.log(forward / strikes) / root + root / 2
    d2 = d1 - root
    discount = np.exp(-rate * years)
    density = np.exp(-d1 * d1 / 2) / np.sqrt(2 * np.pi)
    price = discount * sign * (forward * ndtr(sign * d1) - strikes * ndtr(sign * d2))
    decay = -discount * forward * density * volatilities / (2 * np.sqrt(years)) + rate * price
    return Greeks(
        price=price,
        delta=discount * sign * ndtr(sign * d1),
        gamma=discount * density / (forward * root),
        theta=decay / DAYS_PER_YEAR,
        vega=discount * forward * density * np.sqrt(years) / 100,
        rho=-years * price / 100,
    )
