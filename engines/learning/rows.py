"""Rows: features and labels of all symbols together, in order of time. What a model is trained and tested on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from engines.learning.features import FEATURES, feature_matrix
from engines.learning.labels import labels_of
from engines.learning.spec import TrainingSpec
from engines.market.history import BarSeries, Column, History, Indexes, Matrix, Times

NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """n rows of f features, by time and within a time by symbol; nothing in them is NaN.

    features       (n, f)
    up             (n,) 1.0 or 0.0
    times          (n,) start of the bar at whose close is predicted, in seconds since 1970
    known_times    (n,) start of the bar at whose close the label is known
    horizon_times  (n,) start of the bar at whose close the label's horizon ends, whatever decided it before
    embargo_times  (n,) start of the bar `effective_embargo_bars` later; `NEVER` where there is none. What begins after
                   it may be split from this row
    symbol_codes   (n,) positions in `symbols`
    bar_indices    (n,) positions of the bars in their symbol's series
    """

    features: Matrix
    up: Column
    times: Times
    known_times: Times
    horizon_times: Times
    embargo_times: Times
    symbol_codes: Indexes
    symbols: tuple[str, ...]
    bar_indices: Indexes
    feature_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.up)


def rows_of(history: History, spec: TrainingSpec) -> Rows:
    """The complete rows of these bars: all features are there, and the label's horizon has ended.

    The last `horizon_bars` bars of a symbol give none even where a barrier has decided already: of those bars only the
    quickly decided would be there, and they are not like the others. Raises `ValueError` as `feature_matrix` does.
    """
    names = spec.features or tuple(FEATURES)
    symbols = tuple(sorted(history))
    parts = [_of_symbol(history[symbol], code, names, spec) for code, symbol in enumerate(symbols)]
    if not parts:
        parts = [_nothing(len(names))]
    features, up, times, known, horizon, embargo, codes, indices = (
        np.concatenate(columns) for columns in zip(*parts, strict=True)
    )
    order = np.lexsort((codes, times))
    return Rows(
        features=features[order],
        up=up[order],
        times=times[order],
        known_times=known[order],
        horizon_times=horizon[order],
        embargo_times=embargo[order],
        symbol_codes=codes[order],
        symbols=symbols,
        bar_indices=indices[order],
        feature_names=tuple(names),
    )


_Part: TypeAlias = tuple[Matrix, Column, Times, Times, Times, Times, Indexes, Indexes]


def _of_symbol(series: BarSeries, code: int, names: tuple[str, ...], spec: TrainingSpec) -> _Part:
    ended = max(len(series) - spec.label.horizon_bars, 0)
    matrix = feature_matrix(series, names)[:ended]
    labels = labels_of(series, spec.label)
    up, known_at = labels.up[:ended], labels.known_at[:ended]
    indices = np.flatnonzero(~np.isnan(matrix).any(axis=1) & ~np.isnan(up)).astype(np.int64)
    horizon, embargo = (
        _times_after(series, indices, bars) for bars in (spec.label.horizon_bars, spec.effective_embargo_bars)
    )
    codes = np.full(len(indices), code, dtype=np.int64)
    known = series.times[known_at[indices]]
    return matrix[indices], up[indices], series.times[indices], known, horizon, embargo, codes, indices


def _times_after(series: BarSeries, indices: Indexes, bars: int) -> Times:
    """The start of the bar so many bars after each; `NEVER` where the series has ended."""
    later = indices + bars
    return np.where(later < len(series), series.times[np.minimum(later, len(series) - 1)], NEVER)


def _nothing(features: int) -> _Part:
    none = np.empty(0, dtype=np.int64)
    return np.empty((0, features)), np.empty(0), none, none, none, none, none, none
