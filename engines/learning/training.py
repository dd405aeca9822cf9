"""Training of a small model on bars, step by step, with its progress reported and cancellation honoured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from engines.learning.features import FEATURES, dataset
from engines.learning.model import TrainedModel
from engines.market.quotes import Bar

Array = NDArray[np.float64]

STEPS = ("Load bars", "Feature engineering", "Split", "Training", "Evaluation", "Save")
EPOCHS = 40
MIN_ROWS = 200
_TRAIN_SHARE = 0.8


class TrainingFailed(ValueError):
    """The data cannot train a model. The message is for the user."""


class TrainingCancelled(Exception):
    """Someone asked to stop."""


class TrainingProgress(msgspec.Struct, frozen=True):
    """Where training is. `step` counts from 1; `eta_seconds` is None until there is a pace to measure."""

    step: int
    percentage: float
    eta_seconds: float | None
    metrics: Mapping[str, float]

    @property
    def step_name(self) -> str:
        return STEPS[self.step - 1]


def train(
    bars: Sequence[Bar],
    *,
    seed: int,
    report: Callable[[TrainingProgress], None],
    cancelled: Callable[[], bool],
    monotonic: Callable[[], float],
) -> TrainedModel:
    """Fit on the first 80 % of the bars in time, measure on the rest. Raises `TrainingFailed`, `TrainingCancelled`."""
    from sklearn.linear_model import SGDClassifier  # noqa: PLC0415 - takes a second to import

    def at(step: int, percentage: float, eta_seconds: float | None = None, **metrics: float) -> None:
        if cancelled():
            raise TrainingCancelled
        report(TrainingProgress(step, percentage, eta_seconds, metrics))

    at(1, 0.0, bars=float(len(bars)))
    at(2, 5.0)
    rows, labels = dataset(bars)
    if len(rows) < MIN_ROWS or len(set(labels.tolist())) < 2:
        raise TrainingFailed(f"{len(rows)} usable rows, at least {MIN_ROWS} with both outcomes are needed")
    at(3, 10.0, rows=float(len(rows)), features=float(len(FEATURES)))
    cut = int(len(rows) * _TRAIN_SHARE)
    mean, scale = rows[:cut].mean(axis=0), rows[:cut].std(axis=0) + 1e-12
    inputs = (rows - mean) / scale

    classifier = SGDClassifier(loss="log_loss", penalty="l2", alpha=1e-3, random_state=seed, average=True)
    order = np.random.default_rng(seed)
    started = monotonic()
    for epoch in range(1, EPOCHS + 1):
        shuffled = order.permutation(cut)
        classifier.partial_fit(inputs[shuffled], labels[shuffled], classes=[0.0, 1.0])
        measured = _metrics(classifier.predict_proba(inputs[cut:])[:, 1], labels[cut:])
        fitted = _metrics(classifier.predict_proba(inputs[:cut])[:, 1], labels[:cut])
        eta_seconds = (monotonic() - started) / epoch * (EPOCHS - epoch)
        at(
            4,
            10.0 + 80.0 * epoch / EPOCHS,
            eta_seconds,
            epoch=float(epoch),
            train_log_loss=fitted["log_loss"],
            validation_log_loss=measured["log_loss"],
            validation_accuracy=measured["accuracy"],
        )
    at(5, 92.0)
    metrics = _metrics(classifier.predict_proba(inputs[cut:])[:, 1], labels[cut:])
    at(6, 97.0, **metrics)
    return TrainedModel(
        mean=mean.tolist(),
        scale=scale.tolist(),
        weights=classifier.coef_[0].tolist(),
        intercept=float(classifier.intercept_[0]),
        metrics=metrics,
        rows=len(rows),
        seed=seed,
    )


def _metrics(probability: Array, labels: Array) -> dict[str, float]:
    """Log-loss and accuracy, with the accuracy of always guessing the commoner outcome beside it."""
    clipped = np.clip(probability, 1e-6, 1 - 1e-6)
    log_loss = float(-np.mean(labels * np.log(clipped) + (1 - labels) * np.log(1 - clipped)))
    share_up = float(labels.mean())
    return {
        "log_loss": round(log_loss, 5),
        "accuracy": round(float(np.mean((probability > 0.5) == (labels > 0.5))), 5),
        "baseline_accuracy": round(max(share_up, 1 - share_up), 5),
    }
