"""Breakout: a close beyond the channel of the 20 bars before it (Donchian), on a bar that stands out.

The bar must have at least 1.5 times the mean volume of the 20 bars before, or, where bars have no volume (an index), a
true range of at least 1.2 ATR. The close before must have been inside its own channel: a trend that goes on is no new
breakout. Score: how far the close is beyond the channel, in ATR.
"""

from __future__ import annotations

from collections import deque

from talipp.indicators import ATR, DonchianChannels

from engines.market.quotes import Bar
from engines.trading.strategies.base import ATR_BARS, AtrStrategy, Direction, Finding, bounded, last, ohlcv

CHANNEL_BARS = 20
MIN_VOLUME, MIN_RANGE_ATR = 1.5, 1.2


class Breakout(AtrStrategy):
    """Implements `Strategy`."""

    name = "breakout"
    description = f"close beyond the Donchian channel of {CHANNEL_BARS} bars, on volume"
    target_atr, stop_atr = 3.0, 1.5

    def new_look(self) -> _Look:
        return _Look()


class _Look:
    def __init__(self) -> None:
        self._channel, self._atr = DonchianChannels(CHANNEL_BARS), ATR(ATR_BARS)
        self._volumes: deque[float] = deque(maxlen=CHANNEL_BARS)
        self._close = 0.0
        self._was_inside = False

    def take(self, bar: Bar) -> Finding | None:
        channel, atr = last(self._channel), last(self._atr)  # as they were before this bar
        before, volumes = self._close, sum(self._volumes) / len(self._volumes) if self._volumes else 0.0
        was_inside = self._was_inside
        candle = ohlcv(bar)
        self._channel.add(candle)
        self._atr.add(candle)
        self._volumes.append(bar.volume)
        self._close = bar.close
        bounded(self._channel, self._atr)
        if channel is None or not atr:
            return None
        self._was_inside = channel.lb <= bar.close <= channel.ub
        if self._was_inside or not was_inside:
            return None
        if volumes > 0:
            confirmed = bar.volume >= MIN_VOLUME * volumes
            by = f"volume {bar.volume / volumes:.1f} times its mean"
        else:
            true_range = max(bar.high, before) - min(bar.low, before)
            confirmed = true_range >= MIN_RANGE_ATR * atr
            by = f"a range of {true_range / atr:.1f} ATR"
        if not confirmed:
            return None
        up = bar.close > channel.ub
        edge = channel.ub if up else channel.lb
        direction: Direction = "BUY" if up else "SELL"
        return Finding(
            direction,
            abs(bar.close - edge) / atr,
            last(self._atr),
            f"Close {bar.close:.2f} {'above' if up else 'below'} the {CHANNEL_BARS}-bar "
            f"{'high' if up else 'low'} {edge:.2f} on {by}",
        )
