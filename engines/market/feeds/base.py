"""The feed contract."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Protocol

from engines.market.instruments import Instrument
from engines.market.quotes import Bar, QuoteTick

Sleep = Callable[[float], Awaitable[None]]


class Feed(Protocol):
    """Where quotes come from. `description` says in words what they are; `simulated` whether they are made up."""

    description: str
    simulated: bool
    instruments: Sequence[Instrument]
    bar_seconds: int

    def warmup(self) -> Sequence[Bar]:
        """Bars from before the first quote, oldest first, so that indicators need not start empty."""
        ...

    def batches(self) -> AsyncIterator[Sequence[QuoteTick]]:
        """Quotes of one instant each, in order of time, at the feed's pace."""
        ...
