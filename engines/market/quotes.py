"""Quotes, and bars built from them."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from engines.market.calendar import IST

DAY_SECONDS = 86_400


class QuoteTick(msgspec.Struct, frozen=True):
    """The market of one instrument at one market time (aware). `volume` is what traded since the last tick."""

    symbol: str
    time: datetime
    last: float
    bid: float
    ask: float
    volume: float = 0.0


class Bar(msgspec.Struct, frozen=True):
    """Open, high, low, close and volume of one interval, which starts at `time`."""

    symbol: str
    time: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float = 0.0


class BarBuilder:
    """Builds bars of a fixed length from quotes in order of time."""

    def __init__(self, interval_seconds: int) -> None:
        self.interval_seconds = interval_seconds
        self._open_bars: dict[str, Bar] = {}

    def add(self, quote: QuoteTick) -> Bar | None:
        """Take a quote; the bar that it closes, if it does. A quote older than the open bar is left out."""
        start = self._interval_start(quote.time)
        bar = self._open_bars.get(quote.symbol)
        if bar is not None and start < bar.time:
            return None
        if bar is not None and start == bar.time:
            self._open_bars[quote.symbol] = Bar(
                bar.symbol,
                bar.time,
                bar.open,
                max(bar.high, quote.last),
                min(bar.low, quote.last),
                quote.last,
                bar.volume + quote.volume,
            )
            return None
        self._open_bars[quote.symbol] = Bar(
            quote.symbol, start, quote.last, quote.last, quote.last, quote.last, quote.volume
        )
        return bar

    def _interval_start(self, moment: datetime) -> datetime:
        local = moment.astimezone(IST)
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
        if self.interval_seconds >= DAY_SECONDS:
            return midnight
        elapsed = int((local - midnight).total_seconds())
        return midnight + timedelta(seconds=elapsed - elapsed % self.interval_seconds)
