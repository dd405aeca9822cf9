"""The trend rule: a fast average crossing a slow one opens a signal, its target or stop closes it.

Averages are exponential (12 and 26 bars), target and stop are multiples of the average true range (Wilder 1978).
`confidence` is what the rule has reached so far: the share of its closed signals that hit their target, by Laplace's
rule of succession `(hits + 1) / (closed + 2)`, and so 0.5 before there is any experience.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import msgspec
from talipp.indicators import ATR, EMA
from talipp.ohlcv import OHLCV

from engines.market.quotes import Bar, QuoteTick

FAST_BARS, SLOW_BARS, ATR_BARS = 12, 26, 14
TARGET_ATR, STOP_ATR = 2.0, 1.5
MAX_BARS = 60
_KEPT_VALUES = 200

Direction = Literal["BUY", "SELL"]
Status = Literal["NEW", "ACTIVE", "TARGET_HIT", "STOP_HIT", "EXPIRED", "CANCELLED"]
STRATEGY = f"trend: EMA {FAST_BARS}/{SLOW_BARS}"


class SignalEvent(msgspec.Struct, frozen=True):
    """A signal as it is after it was opened or changed. `number` identifies it within one rule."""

    number: int
    symbol: str
    direction: Direction
    status: Status
    confidence: float
    entry_price: float
    target_price: float
    stop_loss: float
    exit_price: float | None = None

    @property
    def is_open(self) -> bool:
        return self.status in ("NEW", "ACTIVE")


@dataclass
class _SymbolState:
    """Indicators and the one open signal of a symbol."""

    fast: EMA = field(default_factory=lambda: EMA(FAST_BARS))
    slow: EMA = field(default_factory=lambda: EMA(SLOW_BARS))
    range: ATR = field(default_factory=lambda: ATR(ATR_BARS))
    was_above: bool | None = None
    signal: SignalEvent | None = None
    age_bars: int = 0

    def add(self, bar: Bar) -> None:
        self.fast.add(bar.close)
        self.slow.add(bar.close)
        self.range.add(OHLCV(bar.open, bar.high, bar.low, bar.close, bar.volume))
        for indicator in (self.fast, self.slow, self.range):
            if len(indicator) > 2 * _KEPT_VALUES:
                indicator.purge_oldest(_KEPT_VALUES)


class TrendRule:
    """One open signal per symbol. Feed it quotes and closed bars in order; it answers with events."""

    def __init__(self) -> None:
        self._symbols: dict[str, _SymbolState] = {}
        self._last_number = 0
        self.hits = 0
        self.closed = 0

    @property
    def confidence(self) -> float:
        return (self.hits + 1) / (self.closed + 2)

    def warm_up(self, bar: Bar) -> None:
        """Take a bar from before the start: fills the indicators, opens nothing."""
        state = self._symbols.setdefault(bar.symbol, _SymbolState())
        state.add(bar)
        state.was_above = _is_above(state)

    def on_quote(self, quote: QuoteTick) -> list[SignalEvent]:
        """A new signal becomes active; an active one ends at its target or stop."""
        state = self._symbols.get(quote.symbol)
        if state is None or state.signal is None:
            return []
        signal = state.signal
        if signal.status == "NEW":
            return [self._move(state, signal, "ACTIVE")]
        rising = signal.direction == "BUY"
        if (quote.last >= signal.target_price) if rising else (quote.last <= signal.target_price):
            return [self._move(state, signal, "TARGET_HIT", quote.last)]
        if (quote.last <= signal.stop_loss) if rising else (quote.last >= signal.stop_loss):
            return [self._move(state, signal, "STOP_HIT", quote.last)]
        return []

    def on_bar(self, bar: Bar) -> list[SignalEvent]:
        """A crossing ends an opposite signal and opens one; a signal too old expires."""
        state = self._symbols.setdefault(bar.symbol, _SymbolState())
        state.add(bar)
        above, was_above = _is_above(state), state.was_above
        state.was_above = above
        events: list[SignalEvent] = []
        if state.signal is not None:
            state.age_bars += 1
            if state.age_bars >= MAX_BARS:
                events.append(self._move(state, state.signal, "EXPIRED", bar.close))
        atr = state.range[-1] if len(state.range) else None
        if above is None or was_above is None or above == was_above or not atr:
            return events
        direction: Direction = "BUY" if above else "SELL"
        if state.signal is not None and state.signal.direction != direction:
            events.append(self._move(state, state.signal, "CANCELLED", bar.close))
        if state.signal is None:
            events.append(self._open(state, bar, direction, atr))
        return events

    def _open(self, state: _SymbolState, bar: Bar, direction: Direction, atr: float) -> SignalEvent:
        self._last_number += 1
        sign = 1.0 if direction == "BUY" else -1.0
        state.signal = SignalEvent(
            number=self._last_number,
            symbol=bar.symbol,
            direction=direction,
            status="NEW",
            confidence=round(self.confidence, 4),
            entry_price=round(bar.close, 2),
            target_price=round(max(0.01, bar.close + sign * TARGET_ATR * atr), 2),
            stop_loss=round(max(0.01, bar.close - sign * STOP_ATR * atr), 2),
        )
        state.age_bars = 0
        return state.signal

    def _move(
        self, state: _SymbolState, signal: SignalEvent, status: Status, exit_price: float | None = None
    ) -> SignalEvent:
        moved = msgspec.structs.replace(signal, status=status, exit_price=exit_price)
        state.signal = moved if moved.is_open else None
        if not moved.is_open:
            self.closed += 1
            self.hits += status == "TARGET_HIT"
        return moved


def _is_above(state: _SymbolState) -> bool | None:
    fast = state.fast[-1] if len(state.fast) else None
    slow = state.slow[-1] if len(state.slow) else None
    return None if fast is None or slow is None else fast > slow
