import math
import time
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import pytest

from engines.learning.features import FEATURES, LOOKBACK_BARS, dataset, features_of
from engines.learning.model import TrainedModel
from engines.learning.monitoring import PerformanceMonitor
from engines.learning.training import STEPS, TrainingCancelled, TrainingFailed, train
from engines.market.quotes import Bar

START = datetime(2026, 1, 5, tzinfo=UTC)


def bars_of(closes, symbol="X"):
    return [Bar(symbol, START + timedelta(minutes=n), c, c, c, c) for n, c in enumerate(closes)]


def random_walk(count, seed=1, momentum=0.0):
    rng = np.random.default_rng(seed)
    closes, last = [100.0], 0.0
    for _ in range(count):
        last = momentum * last + rng.normal(0, 0.01)
        closes.append(closes[-1] * math.exp(last))
    return closes


def fit(bars, report=lambda progress: None, cancelled=lambda: False):
    return train(bars, seed=3, report=report, cancelled=cancelled, monotonic=time.monotonic)


def test_features_know_nothing_of_the_future():
    closes = random_walk(300)
    rows, _ = dataset(bars_of(closes))
    changed, _ = dataset(bars_of(closes[:200] + [c * 5 for c in closes[200:]]))
    known = 200 - LOOKBACK_BARS + 1
    assert np.array_equal(rows[:known], changed[:known])
    assert not np.array_equal(rows[known], changed[known])


def test_labels_say_whether_the_next_bar_closed_higher():
    closes = random_walk(100)
    rows, labels = dataset(bars_of(closes))
    assert len(rows) == len(labels) == 101 - LOOKBACK_BARS
    expected = [float(b > a) for a, b in zip(closes[LOOKBACK_BARS - 1 :], closes[LOOKBACK_BARS:], strict=False)]
    assert labels.tolist() == expected
    assert features_of(closes[: LOOKBACK_BARS - 1]) is None
    assert rows[0] == pytest.approx(features_of(closes[:LOOKBACK_BARS]))


def test_training_finds_a_pattern_that_is_there_and_reports_every_step():
    seen = []
    model = fit(bars_of(random_walk(3_000, momentum=0.5)), seen.append)
    assert model.metrics["accuracy"] > model.metrics["baseline_accuracy"] + 0.05
    assert list(dict.fromkeys(progress.step_name for progress in seen)) == list(STEPS)
    percentages = [progress.percentage for progress in seen]
    assert percentages == sorted(percentages)
    assert len(model.weights) == len(FEATURES)


def test_training_claims_nothing_on_noise():
    assert fit(bars_of(random_walk(3_000))).metrics["accuracy"] < 0.56


def test_the_same_seed_gives_the_same_model_and_it_survives_json():
    bars = bars_of(random_walk(600))
    model = fit(bars)
    assert model == fit(bars)
    again = msgspec.json.decode(msgspec.json.encode(model), type=TrainedModel)
    closes = [bar.close for bar in bars]
    assert again.probability_up(closes) == model.probability_up(closes)
    assert 0 < model.probability_up(closes) < 1
    assert model.probability_up(closes[:5]) is None


def test_too_little_data_is_explained():
    with pytest.raises(TrainingFailed, match="at least 200"):
        fit(bars_of(random_walk(100)))
    with pytest.raises(TrainingFailed, match="both outcomes"):
        fit(bars_of([100 * 1.01**n for n in range(400)]))


def test_cancelling_stops_within_a_step():
    calls = iter(range(100))
    with pytest.raises(TrainingCancelled):
        fit(bars_of(random_walk(600)), cancelled=lambda: next(calls) > 5)
    assert next(calls) < 10


def test_monitoring_alerts_once_and_again_after_recovery():
    monitor = PerformanceMonitor()
    assert monitor.performance().accuracy is None
    for _ in range(40):
        monitor.add(0.8, went_up=False)
    performance = monitor.alert()
    assert performance.log_loss == pytest.approx(-math.log(0.2), abs=1e-3)
    assert monitor.alert() is None
    for _ in range(200):
        monitor.add(0.8, went_up=True)
    assert monitor.alert() is None
    assert monitor.performance().accuracy == 1.0
    for _ in range(200):
        monitor.add(0.8, went_up=False)
    assert monitor.alert() is not None
