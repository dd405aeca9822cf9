"""From a model's score to a probability that keeps its word: Platt scaling (Platt 1999).

Two numbers, fitted on predictions of rows that the model was not trained on. Isotonic regression fits more, and needs
more rows than a walk-forward of daily bars has.
"""

from __future__ import annotations

import msgspec
import numpy as np

from engines.market.history import Column

_LOGIT_LIMIT = 30.0
_NO_SPREAD = 1e-9  # below it scores are all the same, and have nothing to scale
MIN_CALIBRATION_ROWS = 100  # two numbers fitted on fewer are mostly chance
_NO_PENALTY = 1e6  # scikit-learn's inverse of the penalty's strength


def sigmoid(logits: Column) -> Column:
    """1 / (1 + e^-x), without overflow."""
    probability: Column = 1.0 / (1.0 + np.exp(-np.clip(logits, -_LOGIT_LIMIT, _LOGIT_LIMIT)))
    return probability


def logit(probability: float) -> float:
    """log(p / (1 - p)), limited to ±30 at 0 and 1."""
    if probability in (0.0, 1.0):
        return _LOGIT_LIMIT * (1 if probability else -1)
    return float(np.clip(np.log(probability) - np.log1p(-probability), -_LOGIT_LIMIT, _LOGIT_LIMIT))


class Platt(msgspec.Struct, frozen=True):
    """P(up) = sigmoid(slope · logit + intercept). The default leaves a logit as it is."""

    slope: float = 1.0
    intercept: float = 0.0

    def probabilities(self, logits: Column) -> Column:
        """P(up) of each logit; NaN stays NaN."""
        return sigmoid(self.slope * logits + self.intercept)


UNCALIBRATED = Platt()


def fit_platt(logits: Column, up: Column, *, base_rate: float) -> Platt:
    """The scaling under which these outcomes are likeliest, with Platt's targets instead of 1 and 0. Fewer than
    `MIN_CALIBRATION_ROWS` rows are too few to scale by: `UNCALIBRATED`.

    The slope is never negative: scores that order outcomes the wrong way round are worth nothing, and are not turned
    round. They, and scores without spread, get slope 0 and `base_rate`, the share of the estimator's training rows that
    went up: what is to be said by who has looked at no feature.
    """
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - takes a second to import

    if len(logits) != len(up):
        raise ValueError(f"{len(logits)} logits for {len(up)} outcomes; as many of each are needed")
    if len(up) < MIN_CALIBRATION_ROWS:
        return UNCALIBRATED
    ups = float(up.sum())
    downs = len(up) - ups
    target = np.where(up > 0.5, (ups + 1) / (ups + 2), 1 / (downs + 2))
    center, spread = float(logits.mean()), float(logits.std())
    if spread > _NO_SPREAD:
        scaled = ((logits - center) / spread).reshape(-1, 1)
        # each row counts as up with its target, and as down with the rest
        regression = LogisticRegression(C=_NO_PENALTY, tol=1e-8, max_iter=1_000).fit(
            np.concatenate([scaled, scaled]),
            np.concatenate([np.ones(len(up)), np.zeros(len(up))]),
            sample_weight=np.concatenate([target, 1 - target]),
        )
        slope = float(regression.coef_[0, 0]) / spread
        if slope > 0:
            return Platt(slope, float(regression.intercept_[0]) - slope * center)
    return Platt(0.0, logit(base_rate))
