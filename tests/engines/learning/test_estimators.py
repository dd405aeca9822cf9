import msgspec
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from engines.learning.calibration import sigmoid
from engines.learning.estimators import (
    Boosted,
    Estimator,
    Logistic,
    UnusableEstimator,
    base_rate,
    boost,
    feature_count,
    fit_logistic,
    logits_of,
)
from engines.learning.spec import BoostingParameters

QUICK = BoostingParameters(iterations=25, min_data_in_leaf=10, early_stopping_iterations=5, learning_rate=0.1)
NAMES = ("first", "second", "third")


def rows(count=400, seed=1):
    """The second feature says it, the others nothing; the third is constant."""
    rng = np.random.default_rng(seed)
    features = np.column_stack([rng.normal(50, 10, count), rng.normal(0, 0.01, count), np.full(count, 7.0)])
    return features, (rng.random(count) < sigmoid(200 * features[:, 1])).astype(float)


def ignore(iteration, metrics):
    pass


def boosted(features, up, **changes):
    return boost(features, up, **{"names": NAMES, "parameters": QUICK, "seed": 1, "watch": ignore} | changes)


def test_logistic_is_scikit_learns():
    features, up = rows()
    ours = fit_logistic(features, up)
    scale = np.where(features.std(axis=0) > 1e-12, features.std(axis=0), 1)
    standardised = (features - features.mean(axis=0)) / scale
    theirs = LogisticRegression(tol=1e-6).fit(standardised, up)
    assert logits_of(ours)(features) == pytest.approx(theirs.decision_function(standardised))
    assert abs(ours.weights[1]) > 5 * abs(ours.weights[0])


def test_base_rate_looks_at_nothing():
    features, _ = rows(8)
    up = np.array([1.0, 1, 1, 0])
    assert sigmoid(logits_of(base_rate(up, 3))(features)) == pytest.approx(np.full(8, 0.75))


def test_boosting_finds_what_is_there_and_stops_when_it_gets_no_better():
    features, up = rows(1_200)
    seen = []
    validation = (features[:300], up[:300])
    result = boosted(
        features[300:],
        up[300:],
        validation=validation,
        parameters=msgspec.structs.replace(QUICK, iterations=300),
        watch=lambda iteration, metrics: seen.append(metrics),
    )
    assert 1 <= result.iterations < len(seen) < 300
    losses = [metrics["validation_log_loss"] for metrics in seen]
    assert np.argmin(losses) == result.iterations - 1
    assert len(seen) - result.iterations == QUICK.early_stopping_iterations
    assert seen[-1].keys() == {
        f"{part}_{name}" for part in ("train", "validation") for name in ("log_loss", "auc", "accuracy")
    }
    probability = sigmoid(logits_of(result.estimator)(validation[0]))
    assert -np.mean(np.log(np.where(validation[1] > 0.5, probability, 1 - probability))) == pytest.approx(min(losses))
    assert seen[result.iterations - 1]["validation_auc"] > 0.7


def test_without_validation_or_patience_all_iterations_are_kept():
    features, up = rows()
    seen = []
    assert boosted(features, up, watch=lambda *watched: seen.append(watched)).iterations == 25
    assert [iteration for iteration, _ in seen] == list(range(1, 26))
    assert set(seen[0][1]) == {"train_log_loss", "train_auc", "train_accuracy"}
    patient = msgspec.structs.replace(QUICK, early_stopping_iterations=0)
    assert boosted(features, up, parameters=patient, validation=(features, up)).iterations == 25


def test_the_same_seed_gives_the_same_trees_and_another_one_others():
    features, up = rows()
    first = boosted(features, up).estimator
    assert boosted(features, up).estimator == first
    assert boosted(features, up, seed=2).estimator != first


def test_nothing_to_split_gives_the_base_rate():
    features, up = rows(60)
    crowded = msgspec.structs.replace(QUICK, min_data_in_leaf=50)
    result = boosted(features, up, parameters=crowded)
    assert result.iterations == 1
    assert sigmoid(logits_of(result.estimator)(features)) == pytest.approx(np.full(60, up.mean()))


def test_a_tree_that_lightgbm_took_back_is_no_iteration():
    """Two groups of rows: once each has the share of its own that went up, no split brings anything."""
    group = np.repeat([-1.0, 1.0], 40)
    features = np.column_stack([group, np.zeros(80), np.zeros(80)])
    up = np.tile([1.0, 0.0, 1.0, 1.0], 20)
    up[:20] = 0.0
    seen = []
    result = boosted(
        features,
        up,
        parameters=BoostingParameters(
            iterations=200, learning_rate=1.0, lambda_l2=0.0, min_data_in_leaf=5, bagging_fraction=1, feature_fraction=1
        ),
        watch=lambda iteration, metrics: seen.append(iteration),
    )
    assert 1 < result.iterations == len(seen) == seen[-1] < 200
    assert result.estimator.model.count("\nTree=") == result.iterations


@pytest.mark.parametrize("outcome", [0.0, 1.0])
def test_a_hold_out_of_one_outcome_orders_nothing(outcome):
    features, up = rows()
    seen = []
    boosted(
        features,
        up,
        parameters=msgspec.structs.replace(QUICK, iterations=2),
        validation=(features[:30], np.full(30, outcome)),
        watch=lambda iteration, metrics: seen.append(metrics),
    )
    assert {metrics["validation_auc"] for metrics in seen} == {0.5}
    assert seen[-1]["train_auc"] > 0.6


def test_what_watching_raises_ends_the_fit():
    class Enough(Exception):
        pass

    def watch(iteration, metrics):
        if iteration == 3:
            raise Enough

    features, up = rows()
    with pytest.raises(Enough):
        boosted(features, up, watch=watch)


@pytest.mark.parametrize("fit", [fit_logistic, lambda features, up: boosted(features, up).estimator])
def test_an_estimator_survives_json_and_answers_a_row_whatever_stands_beside_it(fit):
    features, up = rows()
    estimator = fit(features, up)
    assert feature_count(estimator) == 3
    again = msgspec.json.decode(msgspec.json.encode(estimator), type=Estimator)
    assert again == estimator
    together = logits_of(again)(features)
    assert (together == logits_of(estimator)(features)).all()
    assert [logits_of(again)(features[row : row + 1])[0] for row in range(5)] == together[:5].tolist()
    assert logits_of(again)(features[:0]).shape == (0,)


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (Logistic((0.0,), (1.0, 1.0), (1.0,), 0.0), "differ in length"),
        (Logistic((0.0,), (0.0,), (1.0,), 0.0), "scale that is not positive"),
        (Boosted(""), "not a whole LightGBM model"),
        (Boosted("tree\nmax_feature_idx=2\n"), "not a whole LightGBM model"),
        (Boosted("tree\nmax_feature_idx=two\n\nend of trees\n"), "not a whole LightGBM model"),
    ],
)
def test_damaged_estimators_are_refused(estimator, message):
    with pytest.raises(UnusableEstimator, match=message):
        feature_count(estimator)
    with pytest.raises(UnusableEstimator, match=message):
        logits_of(estimator)


def test_trees_that_lightgbm_refuses_are_refused():
    with pytest.raises(UnusableEstimator, match="LightGBM refuses"):
        logits_of(Boosted("tree\nmax_feature_idx=2\n\nend of trees\n"))
