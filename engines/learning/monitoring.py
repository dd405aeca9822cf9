"""How a deployed model does: the last predictions whose outcome is known."""

from __future__ import annotations

import math
from collections import deque

import msgspec

WINDOW = 200
MIN_OUTCOMES = 30
ALERT_LOG_LOSS = 0.75
REARM_LOG_LOSS = 0.70


class Performance(msgspec.Struct, frozen=True):
    """Over the window: how many outcomes, and the accuracy and log-loss (None before there is one)."""

    outcomes: int
    accuracy: float | None
    log_loss: float | None


class PerformanceMonitor:
    """Counts hits and log-loss; alerts once when the loss passes a coin's (0.693) clearly, again after it recovered."""

    def __init__(self) -> None:
        self._results: deque[tuple[bool, float]] = deque(maxlen=WINDOW)
        self._alerted = False

    def add(self, probability_up: float, went_up: bool) -> None:
        likelihood = probability_up if went_up else 1 - probability_up
        self._results.append(((probability_up > 0.5) == went_up, -math.log(max(likelihood, 1e-6))))

    def performance(self) -> Performance:
        count = len(self._results)
        if not count:
            return Performance(0, None, None)
        accuracy = sum(hit for hit, _ in self._results) / count
        log_loss = sum(loss for _, loss in self._results) / count
        return Performance(count, round(accuracy, 4), round(log_loss, 4))

    def alert(self) -> Performance | None:
        """The performance, when it has just become bad."""
        performance = self.performance()
        if performance.log_loss is None or performance.outcomes < MIN_OUTCOMES:
            return None
        if performance.log_loss < REARM_LOG_LOSS:
            self._alerted = False
        if performance.log_loss < ALERT_LOG_LOSS or self._alerted:
            return None
        self._alerted = True
        return performance
