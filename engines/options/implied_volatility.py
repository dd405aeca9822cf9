"""The volatility at which Black's model gives a price, for whole chains at once.

Solved for the total deviation `s = v sqrt(T)` on the out-of-the-money option's normalised price
`b = price / (e^(-rT) sqrt(F K))`, as in P. Jaeckel, "Let's be rational" (2015), whose two outer transformations, of an
exact asymptote each, give the start; here they meet at the inflection point `s_c = sqrt(2 |ln(F/K)|)`, joined by the
rational cubic of Delbourgo and Gregory (1985). Then a fixed number of Householder steps of the third order, on `ln b`
below half of the greatest possible price and on `ln(b_max - b)` above, neither of which cancels or underflows.
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx, ndtr, ndtri

from engines.options.black76 import ROOT_HALF, ROOT_HALF_PI, ROOT_TWO_PI, Array, Flags

Reason = Literal["below_intrinsic", "above_bound", "no_price", "no_time_value", "expired", "no_forward"]
REASONS: tuple[Reason | None, ...] = (
    None,
    "no_price",
    "below_intrinsic",
    "no_time_value",
    "above_bound",
    "expired",
    "no_forward",
)
"""What the codes of `ImpliedVolatility.reason` mean; 0 is an option that has a volatility."""
NO_PRICE, BELOW_INTRINSIC, NO_TIME_VALUE, ABOVE_BOUND, EXPIRED, NO_FORWARD = range(1, 7)

_STEPS = 3
_LEAST_NORMALISED = 1e-300
_EPSILON = float(np.finfo(np.float64).eps)
_ROOT_3 = math.sqrt(3.0)
_LN_ROOT_TWO_PI = math.log(ROOT_TWO_PI)
_TINY = 1e-300
_LEAST_DEVIATION = 1e-60  # under it powers of s would overflow; no market is there
_HALF = 0.5 - 1e-12


class ImpliedVolatility(msgspec.Struct, frozen=True):
    """Per option: volatility per year as a fraction, NaN where there is none, and then a code that `REASONS` names."""

    volatility: Array
    reason: NDArray[np.int8]


def implied_volatility(
    prices: Array, forward: float, strikes: Array, years: float, rate: float, *, is_call: Flags | bool
) -> ImpliedVolatility:
    """The volatilities of options of one expiry. Any price is taken, NaN too; what has no volatility has a reason.

    `no_price`: not positive or not finite; `below_intrinsic`: under the discounted intrinsic value; `no_time_value`: at
    it, within rounding; `above_bound`: at or over the discounted forward (of a put, strike); `expired`: `years <= 0`.
    Needs a positive finite `forward` and `strikes`; raises `ValueError`.
    """
    if not (0 < forward < math.inf and bool(np.all((strikes > 0) & (strikes < math.inf)))):
        raise ValueError("forward and strikes must be positive and finite")
    reason = np.zeros(np.broadcast(prices, strikes).shape, dtype=np.int8)
    if not years > 0:
        reason[...] = EXPIRED
        return ImpliedVolatility(np.full(reason.shape, math.nan), reason)
    discount = math.exp(-rate * years)
    priced = (prices > 0) & (prices < math.inf)
    in_the_money = np.where(is_call, forward - strikes, strikes - forward)
    intrinsic = discount * np.maximum(in_the_money, 0.0)
    noise = np.where(in_the_money > 0, 4 * _EPSILON * discount * (forward + strikes), 0.0)
    scale = discount * math.sqrt(forward) * np.sqrt(strikes)
    beyond_any = 4 * discount * np.maximum(forward, strikes)  # what is dearer would only overflow
    time_value = np.minimum(np.where(priced, prices, 0.0), beyond_any) - intrinsic
    normalised = time_value / scale
    complement = (discount * np.minimum(forward, strikes) - time_value) / scale
    reason[complement <= 0] = ABOVE_BOUND
    reason[(time_value <= noise) | (normalised < _LEAST_NORMALISED)] = NO_TIME_VALUE
    reason[time_value < -noise] = BELOW_INTRINSIC
    reason[~priced] = NO_PRICE
    found = reason == 0
    distance = np.abs(np.log(forward / strikes))
    greatest = np.exp(distance * -0.5)
    normalised = np.where(found, normalised, greatest / 2)  # anything that can be solved
    complement = np.where(found, complement, greatest / 2)
    deviation = _deviation(distance, normalised, complement, greatest)
    return ImpliedVolatility(np.where(found, deviation / math.sqrt(years), math.nan), reason)


def _deviation(distance: Array, normalised: Array, complement: Array, greatest: Array) -> Array:
    """`s` of normalised out-of-the-money prices; `distance` is `|ln(F/K)|`, `complement` is `greatest - normalised`."""
    s = np.maximum(_start(distance, normalised, complement, greatest), _LEAST_DEVIATION)
    by_price = normalised < complement
    side = np.where(by_price, 1.0, -1.0)
    target = np.log(np.where(by_price, normalised, complement)) + _LN_ROOT_TWO_PI
    for _ in range(_STEPS):
        h, t = distance / s, s / 2
        h_squared = h * h
        ratio = ROOT_HALF_PI * (erfcx(side * (h - t) * ROOT_HALF) - side * erfcx((h + t) * ROOT_HALF))
        # Where two nearly equal tails leave no digits, the first term of the difference is a lower bound.
        ratio = np.maximum(ratio, np.where(by_price, s / (h_squared + 3), _TINY))
        error = np.log(ratio) - (h_squared + t * t) / 2 - target
        slope = side / ratio
        vega_slope = h_squared / s - t / 2  # of ln(vega): its derivative with respect to s
        second = vega_slope - slope
        third = second * second - slope * second - 3 * h_squared / (s * s) - 0.25
        newton = -error / slope
        step = newton * (1 + newton * second / 2) / (1 + newton * (second + newton * third / 6))
        s = np.maximum(s + np.clip(step, s * -0.5, s + 0.1), _LEAST_DEVIATION)
    return s


def _start(distance: Array, normalised: Array, complement: Array, greatest: Array) -> Array:
    """`s` to a few per cent."""
    distance = np.maximum(distance, _TINY)
    at = np.sqrt(2 * distance)  # the inflection point: d1 = 0
    tail = erfcx(np.sqrt(distance))
    vega = greatest / ROOT_TWO_PI
    price = greatest / 2 * (1 - tail)
    below = normalised < price
    # Below: the price tends to g(s) = c N(-x / (sqrt(3) s))^3; above: the complement tends to 2 N(-s / 2).
    z = np.sqrt(distance / 6)
    n = ndtr(-z)
    c = 2 * math.pi / (3 * _ROOT_3) * distance
    g = c * n**3
    g_slope = c * n * n * np.exp(z * z * -0.5) / ROOT_TWO_PI * (_ROOT_3 / 2)
    width = np.where(below, price, greatest / 2 * (1 + tail))
    transformed = _rational_cubic(
        np.where(below, normalised, complement) / width,
        width,
        np.where(below, g, ndtr(at * -0.5)),
        np.where(below, 1.0, 0.5),
        np.where(below, g_slope / vega, np.exp(distance / 4) / 2),
    )
    level = np.where(below, np.cbrt(transformed / c), transformed)
    quantile = -ndtri(np.clip(level, _TINY, _HALF))
    s: Array = np.where(below, distance / (_ROOT_3 * quantile), 2 * quantile)
    # Above the inflection point the price is concave in s: its tangent there is a lower bound, and best near it.
    bounded: Array = np.where(below, s, np.maximum(s, at + (normalised - price) / vega))
    return bounded


def _rational_cubic(u: Array, width: Array, end: Array, slope_at_0: Array, slope_at_1: Array) -> Array:
    """Monotone and, where the data are, convex or concave: through (0, 0) and (`width`, `end`), at `u * width`."""
    mean = end / width
    left, right = mean - slope_at_0, slope_at_1 - mean
    product = left * right
    shape = np.where(product > 0, (left * left + right * right) / np.maximum(product, _TINY) + 1, 3.0)
    shape = np.minimum(np.maximum(shape, (slope_at_0 + slope_at_1) / mean), 1e12)
    v = 1 - u
    above = end * u**3 + (shape * end - width * slope_at_1) * u * u * v + width * slope_at_0 * u * v * v
    return above / (1 + (shape - 3) * u * v)
