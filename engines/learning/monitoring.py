"""How a deployed model does: whether the market is still the one it was trained on, and how its predictions turned out.

What is measured, the formulas, and what raises an alert and clears it: docs/explanation/engines/monitoring.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from engines.learning import outcomes
from engines.learning.alerts import COMPARED, ERROR_DRIFT, Alert, AlertBook, FeatureDrift, Level, Limits, Measurement
from engines.learning.drift import (
    FeatureShape,
    Finite,
    NotNegative,
    PageHinkley,
    Reference,
    Rise,
    Values,
    effective_rows,
    kolmogorov_smirnov,
    population_stability,
)
from engines.market.history import Column

__all__ = ["Alert", "FeatureDrift", "Limits", "Measurement", "ModelMonitor"]

RATE_SECONDS = 60
LATENCIES = 100

_Time = Annotated[datetime, Meta(tz=True)]
_STANDARD = Limits()


class _State(msgspec.Struct, forbid_unknown_fields=True):
    """All that a monitor remembers, as it is stored. `rows`, `moments` and `told` live elsewhere until then.

    `moment`: the latest, which more outcomes may belong to. `heard_loss`: the sum of the mean losses of the
    `heard_moments` since the test for a rise had a value.
    """

    features: tuple[str, ...]
    error: PageHinkley
    rows: bytes = b""
    moments: bytes = b""
    moment: _Time | None = None
    heard_loss: Finite = 0.0
    heard_moments: NotNegative = 0
    drifted_at: _Time | None = None
    rise: Rise | None = None
    moments_since: NotNegative = 0
    told: dict[str, Level] = msgspec.field(default_factory=dict)


class _Ring:
    """The latest rows, `capacity` at most, in the order in which they came."""

    def __init__(self, capacity: int, width: int, dtype: npt.DTypeLike) -> None:
        self._rows = np.zeros((capacity, width), dtype)
        self._next = 0
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def add(self, rows: Values) -> None:
        capacity = len(self._rows)
        rows = rows[-capacity:]
        until_end = min(len(rows), capacity - self._next)
        self._rows[self._next : self._next + until_end] = rows[:until_end]
        self._rows[: len(rows) - until_end] = rows[until_end:]
        self._next = (self._next + len(rows)) % capacity
        self._length = min(self._length + len(rows), capacity)

    @property
    def latest(self) -> npt.NDArray[np.floating]:
        """The row that came last, to be changed in place; there must be one."""
        latest: npt.NDArray[np.floating] = self._rows[self._next - 1]
        return latest

    def ordered(self) -> npt.NDArray[np.floating]:
        """A copy, the oldest first."""
        if self._length < len(self._rows):
            return self._rows[: self._length].copy()
        return np.concatenate((self._rows[self._next :], self._rows[: self._next]))

    def loaded(self, stored: bytes) -> _Ring:
        """One like this, of the bytes of `ordered`; the latest, where this one holds fewer. Raises `ValueError`."""
        values = np.frombuffer(stored, self._rows.dtype).reshape(-1, self._rows.shape[1])
        if not np.isfinite(values).all():
            raise ValueError("a value is not finite")
        ring = _Ring(*self._rows.shape, self._rows.dtype)
        ring.add(values)
        return ring


class ModelMonitor:
    """One deployed version's. It tells what is new once, and goes on from its `state` after a restart."""

    def __init__(
        self,
        reference: Sequence[FeatureShape],
        validation: Mapping[str, float],
        limits: Limits = _STANDARD,
        *,
        horizon_bars: int = 1,
    ) -> None:
        """`reference`: of the features in the order of the matrix's columns. `validation`: what training measured out
        of sample; log_loss, accuracy and calibration_error of it are needed. `horizon_bars`: how far the labels look
        ahead, so that outcomes of so many moments in a row overlap. Raises `ValueError`."""
        if horizon_bars < 1:
            raise ValueError(f"a horizon of {horizon_bars} bars; it must be 1 or more")
        self._reference = Reference.of(reference)
        self._limits = limits
        self._horizon = horizon_bars
        self._test: dict[str, Any] = {
            "tolerance": limits.error_tolerance,
            "threshold": limits.error_threshold,
            "min_values": limits.error_min_moments,
        }
        self._book = AlertBook(validation, limits)
        self._validation = {name: float(validation[name]) for name in ("accuracy", "log_loss")}
        self._rows = _Ring(limits.window, len(self._reference.features), np.float32)
        self._moments = _Ring(limits.moments(horizon_bars), outcomes.WIDTH, np.float32)
        self._state = self._fresh()
        self._made: dict[int, int] = {}  # predictions by second
        self._latencies = _Ring(LATENCIES, 1, np.float64)

    # What happens

    def see_features(self, matrix: Values) -> None:
        """Rows that were predicted on, in their order; one with a value that is not finite is left out. Raises
        `ValueError` for rows of another width."""
        if matrix.ndim != 2 or matrix.shape[1] != len(self._reference.features):
            wanted = len(self._reference.features)
            raise ValueError(f"a matrix of shape {matrix.shape}; it takes rows of {wanted} features")
        with np.errstate(over="ignore"):
            rows = matrix.astype(np.float32)
        finite = np.isfinite(rows).all(axis=1)
        self._rows.add(rows if finite.all() else rows[finite])

    def see_outcome(self, probability_up: float, went_up: bool, at: datetime) -> None:
        """`see_outcomes`, of one."""
        self.see_outcomes(np.array([probability_up]), np.array([went_up]), at)

    def see_outcomes(self, probability_up: Column, went_up: npt.NDArray[np.bool_], at: datetime) -> None:
        """Predictions whose outcomes became known at a moment, the close of a bar. Shares move together: outcomes of
        the same `at`, also when they come in several calls, are one observation. Moments come in their order; the test
        for a rise of the error hears of one when the next begins. Raises `ValueError` for what is no probability, a
        time without a zone, or no outcome at all."""
        if not np.all((probability_up >= 0) & (probability_up <= 1)):
            raise ValueError(f"a probability of {probability_up}; it must be from 0 to 1")
        _check_time(at)
        new = outcomes.moment_of(probability_up, went_up.astype(np.float64))
        if at == self._state.moment and len(self._moments):
            self._moments.latest[:] += new
            return
        self._end_moment()
        self._state.moment = at
        self._moments.add(new[np.newaxis])

    def see_predictions(self, count: int, latency_ms: float, at: datetime) -> None:
        """A batch of predictions, and how long it took to make them: from the arrival of the batch of ticks or bars
        that closed their bar to just before they are written. Raises `ValueError` for a negative number, or a time
        without a zone."""
        if count < 0 or not 0 <= latency_ms < math.inf:
            raise ValueError(f"{count} predictions after {latency_ms} ms; neither can be negative, or infinite")
        second = math.floor(_check_time(at))
        self._made[second] = self._made.get(second, 0) + count
        if len(self._made) > RATE_SECONDS + 1:
            self._made = {s: made for s, made in self._made.items() if abs(second - s) <= RATE_SECONDS}
        self._latencies.add(np.array([[latency_ms]]))

    def _end_moment(self) -> None:
        """The test hears the mean loss of so many moments together as overlap."""
        state = self._state
        if not len(self._moments):
            return
        ended = self._moments.latest
        state.heard_loss += float(ended[outcomes.LOSS] / ended[outcomes.COUNT])
        state.heard_moments += 1
        state.moments_since += 1
        if state.moments_since >= self._limits.moments(self._horizon):
            state.rise = None
        if state.heard_moments < self._horizon:
            return
        rise = state.error.add(state.heard_loss / state.heard_moments)
        state.heard_loss, state.heard_moments = 0.0, 0
        if rise is not None:
            state.rise, state.drifted_at, state.moments_since = rise, state.moment, 0

    # What it comes to

    def measure(self, now: datetime) -> Measurement:
        """All numbers as they are. Predictions per minute are those of the 60 seconds (whole ones) until `now`. Raises
        `ValueError` for a time without a zone."""
        second = math.floor(_check_time(now))
        made = sum(count for s, count in self._made.items() if second - RATE_SECONDS < s <= second)
        state = self._state
        return Measurement(
            rows=len(self._rows),
            drift=self._drift(),
            error_drifted_at=state.drifted_at,
            error_rise=state.rise,
            predictions_per_minute=made * 60 / RATE_SECONDS,
            latency_ms=float(np.median(self._latencies.ordered())) if len(self._latencies) else None,
            **self._performance(),
        )

    def _performance(self) -> dict[str, Any]:
        if not len(self._moments):
            return {"outcomes": 0, "accuracy": None, "log_loss": None, "calibration_error": None}
        limits = self._limits
        found = outcomes.performance(
            self._moments.ordered().astype(np.float64),
            **self._validation,
            horizon_bars=self._horizon,
            deviations=limits.standard_errors,
        )
        is_enough = found.outcomes >= limits.min_outcomes and found.independent_moments >= limits.min_moments
        numbers = msgspec.structs.asdict(found)
        del numbers["independent_moments"]
        return numbers if is_enough else numbers | {"calibration_error": None}

    def _drift(self) -> tuple[FeatureDrift, ...]:
        if len(self._rows) < self._limits.min_rows:
            return ()
        live = self._rows.ordered()
        psi = population_stability(self._reference, live)
        distance, p_value = kolmogorov_smirnov(self._reference, live, effective_rows(live))
        columns = zip(self._reference.features, psi.tolist(), distance.tolist(), p_value.tolist(), strict=True)
        return tuple(sorted((FeatureDrift(*column) for column in columns), key=lambda drift: -drift.psi))

    # What is told

    @property
    def active(self) -> tuple[str, ...]:
        """The metrics that are out of their limits: "log_loss", "psi:rsi_14", …"""
        return tuple(sorted(self._book.told))

    def alerts(self, measurement: Measurement) -> list[Alert]:
        """What is new with this measurement: each level of a number once, until it was cleared."""
        return self._book.alerts(measurement)

    # What survives a restart

    @property
    def state(self) -> dict[str, Any]:
        """All it remembers, as JSON values, but the rate and the latency, which begin anew after a restart."""
        rows, moments = self._rows.ordered().tobytes(), self._moments.ordered().tobytes()
        whole = msgspec.structs.replace(self._state, rows=rows, moments=moments, told=self._book.told)
        stored: dict[str, Any] = msgspec.to_builtins(whole, order="deterministic")
        return stored

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state` of a monitor of the same features; the limits stay this one's. An empty one is a fresh
        start. Raises `ValueError` for anything else, and changes nothing."""
        try:
            restored = msgspec.convert(dict(state), _State) if state else self._fresh()
            rows, moments = self._rows.loaded(restored.rows), self._moments.loaded(restored.moments)
            self._check(restored, moments)
        except ValueError as trouble:  # msgspec's own is one
            raise ValueError(f"this is no state of a monitor of this model: {trouble}") from None
        test = msgspec.structs.replace(restored.error, **self._test)
        self._state = msgspec.structs.replace(restored, rows=b"", moments=b"", error=test)
        self._book.told = dict(restored.told)
        self._rows, self._moments = rows, moments

    def _fresh(self) -> _State:
        return _State(features=self._reference.features, error=PageHinkley(**self._test))

    def _check(self, restored: _State, moments: _Ring) -> None:
        if restored.features != self._reference.features:
            raise ValueError(f"it is of the features {', '.join(restored.features)[:100]}")
        if not outcomes.is_possible(moments.ordered()):
            raise ValueError("no outcomes come to these moments")
        known = {*COMPARED, ERROR_DRIFT, *(f"psi:{feature}" for feature in self._reference.features)}
        if not restored.told.keys() <= known:
            raise ValueError(f"it told of {', '.join(sorted(restored.told.keys() - known))[:100]}")


def _check_time(at: datetime) -> float:
    """In seconds since 1970."""
    if at.tzinfo is None:
        raise ValueError(f"a time of {at}: it needs a time zone")
    return at.timestamp()
