"""Black's model of options on a forward (F. Black, "The pricing of commodity contracts", 1976), vectorised.

Price of a call: `e^(-rT) (F N(d1) - K N(d2))`, of a put: `e^(-rT) (K N(-d2) - F N(-d1))`, with
`d1 = (ln(F/K) + v^2 T / 2) / (v sqrt(T))` and `d2 = d1 - v sqrt(T)`. Greeks by differentiation: Hull, "Options,
Futures, and Other Derivatives", chapter 18.

The two terms of that price nearly cancel far from the money and in the last minutes. So what is computed is the value
of the out-of-the-money option, with the common factor taken out of the two (P. Jaeckel, "Let's be rational", 2015):
`e^(-rT) F n(d1) R`, `R = sqrt(pi/2) (erfcx((|h|-t)/sqrt(2)) - erfcx((|h|+t)/sqrt(2)))`, `h = ln(F/K)/s`, `t = s/2`,
`s = v sqrt(T)`; in the money the intrinsic value is added to it, and both are positive.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx, ndtr

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
DAYS_PER_YEAR = 365.0
ROOT_HALF = math.sqrt(0.5)
ROOT_TWO_PI = math.sqrt(2 * math.pi)
ROOT_HALF_PI = math.sqrt(math.pi / 2)
_LEAST_DEVIATION = 1e-100  # v sqrt(T) outside these says no more than at them, and would overflow
_MOST_DEVIATION = 50.0


class Greeks(msgspec.Struct, frozen=True):
    """One array per measure, one item per strike, of one unit of the underlying.

    delta: change of the price per 1 of the **forward** (discounted; per 1 of the spot it is `delta * forward / spot`);
    gamma: change of delta per 1 of the forward; theta: change of the price per calendar day that passes, the forward
    unchanged; vega and rho: change of the price per percentage point of volatility and of the rate, the forward
    unchanged (so rho is that of the discounting only).
    """

    price: Array
    delta: Array
    gamma: Array
    theta: Array
    vega: Array
    rho: Array


def greeks(
    forward: Array | float,
    strikes: Array,
    years: Array | float,
    volatility: Array | float,
    rate: float,
    *,
    is_call: Flags | bool,
) -> Greeks:
    """Price and Greeks. The arguments are broadcast against each other, so a chain of calls and puts is one call.

    `volatility` and `rate` are per year as fractions (0.14 is 14 %). Needs `forward`, `strikes`, `years` and
    `volatility` positive and finite; raises `ValueError`.
    """
    for argument in (forward, strikes, years, volatility):
        if not np.all((np.asarray(argument) > 0) & (np.asarray(argument) < math.inf)):
            raise ValueError("forward, strikes, years and volatility must be positive and finite")
    sign = np.where(is_call, 1.0, -1.0)
    root_years = np.sqrt(years)
    deviation = np.clip(volatility * root_years, _LEAST_DEVIATION, _MOST_DEVIATION)
    discount = np.exp(-rate * np.asarray(years))
    h, t = np.log(forward / strikes) / deviation, deviation / 2
    distance = np.abs(h)
    ratio = ROOT_HALF_PI * (erfcx((distance - t) * ROOT_HALF) - erfcx((distance + t) * ROOT_HALF))
    # Where two nearly equal tails leave no digits, the first term of their difference is a lower bound.
    ratio = np.maximum(ratio, deviation / (h * h + 3))
    # discount * F * n(d1), which equals discount * K * n(d2)
    density = discount * np.sqrt(forward * strikes) * np.exp((h * h + t * t) * -0.5) / ROOT_TWO_PI
    price = density * ratio + discount * np.maximum(sign * (forward - strikes), 0.0)
    return Greeks(
        price=price,
        delta=discount * sign * ndtr(sign * (h + t)),
        gamma=density / (forward * (forward * deviation)),
        theta=(rate * price - density * volatility / (2 * root_years)) / DAYS_PER_YEAR,
        vega=density * root_years / 100,
        rho=-years * price / 100,
    )
