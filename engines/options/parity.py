"""The forward of an expiry from its own options: a call less a put of one strike is worth the discounted forward less
the discounted strike (put-call parity, H. Stoll, 1969), so each pair of quotes names a forward."""

from __future__ import annotations

import numpy as np

from engines.options.black76 import Array
from engines.options.quotes import SideQuotes

PAIRS = 8
"""At most so many pairs, the nearest to the money, are heard: far in the money the spreads say nothing."""
_LEAST_WIDTH = 1e-6  # of the strike: a model quotes without spread, and would have all the weight


def synthetic_forward(strikes: Array, calls: SideQuotes, puts: SideQuotes, discount: float) -> float | None:
    """The forward, or None where no strike has both options quoted on both sides.

    The median over all pairs finds the money, whatever a few bad quotes say. Of the `PAIRS` strikes nearest to it the
    median weighted by `1 / spread^2` is taken, and then the mean, weighted alike, of the pairs whose bid and ask allow
    that forward: a mean, since a middle price is only known to half a tick.
    """
    pairs = np.flatnonzero(calls.two_sided & puts.two_sided)
    if not pairs.size:
        return None
    strike = strikes[pairs]
    implied = strike + (calls.middle[pairs] - puts.middle[pairs]) / discount
    nearest = np.argsort(np.abs(strike - np.median(implied)), kind="stable")[:PAIRS]
    pairs, strike, implied = pairs[nearest], strike[nearest], implied[nearest]
    width = (calls.spread[pairs] + puts.spread[pairs]) / discount + _LEAST_WIDTH * strike
    weight = width**-2.0
    order = np.argsort(implied, kind="stable")
    cumulated = np.cumsum(weight[order])
    median = implied[order[np.searchsorted(cumulated, cumulated[-1] / 2)]]
    agree = np.abs(implied - median) <= width / 2
    return float(np.sum(implied[agree] * weight[agree]) / np.sum(weight[agree]))
