import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.learning.labels import UNKNOWN, labels_of
from engines.learning.spec import LabelSpec
from engines.market.history import BarSeries


def series_of(close, high=None, low=None):
    close = np.asarray(close, dtype=np.float64)
    high = close if high is None else np.asarray(high, dtype=np.float64)
    low = close if low is None else np.asarray(low, dtype=np.float64)
    return BarSeries("X", np.arange(len(close), dtype=np.int64) * 60, close, high, low, close, np.ones(len(close)))


def market(count, seed, spread):
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(rng.normal(0, 0.01, count).cumsum())
    high, low = close * np.exp(rng.exponential(spread, count)), close * np.exp(-rng.exponential(spread, count))
    return series_of(close, high, low)


def naive_barriers(series, spec):
    """The label's definition, written out one bar after the other."""
    labels = []
    for i, close in enumerate(series.close):
        labels.append((math.nan, UNKNOWN))
        if i < 20:
            continue
        returns = [math.log(series.close[j] / series.close[j - 1]) for j in range(i - 19, i + 1)]
        mean = sum(returns) / 20
        width = math.sqrt(sum((r - mean) ** 2 for r in returns) / 19) * math.sqrt(spec.horizon_bars)
        upper = math.log(close) + spec.target_volatilities * width
        lower = math.log(close) - spec.stop_volatilities * width
        for j in range(i + 1, min(i + spec.horizon_bars, len(series) - 1) + 1):
            if math.log(series.low[j]) <= lower:
                labels[-1] = (0.0, j)
            elif math.log(series.high[j]) >= upper:
                labels[-1] = (1.0, j)
            elif j == i + spec.horizon_bars:
                labels[-1] = (float(series.close[j] > close), j)
            else:
                continue
            break
    return labels


def test_direction_compares_the_close_with_that_of_the_horizons_end():
    up, known_at = labels_of(series_of([10, 11, 10, 10, 9, 12]), LabelSpec(horizon_bars=2))
    assert np.array_equal(up, [0, 0, 0, 1, np.nan, np.nan], equal_nan=True)  # as high as it was is not higher
    assert known_at.tolist() == [2, 3, 4, 5, UNKNOWN, UNKNOWN]


@pytest.mark.parametrize("kind", ["direction", "triple_barrier"])
@pytest.mark.parametrize("bars", [0, 1, 5])
def test_a_series_shorter_than_the_horizon_has_no_labels(kind, bars):
    up, known_at = labels_of(market(bars, 1, 0.01), LabelSpec(kind=kind, horizon_bars=5))
    assert len(up) == len(known_at) == bars
    assert np.isnan(up).all()
    assert (known_at == UNKNOWN).all()


barriers = st.builds(
    LabelSpec,
    kind=st.just("triple_barrier"),
    horizon_bars=st.integers(1, 15),
    target_volatilities=st.sampled_from((0.1, 0.7, 1.0, 3.0)),
    stop_volatilities=st.sampled_from((0.1, 1.0, 2.0)),
)
markets = st.builds(market, st.integers(20, 60), st.integers(0, 2**32 - 1), st.sampled_from((0.0, 0.005, 0.03)))


@settings(max_examples=30, deadline=None)
@given(series=markets, spec=barriers)
def test_triple_barrier_is_what_its_definition_says(series, spec):
    up, known_at = labels_of(series, spec)
    expected = naive_barriers(series, spec)
    assert np.array_equal(up, [label for label, _ in expected], equal_nan=True)
    assert known_at.tolist() == [at for _, at in expected]


ALTERNATING = [100.0, 101.0] * 12  # 24 bars; each log return is ±0.00995, so that a volatility is 0.0102
WIDTH = 0.0103 * math.sqrt(3)


@pytest.mark.parametrize(
    ("rise", "fall", "later", "label", "known_after"),
    [
        ((1.1, 0, 0), (0, 0, 0), 0.99, 1.0, 1),
        ((0, 1.1, 0), (0, 0, 1.1), 0.99, 1.0, 2),
        ((0, 0, 1.1), (0, 1.1, 0), 1.01, 0.0, 2),
        ((1.1, 0, 0), (1.1, 0, 0), 1.01, 0.0, 1),  # one bar reaches both: the lower counts
        ((0.9, 0.9, 0.9), (0.9, 0.9, 0.9), 1.001, 1.0, 3),  # neither: where it ended
        ((0.9, 0.9, 0.9), (0.9, 0.9, 0.9), 0.999, 0.0, 3),
        ((0.9, 0.9, 0.9), (0.9, 0.9, 0.9), 1.0, 0.0, 3),
    ],
)
def test_the_barrier_that_is_reached_first_decides(rise, fall, later, label, known_after):
    last = ALTERNATING[-1]
    close = [*ALTERNATING, last, last, last * later]
    high = [*ALTERNATING, *(max(c, last * math.exp(r * WIDTH)) for c, r in zip(close[-3:], rise, strict=True))]
    low = [*ALTERNATING, *(min(c, last * math.exp(-f * WIDTH)) for c, f in zip(close[-3:], fall, strict=True))]
    series = series_of(close, high, low)
    up, known_at = labels_of(series, LabelSpec(kind="triple_barrier", horizon_bars=3))
    at = len(ALTERNATING) - 1
    assert (up[at], known_at[at]) == (label, at + known_after)


def test_a_market_without_volatility_has_no_barriers():
    up, known_at = labels_of(series_of(np.full(60, 100.0)), LabelSpec(kind="triple_barrier"))
    assert np.isnan(up).all()
    assert (known_at == UNKNOWN).all()


@pytest.mark.parametrize("kind", ["direction", "triple_barrier"])
def test_a_label_needs_nothing_after_the_bar_at_which_it_is_known(kind):
    series = market(200, 3, 0.005)
    spec = LabelSpec(kind=kind, horizon_bars=8)
    up, known_at = labels_of(series, spec)
    for i in range(20, 190, 10):
        assert labels_of(series.part(0, known_at[i] + 1), spec).up[i] == up[i]
        assert np.isnan(labels_of(series.part(0, known_at[i]), spec).up[i])
