"""Time as a dependency: the real clock, and one that tests turn by hand."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol


class TimerHandle(Protocol):
    """A scheduled call that can be taken back."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """What the delivery code may know about time."""

    def now(self) -> datetime:
        """The wall clock, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back; comparable only with each other."""
        ...

    def call_later(self, delay_seconds: float, callback: Callable[[], None]) -> TimerHandle:
        """Run `callback` in the event loop's thread after the delay."""
        ...


class SystemClock:
    """The machine's clock; timers run on the running event loop."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def call_later(self, delay_seconds: float, callback: Callable[[], None]) -> TimerHandle:
        return asyncio.get_running_loop().call_later(delay_seconds, callback)


class _ManualTimer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class ManualClock:
    """A clock that stands still until `advance` moves it; due timers then run in order."""

    def __init__(self, start: datetime = datetime(2026, 1, 5, 4, 0, tzinfo=UTC)) -> None:
        self._start = start
        self._elapsed_seconds = 0.0
        self._order = itertools.count()
        self._timers: list[tuple[float, int, _ManualTimer]] = []

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._elapsed_seconds)

    def monotonic(self) -> float:
        return self._elapsed_seconds

    def call_later(self, delay_seconds: float, callback: Callable[[], None]) -> TimerHandle:
        timer = _ManualTimer(callback)
        heapq.heappush(self._timers, (self._elapsed_seconds + delay_seconds, next(self._order), timer))
        return timer

    def advance(self, seconds: float) -> None:
        """Move time forward, running every timer that falls due on the way. A timer may take time itself, by calling
        this."""
        target = self._elapsed_seconds + seconds
        while self._timers and self._timers[0][0] <= target:
            due, _, timer = heapq.heappop(self._timers)
            self._elapsed_seconds = max(self._elapsed_seconds, due)
            if timer.callback is not None:
                timer.callback()
        self._elapsed_seconds = max(self._elapsed_seconds, target)
