from dataclasses import replace
from itertools import groupby, pairwise

import msgspec
import numpy as np
import pytest

from engines.learning import metrics, training
from engines.learning.artifact import Predictor, WalkForward, decode, digest_of, encode, out_of_sample
from engines.learning.calibration import UNCALIBRATED
from engines.learning.features import FEATURES, FEATURES_VERSION, feature_matrix
from engines.learning.labels import labels_of
from engines.learning.progress import ProgressReporter
from engines.learning.rows import rows_of
from engines.learning.spec import BoostingParameters, LabelSpec, TrainingSpec
from engines.learning.splits import walk_forward
from engines.learning.training import STEPS, TrainingCancelled, TrainingFailed, train
from engines.market.history import digest_of as history_digest
from tests.engines.learning.histories import DAY, momentum, noise, series_of

QUICK = TrainingSpec(
    folds=3,
    label=LabelSpec(horizon_bars=1),
    boosting=BoostingParameters(
        iterations=40, early_stopping_iterations=8, min_data_in_leaf=20, learning_rate=0.1, num_leaves=7
    ),
)
LOGISTIC = msgspec.structs.replace(QUICK, algorithm="logistic")


class Clock:
    """One second more at each look."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        self.now += 1
        return self.now


def run(history, spec, report=lambda progress: None, cancelled=lambda: False):
    return train(history, spec, bar_seconds=DAY, report=report, cancelled=cancelled, monotonic=Clock())


@pytest.fixture(scope="module")
def history():
    return momentum()


@pytest.fixture(scope="module")
def logistic(history):
    return run(history, LOGISTIC)


@pytest.fixture(scope="module")
def small():
    """For what does not depend on what is learned."""
    return momentum("A", bars=300)


@pytest.fixture(scope="module")
def seen():
    return []


@pytest.fixture(scope="module")
def trained(history, seen):
    return run(history, QUICK, seen.append)


def test_a_pattern_that_is_there_is_found(trained):
    assert trained.metrics["log_loss"] < trained.metrics["base_log_loss"] - 0.08
    assert trained.metrics["accuracy"] > 0.72
    assert trained.metrics["auc"] > 0.75
    assert trained.metrics["calibration_error"] < 0.15
    assert trained.baseline["auc"] > 0.7
    assert trained.baseline["rows"] == trained.metrics["rows"] == sum(fold["rows"] for fold in trained.fold_metrics)
    assert trained.iterations > 1
    assert trained.calibrator.slope > 0.3


@pytest.mark.parametrize("spec", [QUICK, LOGISTIC])
def test_noise_claims_nothing(spec):
    history = noise()
    artifact = run(history, spec)
    assert artifact.metrics["log_loss"] > artifact.metrics["base_log_loss"] - 0.01
    matrix = feature_matrix(history["A"])
    probability = Predictor(artifact).probabilities(matrix[-100:])
    assert np.abs(probability - 0.5).max() < 0.15


def test_the_same_bars_and_spec_give_the_same_bytes(history, trained):
    """And so do those that the artifact names itself, in whatever order they are loaded."""
    stored = decode(encode(trained), digest_of(encode(trained)))
    assert stored.history_digest == history_digest(history)
    assert encode(run(dict(reversed(history.items())), stored.spec)) == encode(trained)


def test_a_rerun_after_a_feature_was_added_asks_for_those_of_then(trained):
    assert QUICK.features == ()
    assert trained.spec == msgspec.structs.replace(QUICK, features=tuple(FEATURES))


def test_other_bars_are_noticed_though_all_else_is_the_same(history):
    changed = replace(history["B"], volume=history["B"].volume + 1)
    digest = history_digest(history)
    assert history_digest({"A": history["A"], "B": changed}) != digest
    assert history_digest({"A": history["A"]}) != digest
    assert history_digest({"X": history["A"].part(0, 0), **history}) == digest


def test_the_artifact_says_what_it_is(history, trained):
    assert decode(encode(trained), digest_of(encode(trained))) == trained
    assert trained.feature_names == tuple(FEATURES)
    assert trained.symbols == ("A", "B")
    assert (trained.data_from, trained.data_until) == (history["A"].times[0], history["A"].times[-1])
    assert trained.bar_seconds == DAY
    assert set(trained.versions) == {"python", "numpy", "lightgbm", "scikit-learn", "ta-lib", "features"}
    assert trained.versions["features"] == str(FEATURES_VERSION)
    rows = rows_of(history, QUICK)
    assert trained.rows == len(rows) == trained.reference[0].rows
    folds = walk_forward(rows, folds=3, min_train_share=0.4)
    assert [(f.train_until, f.test_from, f.test_until) for f in trained.folds] == [
        (f.train_until, f.test_from, f.test_until) for f in folds
    ]
    for reference in trained.reference:
        assert sum(reference.shares) == pytest.approx(1)
        assert len(reference.edges) == 9


def test_metrics_are_those_of_the_out_of_sample_predictions(history, trained):
    """Whoever backtests on `out_of_sample` gets what the metrics were measured on."""
    walk = WalkForward(trained)
    probability, up = [], []
    for series in history.values():
        labels, predicted = labels_of(series, QUICK.label), walk.probabilities(series)
        assert np.array_equal(predicted, out_of_sample(trained, series), equal_nan=True)
        both = np.isfinite(predicted) & np.isfinite(labels.up)
        probability.append(predicted[both])
        up.append(labels.up[both])
    probability, up = np.concatenate(probability), np.concatenate(up)
    assert metrics.log_loss(probability, up) == pytest.approx(trained.metrics["log_loss"])
    assert metrics.accuracy(probability, up) == pytest.approx(trained.metrics["accuracy"])
    by_fold = sum(fold["auc"] * fold["rows"] for fold in trained.fold_metrics) / len(up)
    assert trained.metrics["auc"] == pytest.approx(by_fold)


def test_what_comes_after_a_folds_test_changes_nothing_in_it(history, trained):
    """Estimator, calibrator and predictions of a fold know what came before it: with other bars later the same."""
    until = trained.folds[1].test_until + 30 * DAY
    rng = np.random.default_rng(9)
    changed = {}
    for symbol, series in history.items():
        kept = int((series.times <= until).sum())
        returns = np.diff(np.log(series.close), prepend=np.log(100.0))
        returns[kept:] = 0.03 * rng.standard_normal(len(series) - kept)
        other = series_of(returns, symbol, "AB".index(symbol))
        assert np.allclose(other.close[:kept], series.close[:kept])
        changed[symbol] = spliced(series, other, kept)
    again = run(changed, QUICK)
    assert again.folds[:2] == trained.folds[:2]
    assert again.fold_metrics[:2] == trained.fold_metrics[:2]
    assert again.folds[2] != trained.folds[2] or again.fold_metrics[2] != trained.fold_metrics[2]


def spliced(series, other, kept):
    """The first bars of one, to the bit, and the rest of the other."""
    columns = (np.concatenate([getattr(series, n)[:kept], getattr(other, n)[kept:]]) for n in COLUMNS)
    return type(series)(series.symbol, *columns)


COLUMNS = ("times", "open", "high", "low", "close", "volume")


def test_the_first_fold_is_uncalibrated_and_later_ones_by_labels_that_were_known(history, trained, monkeypatch):
    assert trained.folds[0].calibrator == UNCALIBRATED
    assert trained.folds[1].calibrator != UNCALIBRATED
    fitted_on, base_rates = [], []

    def fit(logits, up, *, base_rate):
        fitted_on.append(len(up))
        base_rates.append(base_rate)
        return UNCALIBRATED

    monkeypatch.setattr(training, "fit_platt", fit)
    # most labels are decided long before their horizon ends; they wait for its end all the same
    label = LabelSpec(kind="triple_barrier", horizon_bars=10, target_volatilities=0.1, stop_volatilities=0.1)
    spec = msgspec.structs.replace(LOGISTIC, label=label)
    run(history, spec)
    rows = rows_of(history, spec)
    folds = walk_forward(rows, folds=3, min_train_share=0.4)
    # of each fold before, all but the last 10 bars (of two symbols) where another fold's test begins right after
    assert fitted_on == [
        0,
        len(folds[0].test) - 20,
        len(folds[0].test) + len(folds[1].test) - 20,
        sum(len(fold.test) for fold in folds),
    ]
    assert base_rates == [*(rows.up[fold.train].mean() for fold in folds), rows.up.mean()]


def test_where_calibration_gives_up_a_model_is_its_base_rate():
    """Neither better nor worse, to the last digit: of whoever orders nothing, nothing is to be said."""
    artifact = run(noise(), LOGISTIC)
    constant = [n for n, fold in enumerate(artifact.folds) if fold.calibrator.slope == 0]
    assert constant
    for number in constant:
        measured = artifact.fold_metrics[number]
        assert measured["log_loss"] == pytest.approx(measured["base_log_loss"], abs=1e-12)
        assert measured["accuracy"] == measured["base_accuracy"]


def test_horizons_are_over_before_the_hold_out():
    history = noise("A", bars=700)
    label = LabelSpec(kind="triple_barrier", horizon_bars=10, target_volatilities=0.1, stop_volatilities=0.1)
    rows = rows_of(history, msgspec.structs.replace(QUICK, label=label))
    for fold in walk_forward(rows, folds=3, min_train_share=0.4):
        fit, held_out = training._hold_out(rows, fold)
        start = rows.bar_indices[held_out[0]]
        assert rows.known_times[fit].max() < rows.times[held_out[0]]
        assert rows.bar_indices[fit[-1]] + 10 == start - 1
        assert held_out[-1] == fold.train[-1]


def test_every_step_and_iteration_is_reported(seen, trained):
    assert [step for step, after in pairwise([p.step for p in seen] + [0]) if step != after] == list(range(1, 8))
    assert [progress.step_name for progress in seen if progress.step == 1] == ["Load bars"]
    assert all(before.percentage <= after.percentage for before, after in pairwise(seen))
    assert (seen[0].percentage, seen[-1].percentage) == (0, 99)
    iterating = [progress for progress in seen if progress.iteration]
    assert {progress.step for progress in iterating} == {4}
    assert [fold for fold, after in pairwise([p.fold for p in iterating] + [-1]) if fold != after] == [1, 2, 3, 0]
    assert {progress.folds for progress in iterating} == {3}
    assert all(1 <= progress.iteration <= progress.iterations <= 40 for progress in iterating)
    assert {progress.rows for progress in seen[3:]} == {trained.rows}
    assert {progress.phase for progress in seen if not progress.iteration} == {""}
    assert seen[-1].metrics == trained.metrics


TRAIN = {"train_log_loss", "train_auc", "train_accuracy"}
VALIDATION = {"validation_log_loss", "validation_auc", "validation_accuracy"}


@pytest.mark.parametrize(("spec", "first"), [(QUICK, "choosing iterations"), (LOGISTIC, "validating")])
def test_iterations_say_what_they_are_for_and_only_a_hold_outs_are_validated(small, spec, first):
    reports = []
    run(small, msgspec.structs.replace(spec, features=("return_1", "rsi_14")), reports.append)
    iterating = [progress for progress in reports if progress.iteration]
    runs = [
        [progress.iteration for progress in of_phase]
        for _, of_phase in groupby(iterating, key=lambda progress: (progress.fold, progress.phase))
    ]
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in runs)
    places = [(progress.fold, progress.phase) for progress in iterating]
    assert list(dict.fromkeys(places)) == [
        *((fold, phase) for fold in (1, 2, 3) for phase in (first, "fitting")), (0, "final fit")
    ]  # fmt: skip
    for progress in iterating:
        assert progress.metrics.keys() == (TRAIN | VALIDATION if progress.phase == first else TRAIN)


def test_the_time_of_steps_and_the_time_left_are_measured(seen):
    assert list(seen[-1].step_seconds) == list(STEPS[1:-1])  # others load the bars and save the artifact
    iterating = [progress for progress in seen if progress.iteration]
    # the clock goes on by one at each look: at the end of a step, and once an iteration
    assert seen[-1].step_seconds["Training"] == len(iterating) + 1
    assert seen[0].eta_seconds is None
    assert iterating[0].eta_seconds > 0
    assert seen[-1].eta_seconds == iterating[-1].eta_seconds == 0


def test_the_time_left_is_by_the_pace_of_rows_and_iterations():
    reports = []
    progress = ProgressReporter(reports.append, lambda: False, Clock())
    progress.begin(4)
    progress.plan([1_000, 2_000])
    where = {"folds": 1, "phase": "fitting", "iterations": 10, "metrics": {}}
    progress.iterated(rows=100, fold=1, iteration=1, **where)
    assert reports[-1].eta_seconds == pytest.approx(1 / 100 * 2_900)
    for iteration in range(2, 6):
        progress.iterated(rows=100, fold=1, iteration=iteration, **where)
    progress.fit_finished()  # stopped half way: the next is expected to, as well
    progress.iterated(rows=200, fold=0, iteration=1, **where)
    assert reports[-1].eta_seconds == pytest.approx(6 / 700 * 800)
    assert reports[-1].percentage == pytest.approx(6 + 86 * 1_200 / 3_000)


def test_it_stops_when_asked_at_every_place(small):
    asked = [0]

    def cancelled_at(number):
        asked[0] += 1
        return asked[0] >= number

    reports = []
    spec = msgspec.structs.replace(LOGISTIC, features=("return_1",), folds=2)
    run(small, spec, reports.append)
    for number in range(1, len(reports) + 1):
        asked[0] = 0
        with pytest.raises(TrainingCancelled):
            run(small, spec, cancelled=lambda number=number: cancelled_at(number))
        assert asked[0] == number
    asked[0] = 0
    with pytest.raises(TrainingCancelled):
        run(small, QUICK, cancelled=lambda: cancelled_at(10))
    assert asked[0] == 10


def test_the_logistic_models_baseline_is_the_base_rate(logistic):
    artifact = logistic
    assert artifact.baseline["log_loss"] == artifact.metrics["base_log_loss"] == artifact.baseline["base_log_loss"]
    assert artifact.iterations == 0
    assert artifact.metrics["log_loss"] < artifact.baseline["log_loss"] - 0.1


def test_the_boosted_models_baseline_is_the_logistic_model(logistic, trained):
    assert trained.baseline == logistic.metrics


def test_barriers_some_features_and_no_early_stopping(history):
    spec = msgspec.structs.replace(
        QUICK,
        features=("return_1", "rsi_14", "adx_14"),
        label=LabelSpec(kind="triple_barrier", horizon_bars=2),
        boosting=msgspec.structs.replace(QUICK.boosting, iterations=12, early_stopping_iterations=0),
    )
    artifact = run(history, spec)
    assert artifact.feature_names == spec.features
    assert artifact.iterations == 12
    assert artifact.metrics["auc"] > 0.6


def test_boosting_gets_one_core(monkeypatch, small):
    """LightGBM is never given more: the engines run beside it."""
    lightgbm = pytest.importorskip("lightgbm")
    given = []
    real = lightgbm.Dataset
    monkeypatch.setattr(lightgbm, "Dataset", lambda *a, **k: given.append(k.get("params")) or real(*a, **k))
    run(small, msgspec.structs.replace(QUICK, boosting=BoostingParameters(iterations=1)))
    assert given
    assert all(params["num_threads"] == 1 and params["deterministic"] for params in given)


@pytest.mark.parametrize(
    ("history_of_user", "message"),
    [
        ({}, "There are no bars of any symbol"),
        ({"A": series_of(np.empty(0)), "X": series_of(np.empty(0))}, "There are no bars of A, X"),
        (noise("A", bars=240), "240 bars of A give 190 rows with all features and a label; at least 200"),
        ({"A": series_of(np.full(400, 0.01))}, "All 350 rows went up"),
        ({"A": series_of(np.full(400, -0.001))}, "All 350 rows went down"),
        ({"A": series_of(np.r_[np.full(300, 0.001), 0.01 * np.tile([1, -1], 60)])}, "that fold 1 .* went up"),
    ],
)
def test_data_that_cannot_train_is_explained(history_of_user, message):
    with pytest.raises(TrainingFailed, match=message):
        run(history_of_user, QUICK)


def test_too_many_folds_and_too_long_a_horizon_are_explained():
    history = noise("A", bars=300)
    with pytest.raises(TrainingFailed, match="too few for 12 folds"):
        run(history, msgspec.structs.replace(QUICK, folds=12))
    with pytest.raises(TrainingFailed, match="Fold 1 has 12 rows beside those that are held out"):
        run(
            noise("A", bars=350, seed=2),
            msgspec.structs.replace(QUICK, label=LabelSpec(horizon_bars=60), min_train_share=0.6),
        )


def test_broken_bars_are_explained(history):
    broken = momentum("A")["A"]
    broken.close[7] = np.nan
    with pytest.raises(TrainingFailed, match="A: 1 bars, the first at"):
        run({"A": broken}, QUICK)


def test_linear_algebra_gets_one_core_while_training_and_its_cores_back_after(small):
    from threadpoolctl import threadpool_info

    def threads():
        return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]

    before, while_training = threads(), []
    run(small, LOGISTIC, lambda progress: progress.step > 5 and while_training.extend(threads()))
    assert set(while_training) == {1}
    assert threads() == before
