from pathlib import Path

import numpy as np
import pytest

from engines.learning.features import FEATURES, feature_matrix
from engines.learning.labels import labels_of
from engines.learning.rows import NEVER, rows_of
from engines.learning.spec import LabelSpec, TrainingSpec
from engines.market.feeds.replay import load_bars
from engines.market.history import BarSeries, history_of

DAILY_BARS = Path(__file__).parents[3] / "data" / "daily_bars.csv"
BARRIERS = TrainingSpec(label=LabelSpec(kind="triple_barrier", horizon_bars=10))


@pytest.fixture(scope="module")
def history():
    return {symbol: series.part(0, 400) for symbol, series in history_of(load_bars(DAILY_BARS).bars).items()}


@pytest.mark.parametrize("spec", [TrainingSpec(), BARRIERS])
def test_rows_are_the_features_and_labels_of_their_bars(history, spec):
    rows = rows_of(history, spec)
    assert rows.features.shape == (len(rows), len(FEATURES))
    assert rows.feature_names == tuple(FEATURES)
    assert np.isfinite(rows.features).all()
    assert set(rows.up.tolist()) == {0.0, 1.0}
    for code, symbol in enumerate(rows.symbols):
        series, of_symbol = history[symbol], rows.symbol_codes == code
        indices = rows.bar_indices[of_symbol]
        labels = labels_of(series, spec.label)
        assert np.array_equal(rows.features[of_symbol], feature_matrix(series)[indices])
        assert np.array_equal(rows.up[of_symbol], labels.up[indices])
        assert np.array_equal(rows.times[of_symbol], series.times[indices])
        assert np.array_equal(rows.known_times[of_symbol], series.times[labels.known_at[indices]])
        assert np.array_equal(rows.horizon_times[of_symbol], series.times[indices + spec.label.horizon_bars])
        assert indices.tolist() == list(range(49, len(series) - spec.label.horizon_bars))  # none is left out between


def test_rows_come_by_time_then_symbol(history):
    rows = rows_of(dict(reversed(history.items())), TrainingSpec())
    assert rows.symbols == ("AAPL", "FB", "GOOG", "IBM", "MSFT")
    keys = list(zip(rows.times.tolist(), rows.symbol_codes.tolist(), strict=True))
    assert keys == sorted(set(keys))
    assert (rows.known_times > rows.times).all()


def test_fewer_features_need_less_history(history):
    rows = rows_of(history, TrainingSpec(features=("rsi_14", "return_1")))
    assert rows.feature_names == ("rsi_14", "return_1")
    assert rows.features.shape[1] == 2
    assert rows.bar_indices.min() == 14


def test_bars_whose_horizon_has_not_ended_give_no_row_though_a_barrier_decided(history):
    labels = labels_of(history["IBM"], BARRIERS.label)
    assert np.isfinite(labels.up[-10:]).any()
    assert rows_of({"IBM": history["IBM"]}, BARRIERS).bar_indices.max() == 400 - 10 - 1


def test_the_embargo_is_counted_in_bars_of_the_symbol_and_is_the_horizon_at_least(history):
    series = history["IBM"]
    rows = rows_of({"IBM": series}, BARRIERS)
    assert BARRIERS.embargo_bars == 5
    assert np.array_equal(rows.embargo_times, series.times[rows.bar_indices + 10])
    longer = rows_of({"IBM": series}, TrainingSpec(label=LabelSpec(horizon_bars=2), embargo_bars=4))
    assert np.array_equal(longer.embargo_times[:-2], series.times[longer.bar_indices[:-2] + 4])
    assert longer.embargo_times[-2:].tolist() == [NEVER, NEVER]  # no bar so much later: no split is clear of these


@pytest.mark.parametrize("bars", [0, 1, 30, 50])
def test_too_little_history_gives_no_rows(history, bars):
    rows = rows_of({"IBM": history["IBM"].part(0, bars)}, TrainingSpec())
    assert len(rows) == 0
    assert rows.features.shape == (0, len(FEATURES))
    assert rows.times.dtype == rows.known_times.dtype == rows.embargo_times.dtype == np.int64


def test_no_symbols_give_no_rows():
    rows = rows_of({}, TrainingSpec())
    assert (len(rows), rows.symbols, rows.features.shape) == (0, (), (0, len(FEATURES)))


def test_broken_bars_are_refused_with_their_symbol(history):
    series = history["IBM"]
    broken = BarSeries("IBM", series.times, *(np.where(series.times == series.times[7], -1.0, series.close),) * 5)
    with pytest.raises(ValueError, match="IBM: 1 bars"):
        rows_of({"AAPL": history["AAPL"], "IBM": broken}, TrainingSpec())
