"""The Greeks of what is held."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import ArrayLike

from engines.options.black76 import Array

_MEASURES = ("value", "delta", "gamma", "theta", "vega", "rho")


class PortfolioGreeks(msgspec.Struct, frozen=True):
    """Sums over positions, in the units of `black76.Greeks` times units held. `left_out` positions had no Greeks."""

    value: float = 0.0
    delta: float = 0.0
    gamma: float = 0.0
    theta: float = 0.0
    vega: float = 0.0
    rho: float = 0.0
    left_out: int = 0


def portfolio_greeks(
    units: ArrayLike,
    *,
    price: ArrayLike,
    delta: ArrayLike,
    gamma: ArrayLike,
    theta: ArrayLike,
    vega: ArrayLike,
    rho: ArrayLike,
) -> PortfolioGreeks:
    """Sums of signed units held (quantity x multiplier, negative is short) times the measures of one unit.

    One item per position, None or NaN where a measure is not known (lists of a `SideAnalysis` can be indexed and given
    as they are); a position that lacks any is left out of all sums and counted. Deltas and gammas of different
    underlyings do not add up: call once per underlying. Raises `ValueError` for lengths that differ.
    """
    held = np.asarray(units, dtype=np.float64)
    table = _table(held, (price, delta, gamma, theta, vega, rho))
    known = np.isfinite(table).all(axis=0) & np.isfinite(held)
    sums = (np.where(known, table, 0.0) @ np.where(known, held, 0.0)).tolist()
    return PortfolioGreeks(**dict(zip(_MEASURES, sums, strict=True)), left_out=int(held.size - known.sum()))


def _table(held: Array, measures: Sequence[ArrayLike]) -> Array:
    rows = [np.asarray(measure, dtype=np.float64) for measure in measures]
    if any(row.shape != held.shape or row.ndim != 1 for row in rows):
        raise ValueError(f"each measure needs one item per position, {held.shape}; came {[row.shape for row in rows]}")
    return np.stack(rows)
