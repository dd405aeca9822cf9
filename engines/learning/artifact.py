"""A trained model as one piece of JSON: what predicts, what it was trained on and how, and what it reached.

The same bars, spec and library versions give the same bytes. Loading one runs no code that it brings: estimators are
numbers and LightGBM's text. Whoever stores the bytes keeps their `digest_of` apart from them, and `decode` compares.
"""

from __future__ import annotations

import hashlib

import msgspec
import numpy as np

from engines.learning.calibration import Platt
from engines.learning.estimators import Estimator, UnusableEstimator, feature_count, logits_of
from engines.learning.spec import TrainingSpec
from engines.market.history import BarSeries, Column, Matrix

FORMAT = 1
QUANTILES = 101


class ArtifactDamaged(ValueError):
    """These bytes are not the artifact that was stored. The message says what is wrong with them."""


class FeatureReference(msgspec.Struct, frozen=True):
    """One feature's distribution over the training rows: what live values are compared with.

    `edges`: its inner deciles, equal ones once. `shares`: of the rows, in the bins between them (`bin_shares`), one
    more than edges. `quantiles`: from its minimum to its maximum by percent, 101 numbers.
    """

    feature: str
    edges: tuple[float, ...]
    shares: tuple[float, ...]
    quantiles: tuple[float, ...]
    rows: int


def bin_shares(values: Column, edges: Column | tuple[float, ...]) -> Column:
    """The share of the values in each bin: bin 0 below the first edge, bin i from edge i on (the edge included)."""
    bins = np.searchsorted(np.asarray(edges), values, side="right")
    shares: Column = np.bincount(bins, minlength=len(edges) + 1) / max(1, len(values))
    return shares


def reference_of(feature: str, values: Column) -> FeatureReference:
    """The distribution of these values, which are finite, and one at least."""
    quantiles = np.quantile(values, np.linspace(0, 1, QUANTILES))
    edges = np.unique(np.quantile(values, np.arange(1, 10) / 10, method="higher"))  # values that occur
    return FeatureReference(
        feature=feature,
        edges=tuple(edges.tolist()),
        shares=tuple(bin_shares(values, edges).tolist()),
        quantiles=tuple(quantiles.tolist()),
        rows=len(values),
    )


class FoldModel(msgspec.Struct, frozen=True):
    """What was fitted on the rows whose labels were known by the bar at `train_until`, and tested on the bars from
    `test_from` to `test_until` (all in seconds since 1970; both included). Its calibrator saw earlier folds only."""

    train_until: int
    test_from: int
    test_until: int
    estimator: Estimator
    calibrator: Platt


class Artifact(msgspec.Struct, frozen=True):
    """A trained model.

    `spec` names all features that it takes, so that it asks for the same ones when there are more. `history_digest`
    (`engines.market.history.digest_of`) is of the bars that came in: the same bars, `spec` and `versions` (of libraries
    and of `FEATURES_VERSION`) give the same artifact, to the byte. `data_from`, `data_until`: start of the first and
    the last bar, in seconds since 1970. `rows`: that the final estimator was fitted on.

    `metrics` (`engines.learning.metrics.measure_folds`) are out of sample, over all folds, of calibrated probabilities;
    `fold_metrics` the same per fold; `baseline` the same, over all folds, of logistic regression, or, when that is the
    model itself, of the base rate. `iterations`: of boosting, in the final estimator.
    """

    format: int
    spec: TrainingSpec
    feature_names: tuple[str, ...]
    symbols: tuple[str, ...]
    bar_seconds: int
    data_from: int
    data_until: int
    rows: int
    versions: dict[str, str]
    estimator: Estimator
    calibrator: Platt
    folds: tuple[FoldModel, ...]
    metrics: dict[str, float]
    baseline: dict[str, float]
    fold_metrics: tuple[dict[str, float], ...]
    reference: tuple[FeatureReference, ...]
    iterations: int = 0
    history_digest: str = ""


class _Head(msgspec.Struct):
    format: int


def encode(artifact: Artifact) -> bytes:
    """As JSON; the same artifact gives the same bytes."""
    return msgspec.json.encode(artifact, order="deterministic")


def digest_of(content: bytes) -> str:
    """SHA-256, in hex."""
    return hashlib.sha256(content).hexdigest()


def decode(content: bytes, digest: str) -> Artifact:
    """The artifact that was encoded. Raises `ArtifactDamaged` for anything that is not exactly it."""
    if digest_of(content) != digest:
        raise ArtifactDamaged(f"The artifact's SHA-256 is not {digest[:64]!r}: it was changed after it was stored")
    try:
        format_ = msgspec.json.decode(content, type=_Head).format
        if format_ != FORMAT:
            raise ArtifactDamaged(f"The artifact has format {format_}; this version reads format {FORMAT}")
        artifact = msgspec.json.decode(content, type=Artifact)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ArtifactDamaged(f"The artifact cannot be read: {error}") from None
    _check(artifact)
    return artifact


def _check(artifact: Artifact) -> None:
    """Its parts fit each other."""
    expected = len(artifact.feature_names)
    for estimator in (artifact.estimator, *(fold.estimator for fold in artifact.folds)):
        try:
            features = feature_count(estimator)
        except UnusableEstimator as error:
            raise ArtifactDamaged(f"The artifact cannot predict: {error}") from None
        if features != expected:
            raise ArtifactDamaged(f"The artifact names {expected} features, an estimator in it takes {features}")
    if tuple(reference.feature for reference in artifact.reference) != artifact.feature_names:
        raise ArtifactDamaged("The artifact's training reference is of other features than its model")
    for reference in artifact.reference:
        if len(reference.shares) != len(reference.edges) + 1 or len(reference.quantiles) != QUANTILES:
            raise ArtifactDamaged(f"The artifact's training reference of {reference.feature} is not whole")
    if len(artifact.fold_metrics) != len(artifact.folds):
        raise ArtifactDamaged(
            f"The artifact has {len(artifact.folds)} folds, {len(artifact.fold_metrics)} of them measured"
        )


class Predictor:
    """Predicts with an artifact's final estimator, which is loaded once. Raises `ArtifactDamaged` when it cannot be."""

    def __init__(self, artifact: Artifact) -> None:
        self._estimate = _Estimate(artifact.estimator, artifact.calibrator, len(artifact.feature_names))

    def probabilities(self, matrix: Matrix) -> Column:
        """Calibrated P(up) per row; NaN where a feature is not finite. `matrix`: (rows, features), its columns those
        of `feature_names`; raises `ValueError` when it has another width."""
        return self._estimate.probabilities(matrix)


class _Estimate:
    """An estimator, ready to compute, and its calibrator."""

    def __init__(self, estimator: Estimator, calibrator: Platt, features: int) -> None:
        try:
            self._logits = logits_of(estimator)
        except UnusableEstimator as error:
            raise ArtifactDamaged(f"The artifact cannot predict: {error}") from None
        self._calibrator = calibrator
        self._features = features

    def probabilities(self, matrix: Matrix) -> Column:
        if matrix.ndim != 2 or matrix.shape[1] != self._features:
            raise ValueError(f"features of shape {matrix.shape}; {self._features} columns are needed")
        probability = np.full(len(matrix), np.nan)
        usable = np.isfinite(matrix).all(axis=1)
        if usable.any():
            probability[usable] = self._calibrator.probabilities(self._logits(matrix[usable]))
        return probability


class WalkForward:
    """Answers for each bar of the past with what was known before it: see `out_of_sample`, which is this for one
    series. Estimators are loaded once."""

    def __init__(self, artifact: Artifact) -> None:
        features = len(artifact.feature_names)
        self._names = artifact.feature_names
        self._folds = [
            (fold.test_from, fold.test_until, _Estimate(fold.estimator, fold.calibrator, features))
            for fold in artifact.folds
        ]
        self._data_until = artifact.data_until
        self._final = _Estimate(artifact.estimator, artifact.calibrator, features)

    def probabilities(self, series: BarSeries) -> Column:
        """P(up) at each bar's close, as `out_of_sample`."""
        from engines.learning.features import feature_matrix  # noqa: PLC0415 - decoding needs no indicators

        matrix = feature_matrix(series, self._names)
        probability = np.full(len(series), np.nan)
        for test_from, test_until, estimate in self._folds:
            tested = (series.times >= test_from) & (series.times <= test_until)
            probability[tested] = estimate.probabilities(matrix[tested])
        later = series.times > self._data_until
        probability[later] = self._final.probabilities(matrix[later])
        return probability


def out_of_sample(artifact: Artifact, series: BarSeries) -> Column:
    """P(up) at each bar's close by a model that had not seen it: the fold's whose test it is in; after `data_until`,
    the final one. NaN before the first fold's test, between tests, and where a feature lacks its bars. For many series,
    keep a `WalkForward`."""
    return WalkForward(artifact).probabilities(series)
