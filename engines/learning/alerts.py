"""When a deployed model's numbers are told to people: what is out of its limits, and when it is well within them again.

Why these limits, and what counts as chance: docs/explanation/engines/monitoring.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta

from engines.learning.drift import Rise

CLEAR_AT = 0.8  # of the warning limit
CRITICAL_AT = 2.0  # times the warning limit, where there is no critical limit of its own
ERROR_DRIFT = "error_drift"
COMPARED = ("log_loss", "accuracy", "calibration_error")

Severity = Literal["INFO", "WARNING", "CRITICAL"]
Level = Annotated[int, Meta(ge=1, le=2)]
_SEVERITIES: dict[int, Severity] = {1: "WARNING", 2: "CRITICAL"}


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """From where a number is told. The last three of the first block are against validation: by how much the live
    number may be worse. A critical limit is `psi` for the PSI, else twice the limit.

    `window`: the latest rows that are looked at; nothing is said of fewer than `min_rows`. `window_moments`: the latest
    moments whose outcomes are looked at, four times `min_moments` horizons where that is more; nothing is said of fewer
    than `min_outcomes`, or of less than `min_moments` independent moments. What could be chance is not told: a PSI
    needs a Kolmogorov-Smirnov distance and a p-value below its limit beside it, the others `standard_errors`.
    `error_…`: of the Page-Hinkley test, see `PageHinkley`; its moments do not overlap.
    """

    psi: float = 0.25
    psi_warning: float = 0.1
    log_loss_excess: float = 0.05
    accuracy_drop: float = 0.08
    calibration_error: float = 0.1

    ks_distance: float = 0.1
    ks_p_value: float = 0.001
    standard_errors: float = 3.5

    min_rows: int = 100
    window: int = 500
    min_outcomes: int = 50
    min_moments: int = 10
    window_moments: int = 250

    error_tolerance: float = 0.25
    error_threshold: float = 50.0
    error_min_moments: int = 30

    def __post_init__(self) -> None:
        if not 1 <= self.min_rows <= self.window:
            raise ValueError(f"min_rows {self.min_rows}: it must be from 1 to the window of {self.window}")
        if self.min_outcomes < 1 or not 1 <= self.min_moments <= self.window_moments:
            least = f"min_outcomes {self.min_outcomes}, min_moments {self.min_moments}"
            raise ValueError(f"{least}: both must be 1 or more, moments to the window of {self.window_moments}")

    def moments(self, horizon_bars: int) -> int:
        """How many moments are looked at, where labels look so many bars ahead."""
        return max(self.window_moments, 4 * self.min_moments * horizon_bars)


class FeatureDrift(msgspec.Struct, frozen=True):
    """How far a feature's live values are from those of training. The p-value counts only so many rows as are
    independent."""

    feature: str
    psi: float
    ks: float
    ks_p_value: float


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """A model over its latest rows and outcomes.

    accuracy, log_loss     `None` without an outcome
    calibration_error      `None` under `min_outcomes` and `min_moments`, when no alert is raised of the three
    …_noise                accuracy and log-loss are by less than this worse than validation, by chance; a calibrated
                           model's calibration error is less than this
    drift                  every feature, the greatest PSI first; none under `min_rows`
    error_drifted_at       when the error rose last; `error_rise`: how, while that is not a window of moments ago
    latency_ms             the median of the latest 100 batches; `None` without one
    """

    rows: int
    outcomes: int
    accuracy: float | None
    log_loss: float | None
    calibration_error: float | None
    drift: tuple[FeatureDrift, ...]
    error_drifted_at: datetime | None
    predictions_per_minute: float
    latency_ms: float | None
    accuracy_noise: float = 0.0
    log_loss_noise: float = 0.0
    calibration_noise: float = 0.0
    error_rise: Rise | None = None


class Alert(msgspec.Struct, frozen=True):
    """A number went out of its limits ("raised", again when it became critical), or is well within them ("cleared",
    INFO). `limit`: the one that `value` passed; the message says all that in words. `feature`: whose drift it is."""

    metric: str
    severity: Severity
    state: Literal["raised", "cleared"]
    value: float
    limit: float
    message: str
    feature: str = ""


class _Reading(NamedTuple):
    """A number, and from where it is told. `badness` grows as the number gets worse; `warning` and `critical` are
    limits of that, a limit of the number itself is `base` + `sign` * those."""

    metric: str
    feature: str
    value: float
    badness: float
    warning: float
    critical: float
    base: float
    sign: int
    beyond_chance: bool
    evidence: str

    @property
    def key(self) -> str:
        return f"{self.metric}:{self.feature}" if self.feature else self.metric

    def alert(self, level: Level) -> Alert:
        limit = self.base + self.sign * (self.critical if level == 2 else self.warning)
        message = f"{_named(self)} is {self.value:.3f}{self.evidence}; the limit is {limit:.3f}"
        return Alert(self.metric, _SEVERITIES[level], "raised", self.value, limit, message, self.feature)

    def all_clear(self) -> Alert:
        limit = self.base + self.sign * self.warning
        message = f"{_named(self)} is well within its limit of {limit:.3f} again: {self.value:.3f}{self.evidence}"
        return Alert(self.metric, "INFO", "cleared", self.value, limit, message, self.feature)


class AlertBook:
    """What was told of one model. `told`: the level, 1 warning or 2 critical, of each metric that is out of its limits;
    the key of a feature's PSI is "psi:" and its name."""

    def __init__(self, validation: Mapping[str, float], limits: Limits) -> None:
        """`validation`: what training measured out of sample. Raises `ValueError` when it lacks one of `COMPARED`."""
        unknown = [name for name in COMPARED if not math.isfinite(validation.get(name, math.nan))]
        if unknown:
            raise ValueError(f"validation has no finite {', '.join(unknown)}")
        self._validation = {name: float(validation[name]) for name in COMPARED}
        self._limits = limits
        self.told: dict[str, Level] = {}

    def alerts(self, measurement: Measurement) -> list[Alert]:
        """What is new with this measurement: each level of a number once, until it was cleared."""
        found = [alert for reading in self._readings(measurement) if (alert := self._take(reading)) is not None]
        return found + self._error_alerts(measurement)

    def _readings(self, measured: Measurement) -> list[_Reading]:
        limits = self._limits
        found = [self._of_feature(drift, measured.rows) for drift in measured.drift]
        if measured.calibration_error is None:
            return found
        for metric, value, sign, allowed, noise in (
            ("log_loss", measured.log_loss, 1, limits.log_loss_excess, measured.log_loss_noise),
            ("accuracy", measured.accuracy, -1, limits.accuracy_drop, measured.accuracy_noise),
            # its noise is that of the error itself: a calibrated model has one, too
            ("calibration_error", measured.calibration_error, 1, limits.calibration_error, measured.calibration_noise),
        ):
            if value is not None:
                found.append(
                    self._of_metric(metric, value, sign=sign, allowed=allowed, noise=noise, outcomes=measured.outcomes)
                )
        return found

    def _of_feature(self, drift: FeatureDrift, rows: int) -> _Reading:
        limits = self._limits
        evidence = f" over the latest {rows} predictions (KS distance {drift.ks:.2f}, p {_p(drift.ks_p_value)})"
        return _Reading(
            metric="psi",
            feature=drift.feature,
            value=drift.psi,
            badness=drift.psi,
            warning=limits.psi_warning,
            critical=limits.psi,
            base=0.0,
            sign=1,
            beyond_chance=drift.ks >= limits.ks_distance and drift.ks_p_value < limits.ks_p_value,
            evidence=evidence,
        )

    def _of_metric(
        self, metric: str, value: float, *, sign: int, allowed: float, noise: float, outcomes: int
    ) -> _Reading:
        base = self._validation[metric]
        worse = sign * (value - base)
        return _Reading(
            metric=metric,
            feature="",
            value=value,
            badness=worse,
            warning=allowed,
            critical=CRITICAL_AT * allowed,
            base=base,
            sign=sign,
            beyond_chance=(value if metric == "calibration_error" else worse) >= noise,
            evidence=f" over the latest {outcomes} outcomes; validation had {base:.3f}",
        )

    def _take(self, reading: _Reading) -> Alert | None:
        before = self.told.get(reading.key, 0)
        level = (reading.badness >= reading.warning) + (reading.badness >= reading.critical)
        if level > before and reading.beyond_chance:
            self.told[reading.key] = level
            return reading.alert(level)
        if before and reading.badness < CLEAR_AT * reading.warning:
            del self.told[reading.key]
            return reading.all_clear()
        return None

    def _error_alerts(self, measured: Measurement) -> list[Alert]:
        told, rise, at = self.told, measured.error_rise, measured.error_drifted_at
        if rise is not None and at is not None and ERROR_DRIFT not in told:
            told[ERROR_DRIFT] = 1
            limit = rise.before + rise.tolerated
            message = (
                f"The log-loss per outcome rose from {rise.before:.3f} to {rise.after:.3f} by {at:%Y-%m-%d %H:%M %Z}; "
                f"up to {limit:.3f} is tolerated"
            )
            return [Alert(ERROR_DRIFT, "WARNING", "raised", rise.after, limit, message)]
        if rise is None and ERROR_DRIFT in told and measured.log_loss is not None:
            del told[ERROR_DRIFT]
            limit = self._validation["log_loss"] + self._limits.log_loss_excess
            now = f"{measured.log_loss:.3f} over the latest {measured.outcomes} outcomes"
            message = f"The log-loss per outcome rose no further: it is {now}"
            return [Alert(ERROR_DRIFT, "INFO", "cleared", measured.log_loss, limit, message)]
        return []


def _named(reading: _Reading) -> str:
    noun = {"psi": "PSI", "log_loss": "Log-loss"}.get(reading.metric, reading.metric.replace("_", " ").capitalize())
    return f"{noun} of {reading.feature}" if reading.feature else noun


def _p(value: float) -> str:
    return f"{value:.1g}" if value >= 1e-9 else "under 1e-9"
