"""Trend: a fast average crosses a slow one while the market trends.

Averages are exponential over 12 and 26 bars (the pair of Appel's MACD). A crossing counts only when the average
directional index over 14 bars (Wilder 1978) is 20 or more at that bar, or, as it lags, becomes so within the next 5
while the averages stay crossed: below 20, averages cross without a trend. Score: the ADX.
"""

from __future__ import annotations

from talipp.indicators import ADX, ATR, EMA

from engines.market.quotes import Bar
from engines.trading.strategies.base import ATR_BARS, AtrStrategy, Finding, bounded, last, ohlcv

FAST_BARS, SLOW_BARS, ADX_BARS = 12, 26, 14
MIN_ADX = 20.0
CONFIRMING_BARS = 5


class Trend(AtrStrategy):
    """Implements `Strategy`."""

    name = "trend"
    description = f"EMA {FAST_BARS}/{SLOW_BARS} cross with ADX over {MIN_ADX:g}"
    target_atr, stop_atr = 3.0, 2.0

    def new_look(self) -> _Look:
        return _Look()


class _Look:
    def __init__(self) -> None:
        self._fast, self._slow = EMA(FAST_BARS), EMA(SLOW_BARS)
        self._adx, self._atr = ADX(ADX_BARS, ADX_BARS), ATR(ATR_BARS)
        self._was_above: bool | None = None
        self._waiting_bars = 0  # for how many more bars the last crossing can be confirmed

    def take(self, bar: Bar) -> Finding | None:
        candle = ohlcv(bar)
        self._fast.add(bar.close)
        self._slow.add(bar.close)
        self._adx.add(candle)
        self._atr.add(candle)
        bounded(self._fast, self._slow, self._adx, self._atr)
        fast, slow, directional, atr = last(self._fast), last(self._slow), last(self._adx), last(self._atr)
        if slow is None:
            return None
        above, was_above = fast > slow, self._was_above
        self._was_above = above
        if was_above is not None and above != was_above:
            self._waiting_bars = CONFIRMING_BARS + 1
        if not self._waiting_bars:
            return None
        self._waiting_bars -= 1
        adx = 0.0 if directional is None or directional.adx is None else float(directional.adx)
        if adx < MIN_ADX:
            return None
        bars_ago, self._waiting_bars = CONFIRMING_BARS - self._waiting_bars, 0
        ago = f" {bars_ago} bars ago" if bars_ago else ""
        way = "above" if above else "below"
        return Finding(
            "BUY" if above else "SELL",
            adx,
            atr,
            f"EMA {FAST_BARS} crossed {way} EMA {SLOW_BARS}{ago} ({fast:.2f} against {slow:.2f}) with ADX {adx:.0f}",
        )
