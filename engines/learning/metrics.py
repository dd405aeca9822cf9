"""How good probabilities were, once it is known what came. `probability`: of up; `up`: 1.0 where it went up, else 0.0.

Every function raises `ValueError` when there is nothing to measure, or the two columns differ in length.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import numpy as np

from engines.market.history import Column, Flags, Indexes

CLIP = 1e-6  # a probability of 0 or 1 that is wrong costs 13.8, not infinity
CALIBRATION_BINS = 10
NO_AUC = 0.5  # says nothing: nothing was there to be put in order


@overload
def guesses_up(probability: float) -> bool: ...
@overload
def guesses_up(probability: Column) -> Flags: ...
def guesses_up(probability: float | Column) -> bool | Flags:
    """Whether P(up) guesses that it goes up: from 0.5 on, everywhere in this project."""
    return probability >= 0.5


def hits(probability: Column, up: Column) -> Column:
    """1.0 for each right guess, 0.0 for each wrong one."""
    _check(probability, up)
    return np.asarray(guesses_up(probability) == (up > 0.5), dtype=np.float64)


def bins_of(probability: Column) -> Indexes:
    """Which of the `CALIBRATION_BINS`, of equal width, each probability is in; 1 is in the last."""
    return np.minimum((probability * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)


def losses(probability: Column, up: Column) -> Column:
    """The log-loss of each prediction, in nats; probabilities are clipped to `CLIP` from 0 and 1."""
    _check(probability, up)
    clipped = np.clip(probability, CLIP, 1 - CLIP)
    each: Column = -(up * np.log(clipped) + (1 - up) * np.log1p(-clipped))
    return each


def log_loss(probability: Column, up: Column) -> float:
    """Mean of `losses`; 0.693 for a coin."""
    return float(losses(probability, up).mean())


def accuracy(probability: Column, up: Column) -> float:
    """Share of right guesses (`guesses_up`)."""
    return float(hits(probability, up).mean())


def brier(probability: Column, up: Column) -> float:
    """Mean squared error of the probability (Brier 1950); 0.25 for a coin."""
    _check(probability, up)
    return float(np.mean((probability - up) ** 2))


def auc(probability: Column, up: Column) -> float:
    """How often a row that went up was given more than one that did not (Mann-Whitney); a tie counts half.

    `NO_AUC` when all went one way.
    """
    _check(probability, up)
    ups = float(up.sum())
    downs = len(up) - ups
    if not ups or not downs:
        return NO_AUC
    _, place, counts = np.unique(probability, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return float((ranks[up > 0.5].sum() - ups * (ups + 1) / 2) / (ups * downs))


def calibration_error(probability: Column, up: Column) -> float:
    """Expected calibration error: in ten bins of equal width, how far the mean probability is from the share that went
    up, weighted by the rows in a bin (Naeini, Cooper and Hauskrecht 2015)."""
    _check(probability, up)
    excess = np.bincount(bins_of(probability), weights=probability - up, minlength=CALIBRATION_BINS)
    return float(np.abs(excess).sum() / len(up))


def measure(probability: Column, up: Column, base_probability: Column) -> dict[str, float]:
    """All of them, and what one gets without looking at a feature: `base_probability` is, per row, the share that went
    up among the rows that its model was trained on."""
    return {
        "log_loss": log_loss(probability, up),
        "accuracy": accuracy(probability, up),
        "auc": auc(probability, up),
        "brier": brier(probability, up),
        "calibration_error": calibration_error(probability, up),
        "base_log_loss": log_loss(base_probability, up),
        "base_accuracy": accuracy(base_probability, up),
        "rows": float(len(up)),
    }


def measure_folds(folds: Sequence[tuple[Column, Column, Column]]) -> dict[str, float]:
    """`measure`, each fold given as its three arguments, over all folds together.

    The AUC is the mean of the folds', weighted by rows: that one fold's level is above another's orders nothing that a
    model could be praised or blamed for (Airola et al. 2011).
    """
    probability, up, base_probability = (np.concatenate(columns) for columns in zip(*folds, strict=True))
    by_rows = sum(auc(of_fold, of_up) * len(of_up) for of_fold, of_up, _ in folds) / len(up)
    return measure(probability, up, base_probability) | {"auc": by_rows}


def _check(probability: Column, up: Column) -> None:
    if not len(up) or len(probability) != len(up):
        raise ValueError(f"{len(probability)} probabilities for {len(up)} outcomes; as many of each, and one at least")
