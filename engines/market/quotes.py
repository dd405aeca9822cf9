"""Quotes and bars. `engines.market.bars` makes the ones into the others."""

from __future__ import annotations

from datetime import datetime

import msgspec

DAY_SECONDS = 86_400


class QuoteTick(msgspec.Struct, frozen=True):
    """The market of one instrument at one market time (aware). `volume` is what traded since the last tick; sizes are
    in units, 0 where the feed does not say; `previous_close` is 0 where the feed does not say."""

    symbol: str
    time: datetime
    last: float
    bid: float
    ask: float
    volume: float = 0.0
    bid_size: int = 0
    ask_size: int = 0
    open_interest: int = 0
    previous_close: float = 0.0


class Bar(msgspec.Struct, frozen=True):
    """Open, high, low, close and volume of one interval, which starts at `time`."""

    symbol: str
    time: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float = 0.0
