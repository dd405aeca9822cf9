import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from engines.learning import metrics
from engines.learning.calibration import MIN_CALIBRATION_ROWS, UNCALIBRATED, fit_platt, logit, sigmoid


def outcomes(true_logits, seed=1):
    return (np.random.default_rng(seed).random(len(true_logits)) < sigmoid(true_logits)).astype(float)


def test_sigmoid_and_logit_are_inverse_and_never_overflow():
    logits = np.linspace(-8, 8, 33)
    assert [logit(p) for p in sigmoid(logits)] == pytest.approx(logits.tolist())
    assert sigmoid(np.array([-1e9, 1e9])) == pytest.approx([0, 1], abs=1e-12)
    assert (logit(0.0), logit(1.0)) == (-30, 30)
    assert np.isnan(sigmoid(np.array([np.nan]))).all()


def test_scores_that_exaggerate_are_drawn_back():
    true = np.random.default_rng(2).normal(0.3, 1.0, 8_000)
    platt = fit_platt(3 * true - 1, outcomes(true), base_rate=0.5)
    assert platt.slope == pytest.approx(1 / 3, abs=0.03)
    assert platt.intercept == pytest.approx(1 / 3, abs=0.06)
    assert platt.probabilities(3 * true - 1) == pytest.approx(sigmoid(true), abs=0.03)


def test_the_likelihood_has_its_maximum_there():
    """Against Platt's own criterion: no neighbour is likelier for his targets."""
    logits = np.random.default_rng(3).normal(0, 0.02, 400) + 0.2
    up = outcomes(logits * 20 - 4)
    ups, downs = up.sum(), len(up) - up.sum()
    target = np.where(up > 0.5, (ups + 1) / (ups + 2), 1 / (downs + 2))

    def loss(slope, intercept):
        probability = sigmoid(slope * logits + intercept)
        return -(target * np.log(probability) + (1 - target) * np.log(1 - probability)).sum()

    platt = fit_platt(logits, up, base_rate=0.5)
    least = loss(platt.slope, platt.intercept)
    for slope, intercept in ((1.05, 1.0), (0.95, 1.0), (1.0, 1.01), (1.0, 0.99)):
        assert loss(platt.slope * slope, platt.intercept * intercept) > least


def test_scores_the_wrong_way_round_are_not_turned_round_but_are_the_base_rate():
    """That of the training rows: what went up among the calibrating rows is no better known than their scores were."""
    true = np.random.default_rng(4).normal(0.5, 1, 2_000)
    up = outcomes(true)
    assert up.mean() > 0.55
    platt = fit_platt(-true, up, base_rate=0.52)
    assert platt.slope == 0
    assert platt.probabilities(true) == pytest.approx(np.full(2_000, 0.52))


@pytest.mark.parametrize("up", [np.ones(120), np.zeros(120), np.tile([1.0, 0, 1, 1, 0], 24)])
def test_equal_scores_are_the_base_rate_and_one_outcome_alone_claims_no_certainty(up):
    assert fit_platt(np.full(120, 0.4), up, base_rate=0.6).probabilities(np.array([0.4])) == pytest.approx(0.6)
    spread = fit_platt(np.linspace(-1, 1, 120), up, base_rate=0.6).probabilities(np.linspace(-1, 1, 120))
    assert ((spread > 0.001) & (spread < 0.999)).all()


@pytest.mark.parametrize("rows", [0, 1, MIN_CALIBRATION_ROWS - 1])
def test_too_few_rows_calibrate_nothing(rows):
    assert fit_platt(np.linspace(-1, 1, rows), np.ones(rows), base_rate=0.5) == UNCALIBRATED


def test_uncalibrated_leaves_a_score_as_it_is():
    assert UNCALIBRATED.probabilities(np.array([0.7])) == sigmoid(np.array([0.7]))


def test_scores_and_outcomes_are_as_many():
    with pytest.raises(ValueError, match="2 logits for 1 outcomes"):
        fit_platt(np.zeros(2), np.zeros(1), base_rate=0.5)


@pytest.mark.parametrize("digits", [1, 2, 12])
def test_metrics_are_those_of_scikit_learn(digits):
    """With many ties (1 digit), some, and none."""
    rng = np.random.default_rng(5)
    probability = np.clip(rng.random(500).round(digits), 0, 1)
    up = (rng.random(500) < probability).astype(float)
    clipped = np.clip(probability, metrics.CLIP, 1 - metrics.CLIP)
    assert metrics.log_loss(probability, up) == pytest.approx(sklearn_metrics.log_loss(up, clipped))
    assert metrics.auc(probability, up) == pytest.approx(sklearn_metrics.roc_auc_score(up, probability))
    assert metrics.accuracy(probability, up) == pytest.approx(sklearn_metrics.accuracy_score(up, probability >= 0.5))
    assert metrics.brier(probability, up) == pytest.approx(sklearn_metrics.brier_score_loss(up, probability))


def test_calibration_error_by_hand():
    # bin 2: said 0.25 twice, came 1 of 2; bin 9: said 1.0 twice, came 1 of 2
    probability, up = np.array([0.25, 0.25, 1.0, 1.0]), np.array([1.0, 0.0, 1.0, 0.0])
    assert metrics.calibration_error(probability, up) == pytest.approx(0.5 * 0.25 + 0.5 * 0.5)
    assert metrics.calibration_error(np.full(4, 0.5), up) == 0


def test_half_is_a_guess_that_it_goes_up():
    assert [metrics.guesses_up(p) for p in (0.49999, 0.5, 1.0, float("nan"))] == [False, True, True, False]
    said, up = np.array([0.5, 0.5, 0.4, 0.6]), np.array([1.0, 0.0, 0.0, 0.0])
    assert metrics.guesses_up(said).tolist() == [True, True, False, True]
    assert metrics.hits(said, up).tolist() == [1.0, 0.0, 1.0, 0.0]
    assert metrics.accuracy(said, up) == 0.5


def test_bins_are_of_equal_width_and_one_is_in_the_last():
    assert metrics.bins_of(np.array([0.0, 0.0999, 0.1, 0.55, 0.999, 1.0])).tolist() == [0, 0, 1, 5, 9, 9]


def test_metrics_of_one_outcome_only_and_of_certainty_that_is_wrong():
    assert metrics.auc(np.array([0.2, 0.8]), np.ones(2)) == metrics.NO_AUC == 0.5
    assert metrics.log_loss(np.zeros(1), np.ones(1)) == pytest.approx(13.8, abs=0.1)
    with pytest.raises(ValueError, match="0 probabilities for 0 outcomes"):
        metrics.brier(np.empty(0), np.empty(0))
    with pytest.raises(ValueError, match="2 probabilities for 3 outcomes"):
        metrics.accuracy(np.zeros(2), np.zeros(3))


def test_measure_has_the_base_rate_beside():
    up = np.array([1.0, 1.0, 0.0, 1.0])
    measured = metrics.measure(np.array([0.9, 0.8, 0.4, 0.3]), up, np.full(4, 0.6))
    assert measured["accuracy"] == 0.75
    assert measured["base_accuracy"] == 0.75
    assert measured["base_log_loss"] == pytest.approx(-(3 * np.log(0.6) + np.log(0.4)) / 4)
    assert measured["rows"] == 4
    assert set(measured) == {
        "log_loss", "accuracy", "auc", "brier", "calibration_error", "base_log_loss", "base_accuracy", "rows"
    }  # fmt: skip


def test_the_auc_over_folds_does_not_compare_their_levels():
    low = (np.array([0.1, 0.1]), np.array([1.0, 0.0]), np.full(2, 0.1))
    high = (np.full(4, 0.9), np.array([0.0, 0.0, 0.0, 1.0]), np.full(4, 0.9))
    together = metrics.measure_folds([low, high])
    assert together["auc"] == 0.5
    assert together["rows"] == 6
    assert together["log_loss"] == pytest.approx(metrics.log_loss(np.r_[low[0], high[0]], np.r_[low[1], high[1]]))
