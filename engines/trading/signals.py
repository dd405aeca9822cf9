"""Signals: what strategies propose, followed from its opening to its end.

    NEW -> ACTIVE -> TARGET_HIT | STOP_HIT | EXPIRED | CANCELLED

A signal opens at a bar's close and becomes ACTIVE with the first quote after it. It ends with the first quote at or
beyond its target or stop, at that quote's price: a market that opens beyond the stop exits there and not at the stop.
It expires with the first quote (or bar) at `valid_until`, and is cancelled at the close of the bar with which its
strategy proposes the opposite. A strategy has at most one open signal per symbol; closed ones are forgotten.

R is the risk, |entry - stop|. MFE and MAE (Sweeney 1996) are the farthest the price went for and against the signal
while it was open, its exit included; both are 0 or more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from engines.market.calendar import (
    IST,
    SESSION_SECONDS,
    next_session_day,
    session_close,
    session_day,
    session_open,
)
from engines.market.quotes import Bar, QuoteTick
from engines.trading.calibration import Calibration
from engines.trading.strategies.base import Direction, Proposal, Strategy

MAX_AGE_BARS = 60
_PLACES = 2  # of target and stop; an entry is the close as it is, to four

Status = Literal["NEW", "ACTIVE", "TARGET_HIT", "STOP_HIT", "EXPIRED", "CANCELLED"]


class SignalEvent(msgspec.Struct, frozen=True):
    """A signal as it is after it was opened or changed. Times are market times; `valid_until` is the first moment at
    which it no longer holds. `confidence` is the calibrated probability that its target is hit before anything else
    ends it, made from the strategy's own `score`. `exit_price` and `realised_r` are set when it ended."""

    signal_id: str
    strategy: str
    symbol: str
    direction: Direction
    status: Status
    confidence: float
    entry_price: float
    target_price: float
    stop_loss: float
    opened_at: datetime
    valid_until: datetime
    rationale: str
    exit_price: float | None = None
    mfe_r: float = 0.0
    mae_r: float = 0.0
    realised_r: float | None = None
    score: float = 0.0

    @property
    def is_open(self) -> bool:
        return self.status in ("NEW", "ACTIVE")

    @property
    def risk(self) -> float:
        """R in price."""
        return abs(self.entry_price - self.stop_loss)

    @property
    def mfe_price(self) -> float:
        """The farthest the price went for it, in price."""
        return self.mfe_r * self.risk

    @property
    def mae_price(self) -> float:
        """The farthest the price went against it, in price."""
        return self.mae_r * self.risk


class _Open:
    """An open signal and the extremes since it opened."""

    __slots__ = ("highest", "lower", "lowest", "rising", "signal", "upper")

    def __init__(self, signal: SignalEvent) -> None:
        self.signal = signal
        self.rising = signal.direction == "BUY"
        self.lower, self.upper = sorted((signal.stop_loss, signal.target_price))
        below, above = (signal.mae_price, signal.mfe_price) if self.rising else (signal.mfe_price, signal.mae_price)
        self.lowest, self.highest = signal.entry_price - below, signal.entry_price + above

    def now(self, status: Status, exit_price: float | None = None) -> SignalEvent:
        """The signal with a new status and what it went through."""
        signal = self.signal
        entry, risk = signal.entry_price, signal.risk
        up, down = (self.highest - entry) / risk, (entry - self.lowest) / risk
        realised = None
        if exit_price is not None:
            realised = (exit_price - entry if self.rising else entry - exit_price) / risk
        self.signal = msgspec.structs.replace(
            signal,
            status=status,
            exit_price=exit_price,
            mfe_r=up if self.rising else down,
            mae_r=down if self.rising else up,
            realised_r=realised,
        )
        return self.signal


class SignalEngine:
    """Runs strategies over one market. Feed it quotes and closed bars in order; it answers with what happened.

    `bar_seconds` is the length of the bars, the calibration's when None; a signal lives `max_age_bars` of them, counted
    in session time. While `paused` it opens no signals, and goes on with the open ones. Raises `ValueError` for
    strategies with the same name and for lengths under 1.
    """

    def __init__(
        self,
        strategies: Iterable[Strategy],
        calibration: Calibration,
        new_id: Callable[[], str],
        max_age_bars: int = MAX_AGE_BARS,
        bar_seconds: int | None = None,
    ) -> None:
        self.paused = False
        given = list(strategies)
        self._strategies = {strategy.name: strategy for strategy in given}
        self._calibration = calibration
        self._new_id = new_id
        self._bar_seconds = calibration.bar_seconds if bar_seconds is None else bar_seconds
        if len(self._strategies) < len(given):
            raise ValueError(f"two strategies have the same name: {', '.join(s.name for s in given)}")
        if max_age_bars < 1 or self._bar_seconds < 1:
            raise ValueError(f"{max_age_bars} bars of {self._bar_seconds} seconds: both must be 1 or more")
        self._life_seconds = max_age_bars * min(self._bar_seconds, SESSION_SECONDS)
        self._open: dict[str, dict[str, _Open]] = {}
        self._last_bar: dict[str, datetime] = {}

    @property
    def open_signals(self) -> list[SignalEvent]:
        """The signals that have not ended, with their MFE and MAE until now."""
        return [open_.now(open_.signal.status) for of_symbol in self._open.values() for open_ in of_symbol.values()]

    def warm_up(self, bar: Bar) -> None:
        """Take a bar from before the start: fills the indicators, opens and ends nothing."""
        if self._is_next(bar):
            for strategy in self._strategies.values():
                strategy.on_bar(bar)

    def restore(self, events: Iterable[SignalEvent]) -> list[str]:
        """Go on with signals from before a restart; the ids of those that are taken.

        Left out are: ended ones, a second one of a strategy and symbol, those of strategies that are not here, and
        those whose stop, entry and target are not in order.
        """
        taken = []
        for event in events:
            ordered = 0 < event.stop_loss < event.entry_price < event.target_price
            if event.direction == "SELL":
                ordered = 0 < event.target_price < event.entry_price < event.stop_loss
            of_symbol = self._open.setdefault(event.symbol, {})
            if event.is_open and ordered and event.strategy in self._strategies and event.strategy not in of_symbol:
                of_symbol[event.strategy] = _Open(event)
                taken.append(event.signal_id)
            if not of_symbol:
                del self._open[event.symbol]
        return taken

    def on_quotes(self, quotes: Iterable[QuoteTick]) -> list[SignalEvent]:
        """As `on_quote`, for quotes in the order they came."""
        events: list[SignalEvent] = []
        for quote in quotes:
            if quote.symbol in self._open:
                events += self.on_quote(quote)
        return events

    def on_quote(self, quote: QuoteTick) -> Sequence[SignalEvent]:
        """What a quote does to the symbol's open signals. One from before a signal opened does not touch it."""
        of_symbol = self._open.get(quote.symbol)
        if of_symbol is None:
            return ()
        events: list[SignalEvent] = []
        for open_ in list(of_symbol.values()):
            events += self._see(open_, quote.time, quote.last)
        return events

    def on_bar(self, bar: Bar) -> list[SignalEvent]:
        """Ask the strategies about a closed bar: ends what it contradicts or has outlived, opens what they propose.

        A bar that is not later than the symbol's last one is left out.
        """
        if not self._is_next(bar):
            return []
        ended_at = _end_of(bar, self._bar_seconds)
        events = [
            self._end(open_, "EXPIRED", bar.close)
            for open_ in list(self._open.get(bar.symbol, {}).values())
            if ended_at >= open_.signal.valid_until
        ]
        for name, strategy in self._strategies.items():
            proposal = strategy.on_bar(bar)
            if proposal is None:
                continue
            running = self._open.get(bar.symbol, {}).get(name)
            if running is not None:
                if running.signal.direction == proposal.direction:
                    continue
                events.append(self._end(running, "CANCELLED", bar.close))
            if not self.paused:
                events += self._begin(name, proposal, round(bar.close, 4), ended_at)
        return events

    def on_history_bar(self, bar: Bar) -> list[SignalEvent]:
        """As `on_bar`, where the quotes inside the bar are not known: open signals see its opening, then the extreme
        that is worse for them, then the better one. An opening beyond a level exits at the opening, an extreme at the
        level.
        """
        if not self._is_next(bar, note=False):
            return []
        events: list[SignalEvent] = []
        for open_ in list(self._open.get(bar.symbol, {}).values()):
            extremes = (bar.low, bar.high) if open_.rising else (bar.high, bar.low)
            events += self._see(open_, bar.time, bar.open)
            for price in extremes:
                if open_.signal.is_open:
                    events += self._see(open_, bar.time, price, at_level=True)
        return events + self.on_bar(bar)

    def _see(self, open_: _Open, time: datetime, price: float, *, at_level: bool = False) -> Sequence[SignalEvent]:
        """What a price does to a signal; with `at_level` the price was reached step by step."""
        signal = open_.signal
        if not price > 0 or time < signal.opened_at:
            return ()
        if time >= signal.valid_until:
            return (self._end(open_, "EXPIRED", price),)
        events: tuple[SignalEvent, ...] = ()
        if signal.status == "NEW":
            events = (open_.now("ACTIVE"),)
        if open_.lower < price < open_.upper:
            if price > open_.highest:
                open_.highest = price
            elif price < open_.lowest:
                open_.lowest = price
            return events
        status: Status = "TARGET_HIT" if (price >= open_.upper) == open_.rising else "STOP_HIT"
        if at_level:
            price = signal.target_price if status == "TARGET_HIT" else signal.stop_loss
        return (*events, self._end(open_, status, price))

    def _begin(self, name: str, proposal: Proposal, entry: float, opened_at: datetime) -> Sequence[SignalEvent]:
        """Open a signal, unless its levels are no prices or too near."""
        sign = 1.0 if proposal.direction == "BUY" else -1.0
        target = round(entry + sign * proposal.target_distance, _PLACES)
        stop = round(entry - sign * proposal.stop_distance, _PLACES)
        if min(target, stop) <= 0 or sign * (target - entry) <= 0 or sign * (entry - stop) <= 0:
            return ()
        confidence = self._calibration.probability(name, proposal.score, driftless_rate=proposal.driftless_rate)
        signal = SignalEvent(
            signal_id=self._new_id(),
            strategy=name,
            symbol=proposal.symbol,
            direction=proposal.direction,
            status="NEW",
            confidence=round(confidence, 4),
            entry_price=entry,
            target_price=target,
            stop_loss=stop,
            opened_at=opened_at,
            valid_until=after_session_seconds(opened_at, self._life_seconds),
            rationale=proposal.rationale,
            score=proposal.score,
        )
        self._open.setdefault(proposal.symbol, {})[name] = _Open(signal)
        return (signal,)

    def _end(self, open_: _Open, status: Status, price: float) -> SignalEvent:
        open_.highest, open_.lowest = max(open_.highest, price), min(open_.lowest, price)
        ended = open_.now(status, price)
        of_symbol = self._open[ended.symbol]
        del of_symbol[ended.strategy]
        if not of_symbol:
            del self._open[ended.symbol]
        return ended

    def _is_next(self, bar: Bar, *, note: bool = True) -> bool:
        before = self._last_bar.get(bar.symbol)
        if before is not None and bar.time <= before:
            return False
        if note:
            self._last_bar[bar.symbol] = bar.time
        return True


def after_session_seconds(moment: datetime, seconds: float) -> datetime:
    """The moment after so much of NSE's session time; time outside sessions does not count."""
    day = session_day(moment)
    start = max(moment, session_open(day))
    left = (session_close(day) - start).total_seconds()
    while seconds > left:
        seconds -= left
        day = next_session_day(day)
        start, left = session_open(day), float(SESSION_SECONDS)
    return start + timedelta(seconds=seconds)


def _end_of(bar: Bar, bar_seconds: int) -> datetime:
    """When the bar is over: after its length, or with the session it lies in."""
    end = bar.time + timedelta(seconds=bar_seconds)
    closing = session_close(bar.time.astimezone(IST).date())
    return closing if bar.time < closing < end else end
