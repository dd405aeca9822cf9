"""What a chain says as a whole: the volatility at the money, the skew, and where the open interest lies."""

from __future__ import annotations

import math

import msgspec
import numpy as np
from scipy.special import ndtr

from engines.options.black76 import Array


class Smile(msgspec.Struct, frozen=True):
    """`volatility` is by strike: of the out-of-the-money option, of the other where that has none, else NaN.

    `at_the_money`: at the forward, linear between the strikes beside it that have a volatility. `risk_reversal`: that
    of the 25-delta call less that of the 25-delta put; `butterfly`: the mean of those two less `at_the_money`. The
    delta here is that of the forward, not discounted, so that it depends on no rate (Clark, "Foreign Exchange Option
    Pricing", 2011, chapter 3). None where the quoted strikes do not reach so far: nothing is extrapolated.
    """

    volatility: Array
    at_the_money: float | None
    risk_reversal: float | None
    butterfly: float | None


def smile_of(strikes: Array, call_volatility: Array, put_volatility: Array, forward: float, years: float) -> Smile:
    """From implied volatilities with NaN where there is none; `years` positive."""
    is_above = strikes >= forward
    first = np.where(is_above, call_volatility, put_volatility)
    volatility = np.where(np.isnan(first), np.where(is_above, put_volatility, call_volatility), first)
    known = np.flatnonzero(~np.isnan(volatility))
    if not known.size:
        return Smile(volatility, None, None, None)
    strike, known_volatility = strikes[known], volatility[known]
    within = bool(strike[0] <= forward <= strike[-1])
    at_the_money = float(np.interp(forward, strike, known_volatility)) if within else None
    deviation = known_volatility * math.sqrt(years)
    call_delta = ndtr(np.log(forward / strike) / deviation + deviation / 2)
    call = _where(call_delta, 0.25, known_volatility, np.abs(strike - forward))
    put = _where(call_delta, 0.75, known_volatility, np.abs(strike - forward))
    if call is None or put is None:
        return Smile(volatility, at_the_money, None, None)
    butterfly = None if at_the_money is None else (call + put) / 2 - at_the_money
    return Smile(volatility, at_the_money, call - put, butterfly)


def _where(delta: Array, level: float, volatility: Array, distance: Array) -> float | None:
    """The volatility where delta passes the level, linear in delta; the passing nearest to the money."""
    over = delta - level
    passings = np.flatnonzero(over[:-1] * over[1:] <= 0)
    if not passings.size:
        return None
    left = int(passings[np.argmin(distance[passings])])
    step = over[left] - over[left + 1]
    share = over[left] / step if step else 0.5
    return float(volatility[left] + share * (volatility[left + 1] - volatility[left]))


def max_pain(strikes: Array, call_open_interest: Array, put_open_interest: Array) -> float | None:
    """The strike at which, were it the settlement, holders would be paid least; the lowest of several. None without
    open interest."""
    if not (np.any(call_open_interest > 0) or np.any(put_open_interest > 0)):
        return None
    paid_to_calls = np.maximum(strikes[:, None] - strikes, 0.0)
    return float(strikes[np.argmin(paid_to_calls @ call_open_interest + paid_to_calls.T @ put_open_interest)])


def ratio(puts: float, calls: float) -> float | None:
    """Put-call ratio; None when there are no calls."""
    return puts / calls if calls > 0 else None
