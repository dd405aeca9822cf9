"""A trained model as plain numbers: it can be stored as JSON, and loading it runs no code."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from engines.learning.features import features_of


class TrainedModel(msgspec.Struct, frozen=True):
    """Logistic regression on standardised features. `metrics` were measured on bars that training never saw."""

    mean: Sequence[float]
    scale: Sequence[float]
    weights: Sequence[float]
    intercept: float
    metrics: Mapping[str, float]
    rows: int
    seed: int

    def probability_up(self, closes: Sequence[float]) -> float | None:
        """The probability that the next bar closes higher; None while there is too little history."""
        features = features_of(closes)
        if features is None:
            return None
        standardised = (features - np.array(self.mean)) / np.array(self.scale)
        logit = float(standardised @ np.array(self.weights)) + self.intercept
        return 1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, logit))))
