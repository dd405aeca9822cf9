"""Labels: what came of each bar's close, and from when on that is known. They look ahead, and nothing else here does.

`LabelSpec` says what the two kinds mean. A close that ended where it began counts as not higher.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engines.learning.features import STILL, volatility_of
from engines.learning.spec import LabelSpec
from engines.market.history import BarSeries, Column, Indexes

UNKNOWN = -1


class Labels(NamedTuple):
    """One of each per bar. `up`: 1.0, 0.0, or NaN while it is not known. `known_at`: the index of the bar at whose
    close the label is known, `UNKNOWN` without one."""

    up: Column
    known_at: Indexes


def labels_of(series: BarSeries, spec: LabelSpec) -> Labels:
    """The labels of every bar of the series, as far as the series knows them. Prices must be positive and finite."""
    if spec.kind == "direction":
        return _directions(series, spec.horizon_bars)
    return _first_barriers(series, spec)


def barriers_of(close: Column, spec: LabelSpec) -> tuple[Column, Column]:
    """The lower and the upper barrier of each close, as prices; NaN where it has none."""
    width = _volatility_ahead(close, spec.horizon_bars)
    return close * np.exp(-spec.stop_volatilities * width), close * np.exp(spec.target_volatilities * width)


def _volatility_ahead(close: Column, horizon: int) -> Column:
    """Of so many bars together; NaN without any."""
    width: Column = volatility_of(close) * np.sqrt(horizon)
    width[~(width > STILL)] = np.nan
    return width


def _directions(series: BarSeries, horizon: int) -> Labels:
    length = len(series)
    up, known_at = np.full(length, np.nan), np.full(length, UNKNOWN, dtype=np.int64)
    known = max(length - horizon, 0)
    up[:known] = series.close[horizon:] > series.close[:known]
    known_at[:known] = np.arange(known) + horizon
    return Labels(up, known_at)


def _first_barriers(series: BarSeries, spec: LabelSpec) -> Labels:
    """Highs and lows decide which barrier is reached first. Which of the two a bar reached first that reached both, it
    does not tell: the lower counts, which is the pessimist's choice. A bar without volatility has its barriers where
    it closed, and so no label; nor have the first bars, whose volatility is not known."""
    length, horizon = len(series), spec.horizon_bars
    up, known_at = np.full(length, np.nan), np.full(length, UNKNOWN, dtype=np.int64)
    high, low, close = np.log(series.high), np.log(series.low), np.log(series.close)
    width = _volatility_ahead(series.close, horizon)
    upper, lower = close + spec.target_volatilities * width, close - spec.stop_volatilities * width
    undecided = np.flatnonzero(np.isfinite(width))
    # step by step ahead, for all bars at once that no step has decided: at most `horizon` passes over the columns
    for ahead in range(1, horizon + 1):
        undecided = undecided[undecided + ahead < length]
        now = undecided + ahead
        fell, rose = low[now] <= lower[undecided], high[now] >= upper[undecided]
        decided = fell | rose
        if ahead == horizon:
            rose |= ~decided & (series.close[now] > series.close[undecided])
            decided[:] = True
        up[undecided[decided]] = (rose & ~fell)[decided]
        known_at[undecided[decided]] = now[decided]
        undecided = undecided[~decided]
    return Labels(up, known_at)
