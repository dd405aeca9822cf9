import re
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from talipp.indicators import ADX, ATR, BB, MACD, RSI, SMA, Stoch
from talipp.ohlcv import OHLCVFactory

from engines.learning.features import FEATURES, FEATURES_VERSION, WINDOW_BARS, feature_matrix, volatility_of
from engines.market.history import BarSeries

PAGE = Path(__file__).parents[3] / "docs" / "explanation" / "engines" / "features.md"
DAY = 86_400
NAMES = tuple(FEATURES)


def series_of(close, *, open_=None, high=None, low=None, volume=None, times=None):
    close = np.asarray(close, dtype=np.float64)
    given_columns = {"open": open_, "high": high, "low": low}
    columns = {name: close if column is None else np.asarray(column, float) for name, column in given_columns.items()}
    volume = np.full(len(close), 1_000.0) if volume is None else np.asarray(volume, float)
    times = np.arange(len(close), dtype=np.int64) * DAY if times is None else times
    return BarSeries("X", times, close=close, volume=volume, **columns)


def walk(bars, seed=1, deviation=0.01):
    """A market that moves by `deviation` a bar, with highs, lows and volumes."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(rng.normal(0, deviation, bars).cumsum())
    open_ = np.concatenate(([100.0], close[:-1])) * np.exp(rng.normal(0, deviation / 4, bars))
    high = np.maximum(open_, close) * np.exp(rng.exponential(deviation / 2, bars))
    low = np.minimum(open_, close) * np.exp(-rng.exponential(deviation / 2, bars))
    return series_of(close, open_=open_, high=high, low=low, volume=rng.integers(100, 10_000, bars))


def stretched(series, first, last, **columns):
    """With other values in the bars `first:last`."""
    changed = {}
    for name, value in columns.items():
        changed[name] = getattr(series, name).copy()
        changed[name][first:last] = value
    return replace(series, **changed)


def column(series, name):
    return feature_matrix(series, (name,))[:, 0]


def same(ours, theirs):
    """As two computations of the same thing are: NaN where the other is."""
    return np.allclose(ours, theirs, rtol=1e-6, atol=1e-6, equal_nan=True)


walks = st.builds(walk, st.just(420), seed=st.integers(0, 2**32 - 1), deviation=st.sampled_from((1e-4, 0.01, 0.1)))


def test_the_page_lists_the_features_as_they_are():
    row = re.compile(r"^\| `(\w+)` \| (.+?) \| .+ \| (\d+) \| .*\|$", re.MULTILINE)
    listed = [(name, description, int(bars)) for name, description, bars in row.findall(PAGE.read_text())]
    assert listed == [(feature.name, feature.description, feature.bars) for feature in FEATURES.values()]
    assert [feature.name for feature in FEATURES.values()] == list(FEATURES)
    assert f"{WINDOW_BARS} bars" in PAGE.read_text()


@pytest.mark.parametrize("name", NAMES)
def test_a_feature_is_there_from_the_bar_on_that_it_names(name):
    series, needed = walk(120), FEATURES[name].bars
    values = column(series, name)
    assert np.isnan(values[: needed - 1]).all()
    assert np.isfinite(values[needed - 1 :]).all()
    assert column(series.part(0, needed), name)[-1] == pytest.approx(values[needed - 1])


def test_formulas_give_what_they_gave_under_this_version():
    """Where one is meant to give other numbers, raise `FEATURES_VERSION` and write the new ones down here."""
    steps = np.arange(80.0)
    close = 100 + 5 * np.sin(steps / 5) + steps / 10
    series = series_of(close, open_=close - 1, high=close + 2, low=close - 2, volume=1_000 + 100 * (steps % 7))
    of_version = {
        1: [
            -0.0083261738,
            -0.035663015,
            0.047734067,
            0.0070587276,
            46.225573,
            -0.0042969834,
            0.33529924,
            0.09582315,
            0.037229921,
            35.493329,
            -1.2238601,
            0.0097205385,
            30.598545,
            43.59938,
            -0.080042708,
        ]
    }
    assert feature_matrix(series)[-1] == pytest.approx(of_version[FEATURES_VERSION], rel=1e-6)


def test_columns_come_as_asked_for():
    series = walk(100)
    everything = feature_matrix(series)
    assert everything.shape == (100, len(FEATURES))
    asked = ("rsi_14", "return_1")
    chosen = feature_matrix(series, asked)
    assert np.array_equal(chosen, everything[:, [NAMES.index(name) for name in asked]], equal_nan=True)
    assert feature_matrix(series.part(0, 0)).shape == (0, len(FEATURES))
    assert np.isnan(feature_matrix(series.part(0, 1))).all()


def test_an_unknown_feature_is_named_with_what_is_allowed():
    with pytest.raises(ValueError, match=r"features rsi_15 are not known; allowed are return_1, .*volume_ratio_20"):
        feature_matrix(walk(10), ("rsi_14", "rsi_15"))


@pytest.mark.parametrize(
    ("name", "value"), [("close", 0.0), ("low", -1.0), ("high", np.inf), ("open", np.nan), ("volume", -1.0)]
)
def test_broken_bars_are_refused_with_the_first_of_them(name, value):
    with pytest.raises(ValueError, match="X: 2 bars, the first at 1970-01-04 00:00 UTC, have a price that is not"):
        feature_matrix(stretched(walk(10), 3, 5, **{name: value}))


@settings(max_examples=10, deadline=None)
@given(series=walks, last=st.integers(0, 418))
def test_no_feature_knows_what_comes_after_its_bar(series, last):
    other = walk(420, seed=99, deviation=0.05)
    later = {name: getattr(other, name)[last + 1 :] * 7 for name in ("open", "high", "low", "close", "volume")}
    ours, theirs = feature_matrix(series), feature_matrix(stretched(series, last + 1, None, **later))
    assert np.array_equal(ours[: last + 1], theirs[: last + 1], equal_nan=True)
    assert np.array_equal(ours[: last + 1], feature_matrix(series.part(0, last + 1)), equal_nan=True)


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    deviation=st.sampled_from((1e-4, 0.01, 0.05)),
    since=st.integers(0, 400),
    still=st.integers(0, 30),
    jump=st.sampled_from((-20, 0, 20)),
)
def test_a_window_of_bars_gives_what_the_whole_series_gives(seed, deviation, since, still, jump):
    """After a time three times as wild, with a stop of trading and, at its end, a jump by many deviations."""
    before, later = walk(1_500, seed=5, deviation=3 * deviation), walk(420, seed=seed, deviation=deviation)
    at, level = len(before) + since, before.close[-1] / 100
    columns = {}
    for name in ("open", "high", "low", "close"):
        columns[name] = np.concatenate((getattr(before, name), getattr(later, name) * level))
    last_close = columns["close"][at - 1]
    for column_ in columns.values():
        column_[at : at + still] = last_close
        column_[at + still :] *= np.exp(jump * deviation)
    columns["volume"] = np.concatenate((before.volume, later.volume))
    columns["volume"][at : at + still] = 0
    whole = series_of(columns.pop("close"), open_=columns.pop("open"), **columns)
    window = whole.part(-WINDOW_BARS, None)
    assert same(feature_matrix(window)[-1], feature_matrix(whole)[-1])


@settings(max_examples=10, deadline=None)
@given(series=walks, prices=st.sampled_from((1e-3, 10.0, 1e5)), volumes=st.sampled_from((1e-6, 10.0, 1e6)))
def test_features_have_no_scale(series, prices, volumes):
    scaled = {name: getattr(series, name) * prices for name in ("open", "high", "low", "close")}
    assert same(feature_matrix(replace(series, volume=series.volume * volumes, **scaled)), feature_matrix(series))


def test_a_market_that_stands_still_has_neutral_features():
    neutral = {"rsi_14": 50, "bollinger_position": 0.5, "stochastic_14": 50, "money_flow_14": 50}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for still in (series_of(np.full(100, 0.1)), stretched(walk(100), 40, None, open=9, high=9, low=9, close=9)):
            last = dict(zip(NAMES, feature_matrix(still)[-1], strict=True))
            # what is smoothed without end still fades there: MACD, and the true range
            fading = {name: last.pop(name) for name in ("macd_histogram", "atr_14")}
            volume = last.pop("volume_ratio_20")
            assert last == pytest.approx({name: neutral.get(name, 0) for name in last}, abs=1e-9)
            assert np.isfinite([*fading.values(), volume]).all()


@pytest.mark.parametrize("stop", [0, 1, 14, 60])
def test_a_market_without_volume_has_features_all_the_same(stop):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        matrix = feature_matrix(stretched(walk(150), stop, None, volume=0.0))
    assert np.isfinite(matrix[60:]).all()
    assert column(stretched(walk(150), stop, None, volume=0.0), "money_flow_14")[-1] == 50
    assert column(stretched(walk(150), stop, None, volume=0.0), "volume_ratio_20")[-1] == 0


def test_a_bar_without_volume_among_busy_ones_is_far_below_them():
    values = column(stretched(walk(60), 50, 51, volume=0.0), "volume_ratio_20")
    assert values[50] == pytest.approx(np.log(0.01))
    assert values[51] > -5


def test_gaps_of_time_and_price_leave_features_defined():
    series = walk(200)
    gap = replace(series, times=series.times + np.where(np.arange(200) > 100, 90 * DAY, 0))
    assert np.array_equal(feature_matrix(gap), feature_matrix(series), equal_nan=True)  # bars count, not the clock
    crash = stretched(series, 120, None, **{n: getattr(series, n)[120:] / 50 for n in ("open", "high", "low", "close")})
    assert np.isfinite(feature_matrix(crash)[50:]).all()
    assert column(crash, "return_1")[120] < np.log(1 / 40)


def test_returns_volatility_and_volume_by_hand():
    series = walk(60)
    close = series.close
    returns = [np.log(close[i] / close[i - 1]) for i in range(40, 60)]
    mean = sum(returns) / 20
    deviation = (sum((r - mean) ** 2 for r in returns) / 19) ** 0.5
    by_hand = {
        "return_1": returns[-1],
        "return_5": sum(returns[-5:]),
        "return_20": sum(returns),
        "volatility_20": deviation,
        "volume_ratio_20": np.log(series.volume[59] / (sum(series.volume[40:]) / 20)),
    }
    assert feature_matrix(series, tuple(by_hand))[-1] == pytest.approx(list(by_hand.values()))
    assert volatility_of(close)[-1] == pytest.approx(deviation)
    assert np.isnan(volatility_of(close[:20])).all()


def test_money_flow_by_hand():
    series = series_of(np.arange(10.0, 30.0), volume=np.full(20, 5.0))
    assert column(series, "money_flow_14")[-1] == 100  # every bar higher
    alternating = series_of([10.0, 20.0] * 10)
    assert column(alternating, "money_flow_14")[-1] == pytest.approx(100 * 20 / 30)  # 7 of 20 in, 7 of 10 out


def test_a_typical_price_that_moved_by_rounding_alone_did_not_move():
    high, low, close = [1.2, 1.1] * 10, [0.7] * 20, [1.0, 1.1] * 10
    assert (1.2 + 0.7 + 1.0) / 3 != (1.1 + 0.7 + 1.1) / 3
    assert column(series_of(close, high=high, low=low), "money_flow_14")[-1] == 50


def test_talipp_computes_the_same_indicators():
    """An independent implementation, bar by bar. The last bar: the first ones differ by how each begins."""
    series = walk(600, seed=7)
    close = series.close.tolist()
    columns = (getattr(series, name).tolist() for name in ("open", "high", "low", "close", "volume"))
    bars = OHLCVFactory.from_matrix2(list(columns))
    bands, adx = BB(20, 2, input_values=close)[-1], ADX(14, 14, input_values=bars)[-1]
    theirs = {
        "rsi_14": RSI(14, input_values=close)[-1],
        "macd_histogram": MACD(12, 26, 9, input_values=close)[-1].histogram / close[-1],
        "bollinger_position": (close[-1] - bands.lb) / (bands.ub - bands.lb),
        "bollinger_bandwidth": (bands.ub - bands.lb) / bands.cb,
        "atr_14": ATR(14, input_values=bars)[-1] / close[-1],
        "adx_14": adx.adx,
        "di_difference_14": adx.plus_di - adx.minus_di,
        "sma_50_distance": close[-1] / SMA(50, input_values=close)[-1] - 1,
        "stochastic_14": Stoch(14, 3, input_values=bars)[-1].d,  # its %D is the mean of 3 of the fast %K: the slow %K
    }
    assert feature_matrix(series, tuple(theirs))[-1] == pytest.approx(list(theirs.values()), rel=1e-6)
