"""What learns: gradient-boosted trees (LightGBM) and logistic regression (scikit-learn).

A fitted estimator is plain data: numbers, and LightGBM's own text of its trees. Storing one is writing it down, loading
one runs no code of whoever stored it. Both answer with logits; `engines.learning.calibration` makes probabilities.

Fitting gets one core (`one_core`, and LightGBM's own setting): a training job has the machine's web server and engines
for neighbours, threads that wait for a core which another has cost more than they bring, and what one thread computes
is the same on every run. The libraries take two seconds to import, so only what fits or predicts does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, TypeAlias

import msgspec
import numpy as np

from engines.learning.calibration import logit
from engines.learning.metrics import NO_AUC
from engines.learning.spec import BoostingParameters
from engines.market.history import Column, Matrix

Logits: TypeAlias = Callable[[Matrix], Column]
Watch: TypeAlias = Callable[[int, dict[str, float]], None]

_NO_SCALE = 1e-12  # a column whose deviation is below it is constant; it is left unscaled
_LIGHTGBM_NAMES = {"binary_logloss": "log_loss", "auc": "auc", "binary_error": "accuracy"}
_HEADER_LINES = 30


class Boosted(msgspec.Struct, frozen=True, tag="boosted"):
    """Boosted trees; `model` is LightGBM's text of them."""

    model: str


class Logistic(msgspec.Struct, frozen=True, tag="logistic"):
    """logit = weights · (features - mean) / scale + intercept."""

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    intercept: float


Estimator: TypeAlias = Boosted | Logistic


class UnusableEstimator(ValueError):
    """An estimator's data is damaged. The message says what is wrong."""


def feature_count(estimator: Estimator) -> int:
    """How many features it takes, read without loading a library. Raises `UnusableEstimator`."""
    if isinstance(estimator, Logistic):
        lengths = {len(estimator.mean), len(estimator.scale), len(estimator.weights)}
        if len(lengths) > 1:
            raise UnusableEstimator("a logistic regression's mean, scale and weights differ in length")
        if not all(scale > 0 for scale in estimator.scale):
            raise UnusableEstimator("a logistic regression has a scale that is not positive")
        return lengths.pop()
    header = dict(line.partition("=")[::2] for line in estimator.model.split("\n", _HEADER_LINES)[:_HEADER_LINES])
    last = header.get("max_feature_idx", "")
    if "tree" not in header or not last.isdigit() or "\nend of trees\n" not in estimator.model:
        raise UnusableEstimator("boosted trees are not a whole LightGBM model")
    return int(last) + 1


def logits_of(estimator: Estimator) -> Logits:
    """What computes its logits, row by row of a matrix; made once, used often. Raises `UnusableEstimator`."""
    feature_count(estimator)
    if isinstance(estimator, Logistic):
        mean, scale, weights = (np.array(numbers) for numbers in (estimator.mean, estimator.scale, estimator.weights))
        intercept = estimator.intercept
        # a sum per row, not a product of matrices: a row's answer must not depend on the rows beside it
        return lambda matrix: ((matrix - mean) / scale * weights).sum(axis=1) + intercept
    import lightgbm  # noqa: PLC0415 - see the module's docstring

    try:
        booster = lightgbm.Booster(model_str=estimator.model)
    except lightgbm.basic.LightGBMError as error:
        raise UnusableEstimator(f"boosted trees that LightGBM refuses: {error}") from None
    return lambda matrix: _raw_scores(booster, matrix)


def _raw_scores(booster: Any, matrix: Matrix) -> Column:
    if not len(matrix):
        return np.empty(0)
    scores: Column = booster.predict(matrix, raw_score=True, num_threads=1)
    return scores


def one_core() -> AbstractContextManager[object]:
    """While it lasts, the linear algebra under scikit-learn and NumPy uses one thread in this process."""
    import sklearn.linear_model  # noqa: F401, PLC0415 - what is loaded later would not be limited
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped] # noqa: PLC0415 - comes with scikit-learn

    limits: AbstractContextManager[object] = threadpool_limits(limits=1)
    return limits


def base_rate(up: Column, features: int) -> Logistic:
    """Looks at no feature: the share of these rows that went up."""
    zeros = (0.0,) * features
    return Logistic(mean=zeros, scale=(1.0,) * features, weights=zeros, intercept=logit(float(up.mean())))


def fit_logistic(features: Matrix, up: Column) -> Logistic:
    """On standardised features, with scikit-learn's default penalty (L2, C = 1). Needs both outcomes."""
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - takes a second to import

    mean, scale = features.mean(axis=0), features.std(axis=0)
    scale[scale < _NO_SCALE] = 1.0
    regression = LogisticRegression(tol=1e-6, max_iter=1_000).fit((features - mean) / scale, up)
    return Logistic(
        mean=tuple(mean.tolist()),
        scale=tuple(scale.tolist()),
        weights=tuple(regression.coef_[0].tolist()),
        intercept=float(regression.intercept_[0]),
    )


class Boosting(NamedTuple):
    """What came of boosting. `iterations`: trees that are in `estimator`."""

    estimator: Boosted
    iterations: int


def boost(
    features: Matrix,
    up: Column,
    *,
    names: Sequence[str],
    parameters: BoostingParameters,
    seed: int,
    watch: Watch,
    validation: tuple[Matrix, Column] | None = None,
) -> Boosting:
    """Fit boosted trees. With `validation` rows (features, up) and `early_stopping_iterations`, those up to the best
    validation log-loss are kept.

    `watch(iteration, metrics)` is called after each iteration that brought a tree, from 1, with `train_…` and, with
    validation rows, `validation_…` `log_loss`, `auc` and `accuracy`; what it raises ends the fit. So does an iteration
    that finds nothing to split. The AUC of rows that all went one way is 0.5.
    """
    import lightgbm  # noqa: PLC0415 - see the module's docstring

    settings = _settings(parameters, seed)
    data = lightgbm.Dataset(features, label=up, feature_name=list(names), params=settings)
    booster = lightgbm.Booster(params=settings, train_set=data)
    if validation is not None:
        # without the settings it would give LightGBM, in all of the process, its number of threads back: all cores
        held_out = lightgbm.Dataset(validation[0], label=validation[1], reference=data, params=settings)
        booster.add_valid(held_out, "validation")
    patience = parameters.early_stopping_iterations if validation is not None else 0
    best, best_loss = 0, np.inf
    for iteration in range(1, parameters.iterations + 1):
        no_split_left = booster.update()
        if booster.current_iteration() < iteration:  # the tree had no split, and LightGBM took it back
            break
        metrics = _measured("train", booster.eval_train(), up)
        if validation is not None:
            metrics |= _measured("validation", booster.eval_valid(), validation[1])
        watch(iteration, metrics)
        if not patience:
            best = iteration
        elif metrics["validation_log_loss"] < best_loss:
            best, best_loss = iteration, metrics["validation_log_loss"]
        if no_split_left or (patience and iteration - best >= patience):
            break
    return Boosting(Boosted(booster.model_to_string(num_iteration=best)), best)


def _settings(parameters: BoostingParameters, seed: int) -> dict[str, Any]:
    return {
        "objective": "binary",
        "metric": list(_LIGHTGBM_NAMES),
        "learning_rate": parameters.learning_rate,
        "num_leaves": parameters.num_leaves,
        "min_data_in_leaf": parameters.min_data_in_leaf,
        "feature_fraction": parameters.feature_fraction,
        "bagging_fraction": parameters.bagging_fraction,
        "bagging_freq": 1,
        "lambda_l2": parameters.lambda_l2,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbosity": -1,
    }


def _measured(prefix: str, results: Sequence[tuple[str, str, float, bool]], up: Column) -> dict[str, float]:
    measured = {
        f"{prefix}_{_LIGHTGBM_NAMES[metric]}": float(1 - value if metric == "binary_error" else value)
        for _, metric, value, _ in results
    }
    if not 0 < up.sum() < len(up):
        measured[f"{prefix}_auc"] = NO_AUC  # LightGBM says 1
    return measured
