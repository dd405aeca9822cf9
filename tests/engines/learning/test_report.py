import msgspec
import numpy as np
import pytest

from engines.learning import report
from engines.learning.report_page import Comparison, ShippedModel, page, verdict
from engines.learning.spec import BoostingParameters, LabelSpec, TrainingSpec
from tests.engines.learning.histories import momentum

SPEC = TrainingSpec(
    folds=2, label=LabelSpec(horizon_bars=1), boosting=BoostingParameters(iterations=15, min_data_in_leaf=20)
)


@pytest.fixture(scope="module")
def shipped():
    return msgspec.json.decode(report.PATH.read_bytes(), type=ShippedModel)


@pytest.fixture(scope="module")
def measured():
    return report.shipped_model(momentum(bars=300), "data/none.csv", lambda name, progress: None, {"small": SPEC})


def test_the_page_says_what_the_numbers_say(shipped):
    assert report.PAGE.read_text(encoding="utf-8") == page(shipped)


def test_the_page_is_about_the_defaults_and_the_bars_that_are_shipped(shipped):
    assert {name: variant.spec for name, variant in shipped.variants.items()} == report.SPECS
    with report.DAILY.open() as file:
        assert sum(shipped.bars.values()) == sum(1 for _ in file) - 1
    for variant in shipped.variants.values():
        assert len(variant.folds) == variant.spec.folds
        assert variant.learners["logistic"].metrics["base_log_loss"] == variant.base["log_loss"]


def test_the_same_bars_give_the_same_files(measured, tmp_path):
    again = report.shipped_model(momentum(bars=300), "data/none.csv", lambda name, progress: None, {"small": SPEC})
    report.write(measured, tmp_path / "a" / "x.json", tmp_path / "x.md")
    report.write(again, tmp_path / "b" / "x.json", tmp_path / "y.md")
    assert (tmp_path / "a" / "x.json").read_bytes() == (tmp_path / "b" / "x.json").read_bytes()
    assert (tmp_path / "x.md").read_text() == (tmp_path / "y.md").read_text() == page(measured)
    assert msgspec.json.decode((tmp_path / "a" / "x.json").read_bytes(), type=ShippedModel) == measured


def test_a_pattern_that_is_there_shows(measured):
    variant = measured.variants["small"]
    boosted, base = variant.comparisons[0], variant.base
    assert (boosted.one, boosted.other) == ("lightgbm", "base rate")
    assert boosted.low <= boosted.mean <= boosted.high < 0
    difference = variant.learners["lightgbm"].metrics["log_loss"] - base["log_loss"]
    assert boosted.mean == pytest.approx(difference, abs=2e-5)
    assert base["auc"] == 0.5
    assert "LightGBM had a lower log-loss than the base rate" in page(measured)
    assert "LightGBM and logistic regression predicted more than the base rate says" in page(measured)


@pytest.mark.parametrize(
    ("low", "high", "wording"),
    [
        (-0.02, -0.01, "LightGBM had a lower log-loss than the base rate"),
        (-0.02, 0.01, "LightGBM cannot be told from the base rate"),
        (0.01, 0.02, "LightGBM had a higher log-loss than the base rate"),
    ],
)
def test_words_carry_no_more_than_the_interval(measured, low, high, wording):
    comparison = Comparison("lightgbm", "base rate", (low + high) / 2, low, high)
    said = verdict(msgspec.structs.replace(measured.variants["small"], comparisons=(comparison,)))
    assert wording in said
    assert ("predicted more" in said) == (high < 0)
    assert ("neither is shown" in said) == (high >= 0)


def test_one_answer_for_all_is_admitted(measured):
    variant = measured.variants["small"]
    flat = msgspec.structs.replace(variant.learners["lightgbm"], iterations=1, final_slope=0.0, final_intercept=0.0)
    said = verdict(msgspec.structs.replace(variant, learners=variant.learners | {"lightgbm": flat}))
    assert "has 1 tree, and calibration leaves it one answer: 0.500" in said


def test_folds_in_which_a_learner_has_one_answer_are_marked(measured):
    variant = measured.variants["small"]
    assert "constant |" not in page(measured)
    learners = dict(variant.learners)
    for name, slopes in (("lightgbm", (1.0, 0.0)), ("logistic", (0.0, 0.0))):
        learners[name] = msgspec.structs.replace(learners[name], calibration_slopes=slopes)
    some = msgspec.structs.replace(variant, learners=learners)
    said = page(msgspec.structs.replace(measured, variants={"small": some}))
    assert said.count("| constant |") == 3
    assert "LightGBM gives one probability, the base rate, to every bar of fold 2: what it is better" in said
    assert "Logistic regression gives one probability, the base rate, to every bar of folds 1 and 2" in said
    assert "In fold 2 both learners say the same: the difference between them, calibrated, comes from fold 1" in said


def test_scores_are_measured_before_calibration_too(measured):
    for learner in measured.variants["small"].learners.values():
        assert learner.uncalibrated_log_losses[0] == learner.folds[0]["log_loss"]  # the first is not calibrated
        by_rows = sum(
            loss * fold["rows"] for loss, fold in zip(learner.uncalibrated_log_losses, learner.folds, strict=True)
        )
        assert learner.uncalibrated_log_loss == pytest.approx(by_rows / learner.metrics["rows"], abs=1e-4)
    compared = measured.variants["small"].comparisons[-1]
    assert (compared.one, compared.other) == ("lightgbm uncalibrated", "logistic uncalibrated")


def test_the_embargo_that_was_kept_is_shown(shipped):
    assert "embargo 10 bars" in page(shipped)  # the horizon's, where 5 were asked for


def test_the_bootstrap_covers_the_mean_and_takes_a_days_rows_together():
    rng = np.random.default_rng(1)
    covered = 0
    for trial in range(60):
        values = rng.standard_normal(250)
        mean, low, high = report.mean_difference(values, np.arange(250), block_times=5, resamples=200, seed=trial)
        assert mean == pytest.approx(values.mean(), abs=1e-5)
        covered += low <= 0 <= high
    assert covered >= 51
    values = rng.standard_normal(300)
    alone = report.mean_difference(values, np.arange(300))
    # four symbols that are all the same say no more than one
    assert report.mean_difference(np.repeat(values, 4), np.repeat(np.arange(300), 4)) == pytest.approx(alone)


def test_the_bootstrap_sees_that_neighbours_depend_on_each_other():
    months = np.repeat(np.random.default_rng(2).standard_normal(30), 21)
    by_block = report.mean_difference(months, np.arange(len(months)))
    by_day = report.mean_difference(months, np.arange(len(months)), block_times=1)
    assert by_block[2] - by_block[1] > 2.5 * (by_day[2] - by_day[1])
