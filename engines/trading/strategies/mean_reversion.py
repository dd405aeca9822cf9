"""Mean reversion: a close outside the Bollinger bands while the relative strength index says that it went too far.

Bands lie 2 standard deviations around the mean of 20 closes (Bollinger 2001); the index covers 14 bars (Wilder 1978). A
close below the lower band with an RSI under 30 is bought, one above the upper band with an RSI over 70 sold. Only the
first such bar of a run counts. Score: how far the RSI is beyond its level, in points.
"""

from __future__ import annotations

from talipp.indicators import ATR, BB, RSI

from engines.market.quotes import Bar
from engines.trading.strategies.base import ATR_BARS, AtrStrategy, Direction, Finding, bounded, last, ohlcv

BAND_BARS, BAND_DEVIATIONS, RSI_BARS = 20, 2.0, 14
OVERSOLD, OVERBOUGHT = 30.0, 70.0


class MeanReversion(AtrStrategy):
    """Implements `Strategy`."""

    name = "mean_reversion"
    description = f"Bollinger {BAND_BARS}/{BAND_DEVIATIONS:g} with RSI {RSI_BARS} at {OVERSOLD:g}/{OVERBOUGHT:g}"
    target_atr, stop_atr = 1.5, 1.5

    def new_look(self) -> _Look:
        return _Look()


class _Look:
    def __init__(self) -> None:
        self._bands, self._rsi, self._atr = BB(BAND_BARS, BAND_DEVIATIONS), RSI(RSI_BARS), ATR(ATR_BARS)
        self._was: Direction | None = None

    def take(self, bar: Bar) -> Finding | None:
        self._bands.add(bar.close)
        self._rsi.add(bar.close)
        self._atr.add(ohlcv(bar))
        bounded(self._bands, self._rsi, self._atr)
        bands, rsi = last(self._bands), last(self._rsi)
        if bands is None or rsi is None:
            return None
        direction: Direction | None = None
        if bar.close < bands.lb and rsi < OVERSOLD:
            direction = "BUY"
        elif bar.close > bands.ub and rsi > OVERBOUGHT:
            direction = "SELL"
        was, self._was = self._was, direction
        if direction is None or direction == was:
            return None
        below = direction == "BUY"
        return Finding(
            direction,
            OVERSOLD - rsi if below else rsi - OVERBOUGHT,
            last(self._atr),
            f"Close {bar.close:.2f} {'below' if below else 'above'} the {'lower' if below else 'upper'} Bollinger band "
            f"{bands.lb if below else bands.ub:.2f} with RSI {rsi:.0f}",
        )
