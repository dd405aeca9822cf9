"""Volatility: a quiet market wakes up (the squeeze of Carter 2005).

The market is squeezed while its Bollinger bands (20 bars, 2 standard deviations) lie inside its Keltner channel (20
bars, 1.5 ATR). The bar that ends a squeeze of 5 bars or more is gone with: bought when it closes above the middle band,
sold below. Score: the distance of the close from the middle, in ATR.
"""

from __future__ import annotations

from talipp.indicators import ATR, BB, KeltnerChannels

from engines.market.quotes import Bar
from engines.trading.strategies.base import ATR_BARS, AtrStrategy, Finding, bounded, last, ohlcv

CHANNEL_BARS, BAND_DEVIATIONS, KELTNER_ATR = 20, 2.0, 1.5
MIN_SQUEEZE_BARS = 5


class Volatility(AtrStrategy):
    """Implements `Strategy`."""

    name = "volatility"
    description = f"release of a Bollinger/Keltner squeeze of {MIN_SQUEEZE_BARS} bars or more"
    target_atr, stop_atr = 2.5, 1.5

    def new_look(self) -> _Look:
        return _Look()


class _Look:
    def __init__(self) -> None:
        self._bands = BB(CHANNEL_BARS, BAND_DEVIATIONS)
        self._keltner = KeltnerChannels(CHANNEL_BARS, CHANNEL_BARS, KELTNER_ATR, KELTNER_ATR)
        self._atr = ATR(ATR_BARS)
        self._squeezed_bars = 0

    def take(self, bar: Bar) -> Finding | None:
        candle = ohlcv(bar)
        self._bands.add(bar.close)
        self._keltner.add(candle)
        self._atr.add(candle)
        bounded(self._bands, self._keltner, self._atr)
        bands, keltner, atr = last(self._bands), last(self._keltner), last(self._atr)
        if bands is None or keltner is None or not atr:
            return None
        if bands.ub < keltner.ub and bands.lb > keltner.lb:
            self._squeezed_bars += 1
            return None
        squeezed, self._squeezed_bars = self._squeezed_bars, 0
        if squeezed < MIN_SQUEEZE_BARS or bar.close == bands.cb:
            return None
        up = bar.close > bands.cb
        return Finding(
            "BUY" if up else "SELL",
            abs(bar.close - bands.cb) / atr,
            atr,
            f"A squeeze of {squeezed} bars ended with the close {bar.close:.2f} {'above' if up else 'below'} "
            f"the mean {bands.cb:.2f}",
        )
