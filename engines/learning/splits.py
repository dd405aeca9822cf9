"""Walk-forward splits: each fold trains on the past and is tested on the time after it, as a model in use would be.

Labels reach into the future. A training row whose label is known only inside the test window has seen what it is tested
on: it is purged (López de Prado 2018, ch. 7). So is every other row whose horizon ends there, though a barrier decided
it sooner: rows that are kept for having been decided quickly are not like the others. The embargo may ask for more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from engines.learning.rows import Rows
from engines.market.history import Column, Indexes

MIN_TRAIN_ROWS = 50  # of a fold; under these nothing is learned, nor measured with
MIN_TEST_ROWS = 20


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """`number` from 1. `train`, `test`: positions in the rows, ascending. `train_until`: start of the last bar that the
    training labels know; `test_from`, `test_until`: the first and last time tested on; in seconds since 1970."""

    number: int
    train: Indexes
    test: Indexes
    train_until: int
    test_from: int
    test_until: int


def walk_forward(rows: Rows, *, folds: int, min_train_share: float) -> tuple[Fold, ...]:
    """Folds in order of time, over times: the rows of all symbols at one time are on the same side.

    The first `min_train_share` of the distinct times are never tested on; the rest is cut into `folds` test windows of
    equally many times (one more or less), without a gap. A fold trains on all rows whose `embargo_times` are before its
    test, and so their labels and horizons too: an expanding window.
    Raises `ValueError`, with a sentence for the user, when the rows are too few for that.
    """
    times, place_of_row = np.unique(rows.times, return_inverse=True)
    first = math.ceil(min_train_share * len(times))
    edges = [first + n * (len(times) - first) // folds for n in range(folds + 1)]
    made = []
    for number, (start, stop) in enumerate(pairwise(edges), start=1):
        test = np.flatnonzero((place_of_row >= start) & (place_of_row < stop))
        if len(test) < MIN_TEST_ROWS:
            raise _too_few(rows, folds, f"fold {number} would be tested on {len(test)} rows", MIN_TEST_ROWS)
        test_from = int(times[start])
        train = np.flatnonzero(rows.embargo_times < test_from)
        if len(train) < MIN_TRAIN_ROWS:
            raise _too_few(rows, folds, f"fold {number} would be trained on {len(train)} rows", MIN_TRAIN_ROWS)
        train_until = int(rows.known_times[train].max())
        made.append(Fold(number, train, test, train_until, test_from, int(times[stop - 1])))
    return tuple(made)


def base_probabilities(rows: Rows, folds: Sequence[Fold]) -> Column:
    """Per row, the share of its fold's training rows that went up; NaN where no fold tests."""
    base = np.full(len(rows), np.nan)
    for fold in folds:
        base[fold.test] = rows.up[fold.train].mean()
    return base


def _too_few(rows: Rows, folds: int, what_would_be: str, least: int) -> ValueError:
    return ValueError(
        f"{len(rows)} rows with all features and a label are too few for {folds} folds: {what_would_be}, at least "
        f"{least} are needed. More bars, fewer folds, a shorter horizon or embargo help"
    )
