"""Features: what a model knows at a bar's close, from that bar and those before it, over whole columns at once.

Every feature is free of scale: prices or volumes in other units give the same. None is undefined where its bars are
there: a market that stands still, or trades nothing, gets the neutral value that the feature's description names.
What each one means, and how look-ahead is excluded: docs/explanation/engines/features.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType

import msgspec
import numpy as np
import talib

from engines.market.history import BarSeries, Column, Flags, Matrix

# With so many bars the last row is that of the whole series, to 1e-6. Smoothed indicators never forget, but Wilder's
# weighs what is n bars back by (13/14)^n, and the slowest EMA by (25/27)^n: after the bars that they begin with, under
# 1e-8 of the value that they began with is left at bar 300. That is too much only of moves a thousand times today's.
WINDOW_BARS = 300

# Goes up when a formula gives other numbers: an artifact says which version its features are of.
FEATURES_VERSION = 1

VOLATILITY_BARS = 20
STILL = 1e-9  # as a share of the price; a difference below it is the rounding of floats, not a move
LOWEST_VOLUME_RATIO = 0.01  # a bar without volume among busy ones; its logarithm would have no bottom


class Feature(msgspec.Struct, frozen=True):
    """`bars`: how many it needs, the current one included; before that it is NaN."""

    name: str
    description: str
    bars: int


def feature_matrix(series: BarSeries, names: Sequence[str] = ()) -> Matrix:
    """One row per bar, one column per name; no names: all `FEATURES` in their order. NaN where the history is short.

    Raises `ValueError` for a name that is not known, and for bars whose prices are not positive and finite or whose
    volumes are negative or not finite: smoothed features would carry one such bar on for ever.
    """
    names = tuple(names) or tuple(FEATURES)
    unknown = [name for name in names if name not in FEATURES]
    if unknown:
        raise ValueError(f"features {', '.join(unknown)[:100]} are not known; allowed are {', '.join(FEATURES)}")
    _refuse_broken_bars(series)
    matrix = np.full((len(series), len(names)), np.nan)
    for column, name in enumerate(names):
        first = FEATURES[name].bars - 1
        if first < len(series):
            matrix[first:, column] = _FORMULAS[name](series)[first:]
    return matrix


def volatility_of(close: Column) -> Column:
    """The sample deviation (n - 1) of the last `VOLATILITY_BARS` log returns at each close; NaN before."""
    column = np.full(len(close), np.nan)
    if len(close) > VOLATILITY_BARS:
        column[VOLATILITY_BARS:] = _windows(np.diff(np.log(close)), VOLATILITY_BARS).std(axis=1, ddof=1)
    return column


def _refuse_broken_bars(series: BarSeries) -> None:
    sound = np.isfinite(series.volume) & (series.volume >= 0)
    for prices in (series.open, series.high, series.low, series.close):
        sound &= np.isfinite(prices) & (prices > 0)
    if not sound.all():
        first = datetime.fromtimestamp(int(series.times[~sound][0]), UTC)
        raise ValueError(
            f"{series.symbol}: {int((~sound).sum())} bars, the first at {first:%Y-%m-%d %H:%M} UTC, have a price that "
            "is not positive and finite, or a volume that is negative or not finite"
        )


# TA-Lib's variances, its money flow index and its sums run along the column: they keep rounding errors of what left the
# window long ago, and its money flow index calls flows under 1 none. Deviations and flows are taken window by window.
def _windows(column: Column, bars: int) -> Matrix:
    """The last `bars` values at each position from `bars - 1` on; at least `bars` are needed."""
    return np.lib.stride_tricks.sliding_window_view(column, bars)


def _at_the_end(bars: int, values: Column, length: int) -> Column:
    """The values of windows of `bars`, after NaN for the positions that have no full window."""
    column = np.full(length, np.nan)
    column[bars - 1 :] = values
    return column


def _still(prices: Column, bars: int) -> Flags:
    """Whether the last `bars` prices are all the same; False where there are fewer."""
    moved: Column = talib.MAX(prices, bars) - talib.MIN(prices, bars)
    return moved <= STILL * prices


def _log_return(bars: int) -> Callable[[BarSeries], Column]:
    def formula(series: BarSeries) -> Column:
        column = np.full(len(series), np.nan)
        column[bars:] = np.log(series.close[bars:] / series.close[:-bars])
        return column

    return formula


def _volatility(series: BarSeries) -> Column:
    return volatility_of(series.close)


def _rsi(series: BarSeries) -> Column:
    return np.where(_still(series.close, 15), 50.0, talib.RSI(series.close, 14))


def _macd_histogram(series: BarSeries) -> Column:
    _, _, histogram = talib.MACD(series.close, 12, 26, 9)
    column: Column = histogram / series.close
    return column


def _bollinger(series: BarSeries) -> tuple[Column, Column]:
    """Mean and population deviation of 20 closes."""
    windows = _windows(series.close, 20)
    length = len(series)
    return _at_the_end(20, windows.mean(axis=1), length), _at_the_end(20, windows.std(axis=1), length)


def _bollinger_position(series: BarSeries) -> Column:
    mean, deviation = _bollinger(series)
    return _share(series.close - (mean - 2 * deviation), 4 * deviation, of=mean, neutral=0.5)


def _bollinger_bandwidth(series: BarSeries) -> Column:
    mean, deviation = _bollinger(series)
    return 4 * deviation / mean


def _atr(series: BarSeries) -> Column:
    column: Column = talib.ATR(series.high, series.low, series.close, 14) / series.close
    return column


def _stands_still(series: BarSeries) -> Flags:
    # of two averages that both fade to nothing their quotient remains: what it said when the market last moved
    return _still(series.high, 15) & _still(series.low, 15)


def _adx(series: BarSeries) -> Column:
    return np.where(_stands_still(series), 0.0, talib.ADX(series.high, series.low, series.close, 14))


def _di_difference(series: BarSeries) -> Column:
    plus = talib.PLUS_DI(series.high, series.low, series.close, 14)
    minus = talib.MINUS_DI(series.high, series.low, series.close, 14)
    return np.where(_stands_still(series), 0.0, plus - minus)


def _sma_distance(series: BarSeries) -> Column:
    column: Column = series.close / talib.SMA(series.close, 50) - 1
    return column


def _stochastic(series: BarSeries) -> Column:
    lowest, highest = talib.MIN(series.low, 14), talib.MAX(series.high, 14)
    raw = _share(100 * (series.close - lowest), highest - lowest, of=series.close, neutral=50.0)
    column: Column = talib.SMA(raw, 3)
    return column


def _money_flow(series: BarSeries) -> Column:
    typical: Column = talib.TYPPRICE(series.high, series.low, series.close)
    change, flow = np.diff(typical), (typical * series.volume)[1:]
    least = STILL * typical[1:]
    inflow = _windows(np.where(change > least, flow, 0.0), 14).sum(axis=1)
    outflow = _windows(np.where(change < -least, flow, 0.0), 14).sum(axis=1)
    traded = inflow + outflow
    index = np.divide(100 * inflow, traded, out=np.full(len(traded), 50.0), where=traded > 0)
    return _at_the_end(15, index, len(series))


def _volume_ratio(series: BarSeries) -> Column:
    mean = _windows(series.volume, 20).mean(axis=1)
    ratio = np.divide(series.volume[19:], mean, out=np.ones(len(mean)), where=mean > 0)
    return _at_the_end(20, np.log(np.maximum(ratio, LOWEST_VOLUME_RATIO)), len(series))


def _share(part: Column, whole: Column, *, of: Column, neutral: float) -> Column:
    """part / whole; neutral where the whole is nothing beside `of`, NaN where it is not known."""
    something = whole > STILL * of
    column = np.where(np.isnan(whole), np.nan, neutral)
    return np.divide(part, whole, out=column, where=something)


_DEFINED: tuple[tuple[Feature, Callable[[BarSeries], Column]], ...] = (
    (Feature("return_1", "log return over 1 bar", 2), _log_return(1)),
    (Feature("return_5", "log return over 5 bars", 6), _log_return(5)),
    (Feature("return_20", "log return over 20 bars", 21), _log_return(20)),
    (Feature("volatility_20", "sample deviation of the last 20 log returns", 21), _volatility),
    (Feature("rsi_14", "relative strength index; 50 when 14 bars did not move", 15), _rsi),
    (Feature("macd_histogram", "MACD (12, 26) less its signal (9), by the close", 34), _macd_histogram),
    (
        Feature("bollinger_position", "%B: the close between the Bollinger bands; 0.5 when they meet", 20),
        _bollinger_position,
    ),
    (Feature("bollinger_bandwidth", "distance of the Bollinger bands, by their mean", 20), _bollinger_bandwidth),
    (Feature("atr_14", "average true range, by the close", 15), _atr),
    (Feature("adx_14", "average directional index; 0 when 14 bars did not move", 28), _adx),
    (Feature("di_difference_14", "+DI less -DI; 0 when 14 bars did not move", 15), _di_difference),
    (Feature("sma_50_distance", "the close by the mean of 50 closes, less 1", 50), _sma_distance),
    (
        Feature("stochastic_14", "slow %K: the close in the range of 14 bars, mean of 3; 50 without a range", 16),
        _stochastic,
    ),
    (Feature("money_flow_14", "money flow index; 50 when nothing flowed", 15), _money_flow),
    (Feature("volume_ratio_20", "logarithm of the volume by its mean of 20 bars; 0 without volume", 20), _volume_ratio),
)
FEATURES: Mapping[str, Feature] = MappingProxyType({feature.name: feature for feature, _ in _DEFINED})
_FORMULAS = {feature.name: formula for feature, formula in _DEFINED}
