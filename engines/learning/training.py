"""Training: from bars to an artifact, step by step, with its progress reported and a wish to stop honoured.

Validation walks forward (`engines.learning.splits`). In each fold the estimator is fitted on what was known before its
test, and nothing of the test decides anything: iterations of boosting are chosen on the last `HOLD_OUT_SHARE` of the
fold's own training rows, whereupon it is fitted anew on all of them; its probabilities are calibrated by the folds
before it (those of the first are not), or, where these ordered outcomes the wrong way round, are the base rate of its
own training rows. The final estimator is fitted on all rows, with the median of the folds' iterations, and calibrated
by the predictions of all folds.

Between what is learned from and what it is tried on, the horizons of labels are over: those of a fold's rows before
its test, of other rows before the hold-out, of calibrating predictions before the test that they calibrate.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from statistics import median_low

import msgspec
import numpy as np

from engines.learning import metrics
from engines.learning.artifact import FORMAT, Artifact, FoldModel, reference_of
from engines.learning.calibration import UNCALIBRATED, Platt, fit_platt
from engines.learning.estimators import Boosting, Estimator, base_rate, boost, fit_logistic, logits_of, one_core
from engines.learning.features import FEATURES, FEATURES_VERSION
from engines.learning.progress import STEPS, Phase, ProgressReporter, TrainingCancelled, TrainingProgress
from engines.learning.rows import Rows, rows_of
from engines.learning.spec import TrainingSpec
from engines.learning.splits import Fold, base_probabilities, walk_forward
from engines.market.history import Column, History, Indexes, digest_of

__all__ = ["MIN_ROWS", "STEPS", "TrainingCancelled", "TrainingFailed", "TrainingProgress", "train"]

MIN_ROWS = 200
HOLD_OUT_SHARE = 0.15
_MIN_FIT_ROWS = 20  # that are left of a fold beside its hold-out
_LIBRARIES = ("numpy", "lightgbm", "scikit-learn", "ta-lib")


class TrainingFailed(ValueError):
    """The data cannot train a model. The message is for the user."""


def train(
    history: History,
    spec: TrainingSpec,
    *,
    bar_seconds: int,
    report: Callable[[TrainingProgress], None],
    cancelled: Callable[[], bool],
    monotonic: Callable[[], float],
) -> Artifact:
    """Train as the spec says. The same bars and spec give the same artifact, to the byte.

    `report` is called at each step and iteration, on this thread: whoever passes it on throttles. `cancelled` is asked
    as often. Raises `TrainingFailed`, `TrainingCancelled`, and what `report` raises.
    """
    with one_core():
        return _train(history, spec, bar_seconds, ProgressReporter(report, cancelled, monotonic))


def _train(history: History, spec: TrainingSpec, bar_seconds: int, progress: ProgressReporter) -> Artifact:
    spec = msgspec.structs.replace(spec, features=spec.features or tuple(FEATURES))
    progress.begin(1, metrics={"bars": float(sum(map(len, history.values()))), "symbols": float(len(history))})
    if not any(map(len, history.values())):
        raise TrainingFailed(f"There are no bars of {', '.join(sorted(history)) or 'any symbol'}")
    progress.begin(2)
    rows = _rows(history, spec)
    progress.begin(3, rows=len(rows))
    try:
        folds = walk_forward(rows, folds=spec.folds, min_train_share=spec.min_train_share)
    except ValueError as error:
        raise TrainingFailed(str(error)) from None
    progress.begin(4)
    run = _Fits(rows, spec, folds, progress)
    fitted = [run.fold(fold) for fold in folds]
    final, iterations = run.final([fit.iterations for fit in fitted])
    progress.begin(5)
    predicted = _predict(rows, folds, [fit.estimator for fit in fitted])
    base = base_probabilities(rows, folds)
    progress.begin(6)
    measured = _measured(rows, folds, predicted.probability, base)
    baseline = (
        base if spec.algorithm == "logistic" else _predict(rows, folds, [fit.baseline for fit in fitted]).probability
    )
    progress.begin(7, metrics=measured)
    artifact = Artifact(
        format=FORMAT,
        spec=spec,
        feature_names=rows.feature_names,
        symbols=tuple(symbol for code, symbol in enumerate(rows.symbols) if (rows.symbol_codes == code).any()),
        bar_seconds=bar_seconds,
        data_from=min(int(series.times[0]) for series in history.values() if len(series)),
        data_until=max(int(series.times[-1]) for series in history.values() if len(series)),
        rows=len(rows),
        versions=_versions(),
        estimator=final,
        calibrator=predicted.final_calibrator,
        folds=tuple(
            FoldModel(fold.train_until, fold.test_from, fold.test_until, fit.estimator, calibrator)
            for fold, fit, calibrator in zip(folds, fitted, predicted.calibrators, strict=True)
        ),
        metrics=measured,
        baseline=_measured(rows, folds, baseline, base),
        fold_metrics=tuple(_measured(rows, [fold], predicted.probability, base) for fold in folds),
        reference=tuple(reference_of(name, rows.features[:, column]) for column, name in enumerate(rows.feature_names)),
        iterations=iterations,
        history_digest=digest_of(history),
    )
    progress.end(measured)
    return artifact


def _rows(history: History, spec: TrainingSpec) -> Rows:
    try:
        rows = rows_of(history, spec)
    except ValueError as error:
        raise TrainingFailed(str(error)) from None
    if len(rows) < MIN_ROWS:
        raise TrainingFailed(
            f"{sum(map(len, history.values()))} bars of {', '.join(sorted(history))} give {len(rows)} rows with all "
            f"features and a label; at least {MIN_ROWS} are needed. More bars or symbols help"
        )
    if len(set(rows.up.tolist())) < 2:
        raise TrainingFailed(
            f"All {len(rows)} rows went {'up' if rows.up[0] else 'down'}: there is nothing to tell apart"
        )
    return rows


@dataclass(frozen=True)
class _FoldFit:
    estimator: Estimator
    baseline: Estimator
    iterations: int


class _Fits:
    """Fits one fold after the other, and at last on all rows."""

    def __init__(self, rows: Rows, spec: TrainingSpec, folds: Sequence[Fold], progress: ProgressReporter) -> None:
        self._rows = rows
        self._spec = spec
        self._progress = progress
        boosted = spec.algorithm == "lightgbm"
        most = spec.boosting.iterations if boosted else 1
        by_fold = [len(fold.train) + len(_hold_out(rows, fold)[0]) for fold in folds]
        progress.plan([most * work for work in (*by_fold, len(rows))])

    def fold(self, fold: Fold) -> _FoldFit:
        """The model and the baseline, fitted on the fold's training rows."""
        up = self._rows.up[fold.train]
        if len(set(up.tolist())) < 2:
            raise TrainingFailed(
                f"All {len(up)} rows that fold {fold.number} would be trained on went {'up' if up[0] else 'down'}. "
                "More bars or a longer first training window help"
            )
        logistic = fit_logistic(self._rows.features[fold.train], up)
        if self._spec.algorithm == "logistic":
            self._validate_logistic(fold)
            self._logistic_iterated("fitting", fold.train, logistic, fold.number)
            fit = _FoldFit(logistic, base_rate(up, len(self._rows.feature_names)), 1)
        else:
            iterations = self._choose_iterations(fold)
            boosting = self._boost("fitting", fold.train, iterations, fold.number)
            fit = _FoldFit(boosting.estimator, logistic, iterations)
        self._progress.fit_finished()
        return fit

    def final(self, iterations_by_fold: Sequence[int]) -> tuple[Estimator, int]:
        """The estimator on all rows, and its iterations of boosting."""
        everything = np.arange(len(self._rows))
        if self._spec.algorithm == "logistic":
            logistic = fit_logistic(self._rows.features, self._rows.up)
            self._logistic_iterated("final fit", everything, logistic, 0)
            return logistic, 0
        boosting = self._boost("final fit", everything, median_low(iterations_by_fold), 0)
        return boosting.estimator, boosting.iterations

    def _choose_iterations(self, fold: Fold) -> int:
        """How many iterations are best for the fold's held-out rows."""
        fit, held_out = _hold_out(self._rows, fold)
        if not self._can_fit(fit):
            raise TrainingFailed(
                f"Fold {fold.number} has {len(fit)} rows beside those that are held out to choose its iterations; at "
                f"least {_MIN_FIT_ROWS}, with both outcomes, are needed. More bars or a shorter horizon help"
            )
        return boost(
            self._rows.features[fit],
            self._rows.up[fit],
            names=self._rows.feature_names,
            parameters=self._spec.boosting,
            seed=self._spec.seed,
            watch=lambda iteration, measured: self._iterated(
                "choosing iterations",
                len(fit),
                fold.number,
                measured,
                iteration=iteration,
                iterations=self._spec.boosting.iterations,
            ),
            validation=(self._rows.features[held_out], self._rows.up[held_out]),
        ).iterations

    def _can_fit(self, fit: Indexes) -> bool:
        return len(fit) >= _MIN_FIT_ROWS and len(set(self._rows.up[fit].tolist())) == 2

    def _boost(self, phase: Phase, indices: Indexes, iterations: int, fold: int) -> Boosting:
        """Fit with so many iterations, or fewer when there is nothing left to split."""
        self._progress.expect(iterations * len(indices))
        return boost(
            self._rows.features[indices],
            self._rows.up[indices],
            names=self._rows.feature_names,
            parameters=msgspec.structs.replace(self._spec.boosting, iterations=iterations),
            seed=self._spec.seed,
            watch=lambda iteration, measured: self._iterated(
                phase, len(indices), fold, measured, iteration=iteration, iterations=iterations
            ),
        )

    def _validate_logistic(self, fold: Fold) -> None:
        """Say what it reaches on the fold's held-out rows, when the others can be fitted; nothing depends on it."""
        fit, held_out = _hold_out(self._rows, fold)
        if self._can_fit(fit):
            logistic = fit_logistic(self._rows.features[fit], self._rows.up[fit])
            self._logistic_iterated("validating", fit, logistic, fold.number, held_out)

    def _logistic_iterated(
        self, phase: Phase, indices: Indexes, logistic: Estimator, fold: int, held_out: Indexes | None = None
    ) -> None:
        measured = self._measured("train", logistic, indices)
        if held_out is not None:
            measured |= self._measured("validation", logistic, held_out)
        self._iterated(phase, len(indices), fold, measured, iteration=1, iterations=1)

    def _measured(self, prefix: str, estimator: Estimator, indices: Indexes) -> dict[str, float]:
        probability = UNCALIBRATED.probabilities(logits_of(estimator)(self._rows.features[indices]))
        up = self._rows.up[indices]
        return {
            f"{prefix}_log_loss": metrics.log_loss(probability, up),
            f"{prefix}_auc": metrics.auc(probability, up),
            f"{prefix}_accuracy": metrics.accuracy(probability, up),
        }

    def _iterated(
        self, phase: Phase, rows: int, fold: int, measured: dict[str, float], *, iteration: int, iterations: int
    ) -> None:
        self._progress.iterated(
            rows=rows,
            fold=fold,
            folds=self._spec.folds,
            phase=phase,
            iteration=iteration,
            iterations=iterations,
            metrics=measured,
        )


def _hold_out(rows: Rows, fold: Fold) -> tuple[Indexes, Indexes]:
    """The fold's training rows up to its last `HOLD_OUT_SHARE` of times, and those in it. Rows of the first part whose
    horizon ends only in the second are in neither."""
    times = np.unique(rows.times[fold.train])
    start = times[int(len(times) * (1 - HOLD_OUT_SHARE))]
    return fold.train[rows.horizon_times[fold.train] < start], fold.train[rows.times[fold.train] >= start]


@dataclass(frozen=True)
class _Predicted:
    """`probability`: per row, NaN where no fold tests; calibrated for each fold by what was known before it."""

    probability: Column
    calibrators: list[Platt]
    final_calibrator: Platt


def _predict(rows: Rows, folds: Sequence[Fold], estimators: Sequence[Estimator]) -> _Predicted:
    """Each fold's test rows by its estimator."""
    logits, probability = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    calibrators = []
    for fold, estimator in zip(folds, estimators, strict=True):
        # horizons of the fold before may end only in this one's test: those rows do not calibrate it
        known = np.flatnonzero(np.isfinite(logits) & (rows.horizon_times < fold.test_from))
        calibrator = fit_platt(logits[known], rows.up[known], base_rate=float(rows.up[fold.train].mean()))
        logits[fold.test] = logits_of(estimator)(rows.features[fold.test])
        probability[fold.test] = calibrator.probabilities(logits[fold.test])
        calibrators.append(calibrator)
    tested = np.isfinite(logits)
    final = fit_platt(logits[tested], rows.up[tested], base_rate=float(rows.up.mean()))
    return _Predicted(probability, calibrators, final)


def _measured(rows: Rows, folds: Sequence[Fold], probability: Column, base: Column) -> dict[str, float]:
    return metrics.measure_folds([(probability[fold.test], rows.up[fold.test], base[fold.test]) for fold in folds])


def _versions() -> dict[str, str]:
    ours = {"python": platform.python_version(), "features": str(FEATURES_VERSION)}
    return ours | {library: metadata.version(library) for library in _LIBRARIES}
