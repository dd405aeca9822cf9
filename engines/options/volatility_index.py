"""A volatility index by the method of the Cboe VIX, which the NSE's India VIX follows, and ranks of volatility.

Source: Cboe, "White Paper: Cboe Volatility Index" (2019). The variance of an expiry is the fair value of its variance
swap, replicated by its out-of-the-money options: `v = 2/T sum(dK/K^2 e^(rT) Q(K)) - 1/T (F/K0 - 1)^2`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Literal

import msgspec
import numpy as np

from engines.options.black76 import Array, Flags
from engines.options.quotes import ChainQuotes

HORIZON_YEARS = 30 / 365
MINIMUM_DAYS = 30
WINDOW_DAYS = 252


class TermVariance(msgspec.Struct, frozen=True):
    """The variance (per year) of one expiry, and of what it was made."""

    years: float
    forward: float
    strike_zero: float
    variance: float
    lowest_strike: float
    highest_strike: float
    option_count: int


class VolatilityIndex(msgspec.Struct, frozen=True):
    """`value` in percentage points (13.69). `nearest_term`: no two expiries stand on both sides of 30 days, so it is
    the volatility of the nearest one, `near`, unchanged."""

    value: float
    method: Literal["interpolated", "nearest_term"]
    near: TermVariance
    next: TermVariance | None


def term_variance(chain: ChainQuotes, years: float, rate: float) -> TermVariance | None:
    """The replicated variance of one expiry; None where the quotes do not suffice for one.

    As the white paper has it: the forward is that of the strike where call and put differ least; K0 is the strike at
    or below it; going outwards from it, an option without a bid is left out, and two of them running end the strip;
    at K0 the mean of call and put counts. A crossed or incomplete quote is one without a bid.
    """
    if not years > 0:
        return None
    strikes, calls, puts = chain.strikes, chain.calls, chain.puts
    difference = np.where(calls.two_sided & puts.two_sided, calls.middle - puts.middle, math.inf)
    if not np.isfinite(difference).any():
        return None
    nearest = int(np.argmin(np.abs(difference)))
    growth = math.exp(rate * years)
    forward = float(strikes[nearest] + growth * difference[nearest])
    zero = int(np.searchsorted(strikes, forward, side="right")) - 1
    if zero < 0 or not (calls.two_sided[zero] and puts.two_sided[zero]):
        return None
    lower = zero - 1 - _strip(puts.two_sided[:zero][::-1])
    higher = zero + 1 + _strip(calls.two_sided[zero + 1 :])
    included = np.concatenate((lower[::-1], [zero], higher))
    if included.size < 2:
        return None
    strike = strikes[included]
    price = np.concatenate(
        (puts.middle[lower[::-1]], [(calls.middle[zero] + puts.middle[zero]) / 2], calls.middle[higher])
    )
    variance = 2 / years * growth * float(np.sum(_widths(strike) / strike**2 * price))
    variance -= (forward / strikes[zero] - 1) ** 2 / years
    if not 0 < variance < math.inf:
        return None
    return TermVariance(
        years=years,
        forward=forward,
        strike_zero=float(strikes[zero]),
        variance=float(variance),
        lowest_strike=float(strike[0]),
        highest_strike=float(strike[-1]),
        option_count=int(included.size),
    )


def _strip(has_bid: Flags) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Offsets, going outwards, of the options that count: those with a bid, before two running that have none."""
    ends = np.flatnonzero(~has_bid[:-1] & ~has_bid[1:])
    return np.flatnonzero(has_bid[: ends[0]] if ends.size else has_bid)


def _widths(strikes: Array) -> Array:
    """Half the distance between the neighbours; at the ends, the distance to the one neighbour."""
    gaps = np.diff(strikes)
    return np.concatenate((gaps[:1], (gaps[:-1] + gaps[1:]) / 2, gaps[-1:]))


def volatility_index(terms: Iterable[TermVariance | None]) -> VolatilityIndex | None:
    """The volatility of the next 30 calendar days, from expiries in any order; None without one.

    Between the expiries on both sides of 30 days total variance `T v` is linear in time, as in the white paper. When
    all lie on one side it is not drawn on beyond them: from two weekly expiries a line would magnify their noise
    several times. The nearest expiry's volatility is taken, and `method` says so.
    """
    known = sorted((term for term in terms if term is not None), key=lambda term: term.years)
    before = [term for term in known if term.years <= HORIZON_YEARS]
    after = [term for term in known if term.years > HORIZON_YEARS]
    if not known:
        return None
    if not before or not after:
        nearest = before[-1] if before else after[0]
        return VolatilityIndex(100 * math.sqrt(nearest.variance), "nearest_term", nearest, None)
    near, following = before[-1], after[0]
    share = (following.years - HORIZON_YEARS) / (following.years - near.years)
    total = near.years * near.variance * share + following.years * following.variance * (1 - share)
    return VolatilityIndex(100 * math.sqrt(total / HORIZON_YEARS), "interpolated", near, following)


class IvRank:
    """Where a volatility stands among the at-the-money volatilities of the last `window_days` days, 0 to 100.

    None until `minimum_days` days are known. `history` restores: days and volatilities, in order.
    """

    def __init__(
        self,
        history: Sequence[tuple[date, float]] = (),
        *,
        window_days: int = WINDOW_DAYS,
        minimum_days: int = MINIMUM_DAYS,
    ) -> None:
        if not 1 <= minimum_days <= window_days:
            raise ValueError(f"needs 1 <= minimum_days <= window_days, came {minimum_days} and {window_days}")
        self._minimum_days = minimum_days
        self._days: deque[tuple[date, float]] = deque(maxlen=window_days)
        for day, volatility in history:
            self.add(day, volatility)

    @property
    def history(self) -> list[tuple[date, float]]:
        return list(self._days)

    def add(self, day: date, volatility: float | None) -> None:
        """Take a day's volatility; a second of the same day replaces the first. None, NaN and what is not positive is
        passed over. Raises `ValueError` for a day before the last."""
        if volatility is None or not 0 < volatility < math.inf:
            return
        if self._days and day < self._days[-1][0]:
            raise ValueError(f"days come in order, but {day} came after {self._days[-1][0]}")
        if self._days and day == self._days[-1][0]:
            self._days.pop()
        self._days.append((day, volatility))

    def iv_rank(self, volatility: float) -> float | None:
        """Between the lowest (0) and the highest (100) of the window; outside them it is the nearer. None when all
        days were alike."""
        if len(self._days) < self._minimum_days or not math.isfinite(volatility):
            return None
        known = [value for _, value in self._days]
        low, high = min(known), max(known)
        return None if low == high else min(100.0, max(0.0, 100 * (volatility - low) / (high - low)))

    def iv_percentile(self, volatility: float) -> float | None:
        """The share of the window's days that were below."""
        if len(self._days) < self._minimum_days or not math.isfinite(volatility):
            return None
        return 100 * sum(value < volatility for _, value in self._days) / len(self._days)
