import json
import math
from base64 import b64encode
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.learning.artifact import reference_of
from engines.learning.monitoring import Limits, ModelMonitor
from engines.learning.rows import rows_of
from engines.learning.spec import TrainingSpec
from engines.market.feeds.replay import load_bars
from engines.market.history import history_of

NOW = datetime(2026, 1, 5, 4, 0, tzinfo=UTC)
FEATURES = tuple(f"feature_{number}" for number in range(15))
VALIDATION = {"log_loss": 0.65, "accuracy": 0.6, "calibration_error": 0.02, "rows": 5_000.0}
SHARES = 14
ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs/explanation/engines/monitoring.md"


def market(seed, rows, shift=0.0):
    return np.random.default_rng(seed).normal(size=(rows, len(FEATURES))) + shift


TRAINING = market(1, 5_000)
REFERENCE = [reference_of(name, column) for name, column in zip(FEATURES, TRAINING.T, strict=True)]


def monitor(horizon_bars=1, **limits):
    return ModelMonitor(REFERENCE, VALIDATION, Limits(**limits), horizon_bars=horizon_bars)


def told(watched, now=NOW):
    return [(alert.metric, alert.severity, alert.state) for alert in watched.alerts(watched.measure(now))]


def predict(watched, probabilities, seed, start=NOW, outcomes_of=None):
    """Outcomes as the probabilities say (or those of `outcomes_of`), one a minute."""
    rng = np.random.default_rng(seed)
    true = probabilities if outcomes_of is None else outcomes_of
    for minute, (probability, truth) in enumerate(zip(probabilities, true, strict=True)):
        watched.see_outcome(float(probability), bool(rng.random() < truth), start + timedelta(minutes=minute))


def calibrated(seed, count):
    """Probabilities whose expected log-loss is 0.65 and accuracy 0.6, about."""
    return np.clip(np.random.default_rng(seed).normal(0.5, 0.14, count), 0.05, 0.95)


# What is measured


def test_nothing_seen_is_nothing_said():
    watched = monitor()
    measured = watched.measure(NOW)
    assert (measured.outcomes, measured.accuracy, measured.log_loss, measured.calibration_error) == (
        0,
        None,
        None,
        None,
    )
    assert (measured.drift, measured.error_drifted_at, measured.latency_ms) == ((), None, None)
    assert measured.predictions_per_minute == 0
    assert watched.alerts(measured) == []
    assert watched.active == ()


def test_accuracy_and_log_loss_are_those_of_the_outcomes():
    watched = monitor(min_outcomes=2, min_moments=1)
    for minute, (probability, went_up) in enumerate(((0.8, True), (0.8, False), (0.3, False), (0.5, True))):
        watched.see_outcome(probability, went_up, NOW + timedelta(minutes=minute // 2))
    measured = watched.measure(NOW)
    assert measured.outcomes == 4
    assert measured.accuracy == 0.75  # 0.5 is a guess at up, as it is of a prediction
    assert measured.log_loss == pytest.approx(-math.log(0.8 * 0.2 * 0.7 * 0.5) / 4)
    assert measured.calibration_error == pytest.approx((abs(1.6 - 1) + 0.3 + 0.5) / 4)


def test_a_window_forgets_what_is_older():
    watched = monitor(window=100, min_rows=50, window_moments=100)
    predict(watched, np.full(250, 0.9), 2, outcomes_of=np.zeros(250))
    predict(watched, np.full(100, 0.9), 2, outcomes_of=np.ones(100))
    measured = watched.measure(NOW)
    assert (measured.outcomes, measured.accuracy) == (100, 1.0)
    watched.see_features(market(3, 230, shift=9))
    watched.see_features(market(4, 70))
    watched.see_features(market(5, 30))
    assert watched.measure(NOW).drift[0].psi < 0.5


def test_predictions_are_counted_over_the_last_minute():
    watched = monitor()
    for second in range(130):
        watched.see_predictions(SHARES, float(second), NOW + timedelta(seconds=second))
    measured = watched.measure(NOW + timedelta(seconds=129))
    assert measured.predictions_per_minute == 60 * SHARES
    assert measured.latency_ms == pytest.approx(79.5)  # the median of the latest 100
    assert watched.measure(NOW + timedelta(seconds=159)).predictions_per_minute == 30 * SHARES
    assert watched.measure(NOW + timedelta(hours=1)).predictions_per_minute == 0


def test_rows_with_an_unknown_value_are_left_out():
    watched = monitor(min_rows=1)
    rows = market(6, 10)
    rows[3, 4], rows[5, 0], rows[6, 1] = math.nan, math.inf, 1e300
    watched.see_features(rows)
    assert watched.measure(NOW).rows == 7


def test_drift_names_the_worst_feature_first():
    watched = monitor()
    rows = market(7, 500)
    rows[:, 3] += 1
    rows[:, 8] *= 4
    watched.see_features(rows)
    drift = watched.measure(NOW).drift
    assert {feature.feature for feature in drift[:2]} == {"feature_3", "feature_8"}
    assert len(drift) == len(FEATURES)
    assert all(first.psi >= second.psi for first, second in pairwise(drift))


def test_what_is_no_observation_is_refused():
    watched, naive = monitor(), NOW.replace(tzinfo=None)
    before = watched.state
    for probability in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="from 0 to 1"):
            watched.see_outcome(probability, True, NOW)
    with pytest.raises(ValueError, match="one at least"):
        watched.see_outcomes(np.array([]), np.array([], dtype=bool), NOW)
    for seen in (lambda: watched.see_outcome(0.5, True, naive), lambda: watched.measure(naive)):
        with pytest.raises(ValueError, match="time zone"):
            seen()
    for count, latency in ((-1, 1.0), (1, -1.0), (1, math.nan), (1, math.inf)):
        with pytest.raises(ValueError, match="negative"):
            watched.see_predictions(count, latency, NOW)
    with pytest.raises(ValueError, match="15 features"):
        watched.see_features(market(8, 3)[:, :14])
    assert watched.state == before


def test_limits_and_validation_must_make_sense():
    for wrong in ({"window": 50}, {"window_moments": 9}, {"min_outcomes": 0}):
        with pytest.raises(ValueError, match="must"):
            Limits(**wrong)
    with pytest.raises(ValueError, match="1 or more"):
        monitor(horizon_bars=0)
    with pytest.raises(ValueError, match="no finite log_loss, calibration_error"):
        ModelMonitor(REFERENCE, {"accuracy": 0.5, "log_loss": math.nan})


# What is told


def test_a_shifted_market_is_told_within_a_window_with_the_evidence():
    watched = monitor()
    for seed in range(40):
        watched.see_features(market(10 + seed, SHARES))
    assert told(watched) == []
    shifted = []
    for seed in range(36):  # 504 rows
        rows = market(100 + seed, SHARES)
        rows[:, 5] += 1.5
        watched.see_features(rows)
        shifted += watched.alerts(watched.measure(NOW))
    assert {alert.feature for alert in shifted} == {"feature_5"}
    last = shifted[-1]
    assert (last.metric, last.severity, last.state, last.limit) == ("psi", "CRITICAL", "raised", 0.25)
    assert last.value > 0.25
    assert last.message.startswith(
        f"PSI of feature_5 is {last.value:.3f} over the latest 500 predictions (KS distance 0."
    )
    assert last.message.endswith("; the limit is 0.250")
    assert watched.active == ("psi:feature_5",)
    assert len(shifted) <= 2  # a warning, perhaps, before


def test_a_market_as_in_training_raises_nothing():
    """Outcomes that are independent; `test_alerts_by_chance` has those of a market."""
    watched = monitor()
    alerts = []
    for batch in range(150):
        watched.see_features(market(1_000 + batch, SHARES))
        at = NOW + timedelta(minutes=batch)
        probabilities = calibrated(2_000 + batch, SHARES)
        outcomes = np.random.default_rng(batch).random(SHARES) < probabilities
        watched.see_outcomes(probabilities, outcomes, at)
        if batch % 9 == 0:
            alerts += watched.alerts(watched.measure(at))
    assert alerts == []
    assert watched.measure(NOW).error_drifted_at is None


def test_shares_that_move_together_and_slowly_are_no_drift():
    """A stationary market of long waves: each window looks unlike the whole, which is no news."""
    rng = np.random.default_rng(12)
    waves = np.zeros((4_000, len(FEATURES)))
    for moment in range(1, len(waves)):
        waves[moment] = 0.9 * waves[moment - 1] + math.sqrt(1 - 0.81) * rng.normal(size=len(FEATURES))
    rows = 0.9 * np.repeat(waves, 5, axis=0) + math.sqrt(1 - 0.81) * rng.normal(size=(20_000, len(FEATURES)))
    references = [reference_of(name, column) for name, column in zip(FEATURES, rows[:10_000].T, strict=True)]
    watched = ModelMonitor(references, VALIDATION)
    beyond, alerts = 0, []
    for window in rows[10_000:].reshape(20, 500, -1):
        watched.see_features(window)
        measured = watched.measure(NOW)
        beyond += sum(drift.psi > 0.25 for drift in measured.drift)
        alerts += watched.alerts(measured)
    raised = sum(alert.state == "raised" for alert in alerts)
    assert beyond > 60  # of 300: what the index alone would have told
    assert raised < beyond / 10


def test_a_model_that_guesses_badly_is_told_once_per_level():
    watched = monitor()
    predict(watched, np.full(200, 0.75), 13, outcomes_of=np.full(200, 0.75))
    assert told(watched) == []
    predict(watched, np.full(250, 0.75), 14, outcomes_of=np.full(250, 0.35))
    alerts = watched.alerts(watched.measure(NOW))
    found = {alert.metric: alert for alert in alerts}
    assert {metric: alert.severity for metric, alert in found.items()} == {
        "log_loss": "CRITICAL",
        "accuracy": "CRITICAL",
        "calibration_error": "CRITICAL",
        "error_drift": "WARNING",
    }
    assert found["log_loss"].limit == pytest.approx(0.75)  # validation's 0.65, and twice 0.05
    assert found["accuracy"].limit == pytest.approx(0.44)
    assert found["calibration_error"].limit == pytest.approx(0.22)
    message = found["accuracy"].message
    assert message.startswith(f"Accuracy is {found['accuracy'].value:.3f} over the latest 250 outcomes; ")
    assert message.endswith("validation had 0.600; the limit is 0.440")
    assert watched.active == ("accuracy", "calibration_error", "error_drift", "log_loss")
    assert told(watched) == []

    later = NOW + timedelta(days=1)
    predict(watched, np.full(500, 0.75), 15, later, outcomes_of=np.full(500, 0.75))
    assert sorted(told(watched)) == [
        ("accuracy", "INFO", "cleared"),
        ("calibration_error", "INFO", "cleared"),
        ("error_drift", "INFO", "cleared"),
        ("log_loss", "INFO", "cleared"),
    ]
    assert watched.active == ()


def measured(watched, **numbers):
    known = {"outcomes": 500, "accuracy": 0.6, "log_loss": 0.65, "calibration_error": 0.02}
    return msgspec.structs.replace(watched.measure(NOW), **(known | numbers))


def levels(watched, metric, values, **others):
    found = []
    for value in values:
        alerts = watched.alerts(measured(watched, **{metric: value}, **others))
        found.append("".join(f"{alert.severity[0]}{alert.state[0]}" for alert in alerts))
    return found


def test_trembling_at_a_limit_is_one_alert():
    watched = monitor()
    assert levels(watched, "log_loss", [0.699, 0.701, 0.699, 0.705, 0.695, 0.71]) == ["", "Wr", "", "", "", ""]
    assert levels(watched, "log_loss", [0.749, 0.751, 0.749, 0.76]) == ["", "Cr", "", ""]
    assert levels(watched, "log_loss", [0.692, 0.689, 0.692, 0.701]) == ["", "Ic", "", "Wr"]  # 0.65 + 80 % of 0.05
    assert watched.active == ("log_loss",)
    watched = monitor()
    assert levels(watched, "accuracy", [0.53, 0.519, 0.523, 0.43, 0.535, 0.537]) == ["", "Wr", "", "Cr", "", "Ic"]
    assert levels(watched, "calibration_error", [0.11, 0.13, 0.23, 0.11, 0.09]) == ["", "Wr", "Cr", "", "Ic"]
    assert watched.active == ()


def test_what_may_be_chance_is_not_told():
    watched = monitor()
    assert levels(watched, "log_loss", [0.76], log_loss_noise=0.12) == [""]  # it is 0.11 worse
    assert levels(watched, "accuracy", [0.4], accuracy_noise=0.21) == [""]
    assert levels(watched, "calibration_error", [0.25], calibration_noise=0.3) == [""]
    assert levels(watched, "log_loss", [0.76], log_loss_noise=0.1) == ["Cr"]
    assert levels(watched, "log_loss", [0.9], calibration_error=None) == [""]  # too few outcomes
    assert levels(watched, "accuracy", [0.0], calibration_error=None) == [""]


@given(st.lists(st.floats(0.5, 1.0), max_size=40))
@settings(max_examples=20, deadline=None)
def test_alerts_alternate(values):
    """Whatever comes: a level is raised before it is cleared, and never twice in between."""
    watched, level = monitor(), 0
    for value in values:
        for alert in watched.alerts(measured(watched, log_loss=value)):
            if alert.state == "cleared":
                assert level > 0
                level = 0
            else:
                new = {"WARNING": 1, "CRITICAL": 2}[alert.severity]
                assert new > level
                level = new
        assert (watched.active == ("log_loss",)) == (level > 0)


def test_a_rise_of_the_error_is_told_though_validation_was_worse():
    """A model that was better live than in validation, and no longer is: only the sequence shows it."""
    watched = monitor()
    predict(watched, np.full(300, 0.9), 16)
    predict(watched, np.full(60, 0.9), 17, NOW + timedelta(days=1), outcomes_of=np.full(60, 0.4))
    (alert,) = [alert for alert in watched.alerts(watched.measure(NOW)) if alert.metric == "error_drift"]
    assert (alert.severity, alert.state) == ("WARNING", "raised")
    assert "rose from 0." in alert.message
    assert NOW + timedelta(days=1) < watched.measure(NOW).error_drifted_at < NOW + timedelta(days=1, minutes=60)


def test_outcomes_of_one_moment_are_one_value_of_the_test():
    together, apart = monitor(), monitor()
    for moment in range(20):
        for share in range(SHARES):
            at = NOW + timedelta(minutes=moment)
            together.see_outcome(0.6, share % 2 == 0, at)
            apart.see_outcome(0.6, share % 2 == 0, at + timedelta(seconds=share))
    assert together.state["error"]["count"] == 19  # the last is not known to have ended
    assert together.state["error"]["mean"] == pytest.approx(-math.log(0.6 * 0.4) / 2)
    assert together.state["error"]["squares"] == pytest.approx(0, abs=1e-9)
    assert apart.state["error"]["count"] == 20 * SHARES - 1


def test_moments_whose_labels_overlap_are_one_value_of_the_test():
    overlapping = monitor(horizon_bars=5)
    for moment in range(26):
        overlapping.see_outcome(0.6 if moment < 5 else 0.9, True, NOW + timedelta(minutes=moment))
    assert overlapping.state["error"]["count"] == 5
    assert overlapping.state["error"]["mean"] == pytest.approx(-(math.log(0.6) + 4 * math.log(0.9)) / 5)


@pytest.mark.parametrize(("shares", "horizon", "enough"), [(1, 1, 50), (14, 1, 10), (14, 5, 50), (1, 20, 200)])
def test_nothing_is_told_before_there_are_enough_independent_moments(shares, horizon, enough):
    """All outcomes are wrong; ten horizons, and fifty outcomes, must have ended."""
    watched = monitor(horizon_bars=horizon)
    alerts = {}
    for moment in range(1, enough + 1):
        at = NOW + timedelta(minutes=moment)
        watched.see_outcomes(np.full(shares, 0.99), np.zeros(shares, dtype=bool), at)
        if moment >= enough - 1:
            alerts[moment] = told(watched)
    assert alerts[enough - 1] == []
    assert ("accuracy", "CRITICAL", "raised") in alerts[enough]


def test_a_week_in_one_direction_is_no_certainty():
    """One answer, always right or always wrong: its outcomes do not vary at all."""
    watched = monitor(horizon_bars=5)
    for moment in range(60):
        watched.see_outcomes(np.full(SHARES, 0.566), np.zeros(SHARES, dtype=bool), NOW + timedelta(minutes=moment))
    measured = watched.measure(NOW)
    assert measured.calibration_error == pytest.approx(0.566, abs=1e-6)
    assert measured.calibration_noise > 0.566
    assert measured.log_loss_noise > measured.log_loss - VALIDATION["log_loss"]
    assert measured.accuracy_noise == pytest.approx(3.5 * math.sqrt(0.24 / 12), rel=1e-6)


# What survives a restart


def busy():
    watched = monitor()
    rows = market(20, 700)
    rows[:, 2] += 2
    watched.see_features(rows)
    predict(watched, np.full(700, 0.8), 21, outcomes_of=np.repeat([0.8, 0.3], [400, 300]))
    assert watched.alerts(watched.measure(NOW))
    return watched


def test_a_restart_changes_nothing_and_tells_nothing_twice():
    first, second = busy(), monitor()
    stored = json.dumps(first.state)
    second.restore(json.loads(stored))
    assert second.measure(NOW) == first.measure(NOW)
    assert second.active == first.active
    assert told(second) == []
    assert json.dumps(second.state) == stored
    for watched in (first, second):
        watched.see_features(market(22, 90))
        predict(watched, np.full(600, 0.8), 23, NOW + timedelta(days=2))
    assert second.measure(NOW) == first.measure(NOW)
    assert told(second) == told(first) != []
    second.restore({})
    assert second.state == monitor().state


def test_the_state_is_small():
    assert len(json.dumps(busy().state)) < 60_000  # 15 features, 500 rows


def test_a_smaller_window_keeps_the_latest():
    second = monitor(window=100, window_moments=100)
    second.restore(busy().state)
    assert (second.measure(NOW).rows, second.measure(NOW).outcomes) == (100, 100)


def moments_of(*numbers):
    return b64encode(np.array([*numbers, *[0] * (13 - len(numbers))], dtype=np.float32).tobytes()).decode()


@pytest.mark.parametrize(
    "change",
    [
        {"features": ["other"]},
        {"rows": "AAAA"},
        {"rows": "not base64!"},
        {"rows": 7},
        {"moments": moments_of(1, 1, math.nan)},
        {"moments": moments_of(0, 0, 0)},
        {"moments": moments_of(1.5, 1, 0.7)},
        {"moments": moments_of(1, 2, 0.7)},
        {"moments": moments_of(1, 1, -0.7)},
        {"moments": moments_of(2, 1, 0.7, 1.5, -1.5)},
        {"moment": "2026-01-05T04:00:00"},
        {"heard_loss": math.nan},
        {"told": {"psi:other": 1}},
        {"told": {"log_loss": 3}},
        {"error": {"mean": math.inf}},
        {"error": {"count": -1}},
        {"unknown": 1},
        {"rise": {"before": 1.0}},
    ],
)
def test_garbage_is_refused_and_changes_nothing(change):
    watched = busy()
    before = watched.state
    with pytest.raises(ValueError, match="no state of a monitor"):
        watched.restore(before | change)
    assert watched.state == before


def test_outcomes_of_a_moment_may_come_one_by_one():
    together, apart = monitor(), monitor()
    for minute in range(3):
        probabilities, outcomes = calibrated(minute, SHARES), np.arange(SHARES) % 3 == 0
        together.see_outcomes(probabilities, outcomes, NOW + timedelta(minutes=minute))
        for probability, went_up in zip(probabilities, outcomes, strict=True):
            apart.see_outcome(float(probability), bool(went_up), NOW + timedelta(minutes=minute))
    one, other = (msgspec.structs.asdict(watched.measure(NOW)) for watched in (together, apart))
    assert one["outcomes"] == 3 * SHARES
    for name in ("outcomes", "accuracy", "log_loss", "log_loss_noise", "accuracy_noise", "calibration_noise"):
        assert one[name] == pytest.approx(other[name], rel=1e-5)


def test_a_time_of_another_zone_is_the_same_moment():
    watched = monitor()
    india = timezone(timedelta(hours=5, minutes=30))
    watched.see_outcome(0.6, True, NOW)
    watched.see_outcome(0.6, True, NOW.astimezone(india))
    assert watched.measure(NOW).outcomes == 2
    assert watched.state["error"]["count"] == 0
    watched.see_outcome(0.6, True, NOW + timedelta(minutes=1))
    assert watched.state["error"]["count"] == 1


def test_the_page_lists_the_limits_as_they_are():
    rows = [line.split("|")[1:3] for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    listed = {name.strip().strip("`"): float(value) for name, value in rows}
    assert listed == {name: float(value) for name, value in msgspec.structs.asdict(Limits()).items()}


def test_the_page_says_how_often_drift_is_told_on_the_shipped_bars():
    rows = rows_of(history_of(load_bars(ROOT / "data/daily_bars.csv").bars), TrainingSpec())
    first = int(0.6 * len(rows.features))
    references = [reference_of(*named) for named in zip(rows.feature_names, rows.features[:first].T, strict=True)]
    later, volatilities = rows.features[first:], ("volatility_20", "bollinger_bandwidth", "atr_14")
    beyond, told = {True: [], False: []}, {True: [], False: []}
    for start in range(0, len(later) - 500, 100):
        watched = ModelMonitor(references, VALIDATION)
        watched.see_features(later[start : start + 500])
        measured = watched.measure(NOW)
        critical = {alert.feature for alert in watched.alerts(measured) if alert.severity == "CRITICAL"}
        for drift in measured.drift:
            of_volatility = drift.feature in volatilities
            beyond[of_volatility].append(drift.psi > 0.25)
            told[of_volatility].append(drift.feature in critical)
    assert np.mean(beyond[True] + beyond[False]) == pytest.approx(0.32, abs=0.01)
    assert np.mean(told[True] + told[False]) == pytest.approx(0.09, abs=0.01)
    assert np.mean(beyond[False]) == pytest.approx(0.18, abs=0.01)
    assert np.mean(told[False]) < 0.01
