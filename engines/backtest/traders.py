"""Who decides in a backtest: a strategy's signals, a model's probabilities, or nobody (buy and hold).

A trader decides at a bar's close, which is carried out at the symbol's next opening, or at a quote inside a bar, which
is carried out at that quote. It only ever buys, and sells what it bought. How much is bought, the account says.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import count
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np

from engines.backtest.market import HistoricalMarket
from engines.backtest.spec import BacktestSpec, StrategyName
from engines.learning.spec import LabelSpec
from engines.market.history import Column
from engines.market.quotes import DAY_SECONDS, Bar, QuoteTick
from engines.trading.calibration import Calibration
from engines.trading.signals import SignalEngine, SignalEvent
from engines.trading.strategies.base import KEPT_BARS, Strategy, all_strategies

WARM_UP_BARS = 2 * KEPT_BARS  # all that a strategy's indicators ever hold
BUY_AND_HOLD = "buy and hold: an equal share of the cash in each symbol"

_REASONS: Mapping[str, str] = {
    "TARGET_HIT": "target",
    "STOP_HIT": "stop",
    "EXPIRED": "expired",
    "CANCELLED": "opposite signal",
}


class Entry(NamedTuple):
    """Buy. Where the cash is short, the stronger goes first. `budget` in rupees; `None`: the usual share of the
    equity."""

    symbol: str
    strength: float = 0.0
    budget: Decimal | None = None


class Exit(NamedTuple):
    """Sell all of it, if there is any."""

    symbol: str
    reason: str


class Levels(NamedTuple):
    """Prices at which the trader acts inside a bar; `falls_first` as `path_of` takes it."""

    prices: tuple[float, ...]
    falls_first: bool


Decision: TypeAlias = Entry | Exit


class Trader(Protocol):
    """`description` is for people."""

    @property
    def description(self) -> str: ...

    def first_entries(self) -> Sequence[Entry]:
        """What is bought at each symbol's first opening."""
        ...

    def levels(self, symbol: str) -> Levels | None:
        """`None`: the price inside the symbol's next bar does not matter."""
        ...

    def on_quote(self, quote: QuoteTick) -> Sequence[Exit]:
        """What a price does. Called for the opening and the path of bars whose symbol has `levels`."""
        ...

    def on_close(self, bar: Bar, *, held: bool) -> Sequence[Decision]:
        """What is to be done at the next opening, now that the bar is known. Every bar, in order."""
        ...


class BuyAndHold:
    """Implements `Trader`."""

    description = BUY_AND_HOLD

    def __init__(self, symbols: Sequence[str], cash: Decimal) -> None:
        self._entries = [Entry(symbol, budget=cash / len(symbols)) for symbol in symbols]

    def first_entries(self) -> Sequence[Entry]:
        return self._entries

    def levels(self, _symbol: str) -> None:
        return None

    def on_quote(self, _quote: QuoteTick) -> Sequence[Exit]:
        return ()

    def on_close(self, _bar: Bar, *, held: bool) -> Sequence[Decision]:  # noqa: ARG002 - as all traders are asked
        return ()


class ModelTrader:
    """Implements `Trader`: buys when P(up) is `enter` or more, and NaN says nothing.

    What the latest P(up) that high says is held on to, and no longer. Sells when its horizon has passed, when another
    P(up) is under 0.5, and, of a model trained on barriers, at the barriers of the close at which it was said: a target
    or stop that the next opening is beyond already is not entered, and where a close has no barriers, it says nothing.
    """

    def __init__(
        self, market: HistoricalMarket, probabilities: Mapping[str, Column], enter: float, label: LabelSpec
    ) -> None:
        self._enter, self._horizon = enter, label.horizon_bars
        self._has_barriers = label.kind == "triple_barrier"
        self.description = f"model: buys at P(up) of {enter:g} or more, horizon {label.horizon_bars} bars"
        if self._has_barriers:
            self.description += (
                f", target {label.target_volatilities:g} and stop {label.stop_volatilities:g} volatilities away"
            )
        self._probabilities: dict[str, list[float]] = {}
        self._barriers: dict[str, list[tuple[float, float]]] = {}  # (stop, target) of each close
        for symbol, series in market.series.items():
            earlier = market.earlier[symbol]
            up = probabilities[symbol][len(earlier) : len(earlier) + len(series)]
            if self._has_barriers:
                from engines.learning.labels import barriers_of  # noqa: PLC0415 - loads an indicator library

                closes = np.concatenate([earlier.close, series.close])
                stops, targets = (column[len(earlier) :] for column in barriers_of(closes, label))
                up = np.where(np.isfinite(stops), up, np.nan)
                self._barriers[symbol] = list(zip(stops.tolist(), targets.tolist(), strict=True))
            self._probabilities[symbol] = up.tolist()
        self._bar_numbers = dict.fromkeys(self._probabilities, -1)
        self._agreed_at: dict[str, int] = {}  # the bar at which P(up) was last high enough
        self._levels: dict[str, Levels] = {}

    def first_entries(self) -> Sequence[Entry]:
        return ()

    def levels(self, symbol: str) -> Levels | None:
        return self._levels.get(symbol)

    def on_quote(self, quote: QuoteTick) -> Sequence[Exit]:
        levels = self._levels.get(quote.symbol)
        if levels is None:
            return ()
        stop, target = levels.prices
        if stop < quote.last < target:
            return ()
        del self._levels[quote.symbol]
        return (Exit(quote.symbol, "stop" if quote.last <= stop else "target"),)

    def on_close(self, bar: Bar, *, held: bool) -> Sequence[Decision]:
        symbol = bar.symbol
        number = self._bar_numbers[symbol] = self._bar_numbers[symbol] + 1
        up = self._probabilities[symbol][number]
        if up >= self._enter:
            self._agreed_at[symbol] = number
            if self._has_barriers:
                self._levels[symbol] = Levels(self._barriers[symbol][number], falls_first=True)
            return () if held else (Entry(symbol, strength=up),)
        reason = ""
        if held and up < 0.5:
            reason = "probability"
        elif held and number - self._agreed_at.get(symbol, -math.inf) >= self._horizon:
            reason = "horizon"
        if reason or not held:
            self._levels.pop(symbol, None)
        return (Exit(symbol, reason),) if reason else ()


class SignalTrader:
    """Implements `Trader`: buys on BUY signals of one strategy and sells when they end, as the signal engine says that
    they do. SELL signals are followed to their end, since they decide when others open, and not traded. A signal that
    its first opening ends already is not entered."""

    def __init__(self, strategy: Strategy, market: HistoricalMarket) -> None:
        self.description = f"{strategy.name}: {strategy.description}"
        numbers = count(1)
        # Confidence is not traded on, and measured on such history: an empty calibration says so.
        self._engine = SignalEngine(
            [strategy],
            Calibration("backtest", DAY_SECONDS),
            new_id=lambda: str(next(numbers)),
            bar_seconds=market.bar_seconds,
        )
        self._levels: dict[str, Levels] = {}
        for earlier in market.earlier.values():
            for bar in earlier.part(-WARM_UP_BARS, None).bars():
                self._engine.warm_up(bar)

    def first_entries(self) -> Sequence[Entry]:
        return ()

    def levels(self, symbol: str) -> Levels | None:
        return self._levels.get(symbol)

    def on_quote(self, quote: QuoteTick) -> Sequence[Exit]:
        return [found for found in self._decisions(self._engine.on_quote(quote)) if isinstance(found, Exit)]

    def on_close(self, bar: Bar, *, held: bool) -> Sequence[Decision]:  # noqa: ARG002 - as all traders are asked
        return self._decisions(self._engine.on_bar(bar))

    def _decisions(self, events: Iterable[SignalEvent]) -> list[Decision]:
        decisions: list[Decision] = []
        for event in events:
            buys = event.direction == "BUY"
            if event.status == "NEW":
                self._levels[event.symbol] = Levels((event.stop_loss, event.target_price), falls_first=buys)
                if buys:
                    decisions.append(Entry(event.symbol, strength=event.score))
            elif not event.is_open:
                del self._levels[event.symbol]
                if buys:
                    decisions.append(Exit(event.symbol, _REASONS[event.status]))
        return decisions


def trader_of(
    spec: BacktestSpec,
    market: HistoricalMarket,
    probabilities: Mapping[str, Column] | None = None,
    label: LabelSpec | None = None,
) -> Trader:
    """Who trades by the spec. Raises `ValueError` for a model without probabilities, or without what they are of."""
    if spec.strategy == "buy_and_hold":
        return BuyAndHold(tuple(market.series), spec.opening_cash)
    if spec.strategy == "model":
        if probabilities is None or label is None:
            raise ValueError("a model needs its probabilities, and the label that they are of")
        return ModelTrader(market, probabilities, spec.enter_probability, label)
    return SignalTrader(_strategy(spec.strategy), market)


def _strategy(name: StrategyName) -> Strategy:
    return {strategy.name: strategy for strategy in all_strategies()}[name]
