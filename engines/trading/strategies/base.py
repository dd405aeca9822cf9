"""What a strategy is, and what those of this package share.

A strategy sees the closed bars of its symbols in order and answers with a proposal or with nothing. It knows no clock
and no account, and the same bars give the same proposals. One instance serves all symbols; each has its own indicators.
Warming up is feeding it bars and not using the answers.

Indicators are talipp's, which keep all they ever saw; `bounded` cuts them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Protocol

import msgspec
from talipp.ohlcv import OHLCV

from engines.market.quotes import Bar

ATR_BARS = 14
KEPT_BARS = 120  # more than any indicator here looks back, so that cutting changes no value

Direction = Literal["BUY", "SELL"]


class Proposal(msgspec.Struct, frozen=True):
    """To go with `direction` at the bar's close. `score` says how strong the case is, in the strategy's own measure:
    higher is stronger, and it is no probability. Distances are in price from the close, over 0. `rationale` is for
    people."""

    symbol: str
    direction: Direction
    score: float
    target_distance: float
    stop_distance: float
    rationale: str

    @property
    def driftless_rate(self) -> float:
        """The chance that a driftless continuous walk reaches the target before the stop (gambler's ruin)."""
        return self.stop_distance / (self.target_distance + self.stop_distance)


class Strategy(Protocol):
    """`name` identifies it for good: signals and calibration are kept under it. `description` is for people."""

    @property
    def name(self) -> str: ...

    @property
    def description(self) -> str: ...

    def on_bar(self, bar: Bar) -> Proposal | None:
        """Take a closed bar, later than the symbol's one before. It may be the bar of any symbol."""
        ...


class Finding(msgspec.Struct, frozen=True):
    """What a symbol's indicators show at a bar. `atr` is in price."""

    direction: Direction
    score: float
    atr: float
    rationale: str


class Look(Protocol):
    """The indicators of one symbol."""

    def take(self, bar: Bar) -> Finding | None:
        """Take the next bar; what it shows, if anything."""
        ...


class AtrStrategy(ABC):
    """A strategy whose target and stop are multiples of the average true range (Wilder 1978)."""

    name: ClassVar[str]
    description: ClassVar[str]
    target_atr: ClassVar[float]
    stop_atr: ClassVar[float]

    def __init__(self) -> None:
        self._looks: dict[str, Look] = {}

    @abstractmethod
    def new_look(self) -> Look:
        """Indicators for a symbol that was not seen before."""

    def on_bar(self, bar: Bar) -> Proposal | None:
        look = self._looks.get(bar.symbol)
        if look is None:
            look = self._looks[bar.symbol] = self.new_look()
        found = look.take(bar)
        if found is None or found.atr <= 0:
            return None
        return Proposal(
            symbol=bar.symbol,
            direction=found.direction,
            score=found.score,
            target_distance=self.target_atr * found.atr,
            stop_distance=self.stop_atr * found.atr,
            rationale=f"{found.rationale}; ATR {found.atr:.4g}",
        )


def ohlcv(bar: Bar) -> OHLCV:
    """A bar as talipp takes it."""
    return OHLCV(bar.open, bar.high, bar.low, bar.close, bar.volume)


def last(indicator: Sequence[Any]) -> Any:
    """The latest value; None while there is none."""
    return indicator[-1] if len(indicator) else None


def bounded(*indicators: Any) -> None:
    """Drop the oldest values of indicators that hold twice what is kept."""
    for indicator in indicators:
        if len(indicator) >= 2 * KEPT_BARS:
            indicator.purge_oldest(KEPT_BARS)


def all_strategies() -> list[Strategy]:
    """One of each, new: trend, breakout, mean reversion, volatility."""
    # They build on this module, so it can import them only when it is asked.
    from engines.trading.strategies.breakout import Breakout  # noqa: PLC0415
    from engines.trading.strategies.mean_reversion import MeanReversion  # noqa: PLC0415
    from engines.trading.strategies.trend import Trend  # noqa: PLC0415
    from engines.trading.strategies.volatility import Volatility  # noqa: PLC0415

    return [Trend(), Breakout(), MeanReversion(), Volatility()]
