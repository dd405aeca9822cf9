"""The feed contract."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from engines.market.instruments import Instrument
from engines.market.quotes import Bar, QuoteTick

Sleep = Callable[[float], Awaitable[None]]


class Feed(Protocol):
    """Where quotes come from. `description` says in words what they are; `simulated` whether they are made up,
    `is_live` whether they are of now."""

    description: str
    simulated: bool
    is_live: bool
    bar_seconds: int

    @property
    def instruments(self) -> Sequence[Instrument]:
        """What is listed at present. A list that was handed out does not change: a change makes a new one."""
        ...

    @property
    def listed(self) -> int:
        """Counts the changes of `instruments`: read it before them, and read them anew when it differs from what was
        read before, whatever that was."""
        ...

    def resume(self, prices: Mapping[str, float], market_time: datetime) -> None:
        """Go on where a market with the same description stopped, with the last prices by symbol and the (aware) market
        time of then. Called before `batches`, and before the `warmup` that is to count. A simulated market does so; one
        whose prices come from elsewhere has nothing to go on from, and ignores it."""
        ...

    def warmup(self) -> Sequence[Bar]:
        """Bars from before the first quote, oldest first, so that indicators need not start empty."""
        ...

    def batches(self) -> AsyncIterator[Sequence[QuoteTick]]:
        """Quotes of one instant each, in order of time, at the feed's pace."""
        ...
