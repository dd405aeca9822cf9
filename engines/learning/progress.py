"""Where a training is: its steps, how far, how long each took, how long the rest takes. And its end, when asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Literal, TypeAlias

import msgspec

STEPS = ("Load bars", "Feature engineering", "Split", "Training", "Calibration", "Evaluation", "Save")
_BEGINS_AT = (0.0, 1.0, 5.0, 6.0, 92.0, 95.0, 98.0)  # percent; nearly all of the time goes into iterations
_ENDS_AT = 99.0  # the last percent is the keeping of the artifact, by whoever asked for it
_TRAINING = 4
# Whoever has the bars loads them, and whoever keeps the artifact saves it: next to nothing of these passes here.
_TIMED_ELSEWHERE = frozenset({"Load bars", "Save"})

Phase: TypeAlias = Literal["", "choosing iterations", "validating", "fitting", "final fit"]


class TrainingCancelled(Exception):
    """Someone asked to stop."""


class TrainingProgress(msgspec.Struct, frozen=True):
    """Where training is. `step` counts from 1 and `percentage`, up to 99, never falls.

    `fold` and `iteration` count from 1 while they run, else they are 0; the last fit, on all rows, is fold 0. `phase`
    says what iterations are for; with each they begin anew. "choosing iterations" of boosting and "validating" of
    logistic regression fit a fold without its hold-out, which their `validation_…` metrics are of. "fitting", on all
    of the fold, and the "final fit" have `train_…` metrics only.

    `eta_seconds`, of the iterations to come at the pace of those that were, is None until there is a pace.
    `step_seconds`: how long the steps that are over took, without loading and saving, which are done by whoever asked
    for the training. `rows`: what can be trained on; 0 until it is known.
    """

    step: int
    percentage: float
    eta_seconds: float | None = None
    rows: int = 0
    fold: int = 0
    folds: int = 0
    phase: Phase = ""
    iteration: int = 0
    iterations: int = 0
    metrics: dict[str, float] = {}
    step_seconds: dict[str, float] = {}

    @property
    def step_name(self) -> str:
        return STEPS[self.step - 1]


class ProgressReporter:
    """Reports each step and each iteration, and raises `TrainingCancelled` there when `cancelled()`.

    Fits are planned as work, in rows times iterations: `plan` says how much each takes at most, in their order.
    """

    def __init__(
        self,
        report: Callable[[TrainingProgress], None],
        cancelled: Callable[[], bool],
        monotonic: Callable[[], float],
    ) -> None:
        self._report = report
        self._cancelled = cancelled
        self._monotonic = monotonic
        self._step = 0
        self._step_began = monotonic()
        self._step_seconds: dict[str, float] = {}
        self._rows = 0
        self._planned: list[int] = []
        self._planned_before: list[int] = []  # the work of the fits before each, and of all
        self._finished = 0  # fits
        self._done_before = 0  # work that finished fits really took
        self._done = 0  # work of the fit that runs
        self._expected: float | None = None  # of it, when it is known

    def begin(self, step: int, *, rows: int | None = None, metrics: Mapping[str, float] | None = None) -> None:
        """The step before is over, this one runs."""
        self._end_step()
        self._step = step
        self._rows = self._rows if rows is None else rows
        eta_seconds = 0.0 if step > _TRAINING else None
        self._say(_BEGINS_AT[step - 1], eta_seconds=eta_seconds, metrics=dict(metrics or {}))

    def end(self, metrics: Mapping[str, float]) -> None:
        """The last step is over."""
        self._end_step()
        self._say(_ENDS_AT, eta_seconds=0.0, metrics=dict(metrics))

    def plan(self, work: Sequence[int]) -> None:
        self._planned = list(work)
        self._planned_before = list(accumulate(work, initial=0))

    def expect(self, work: int) -> None:
        """The fit that runs takes so much more, and no less."""
        self._expected = self._done + work

    def iterated(
        self,
        *,
        rows: int,
        fold: int,
        folds: int,
        phase: Phase,
        iteration: int,
        iterations: int,
        metrics: Mapping[str, float],
    ) -> None:
        """One more iteration over so many rows, of the fit that runs."""
        self._done += rows
        planned = self._planned[self._finished]
        before, total = self._planned_before[self._finished], self._planned_before[-1]
        begins, ends = _BEGINS_AT[_TRAINING - 1], _BEGINS_AT[_TRAINING]
        self._say(
            begins + (ends - begins) * (before + min(self._done, planned)) / total,
            eta_seconds=self._eta_seconds(),
            fold=fold,
            folds=folds,
            phase=phase,
            iteration=iteration,
            iterations=iterations,
            metrics=dict(metrics),
        )

    def fit_finished(self) -> None:
        self._done_before += self._done
        self._done = 0
        self._expected = None
        self._finished += 1

    def _eta_seconds(self) -> float:
        """Fits to come are expected to stop as early, by their plan, as the finished ones did."""
        elapsed = self._monotonic() - self._step_began
        planned_before = self._planned_before[self._finished]
        share = self._done_before / planned_before if planned_before else 1.0
        expected = self._planned[self._finished] * share if self._expected is None else self._expected
        of_this = max(0.0, expected - self._done)
        to_come = (self._planned_before[-1] - self._planned_before[self._finished + 1]) * share
        return elapsed / (self._done_before + self._done) * (of_this + to_come)

    def _end_step(self) -> None:
        now = self._monotonic()
        if self._step and (name := STEPS[self._step - 1]) not in _TIMED_ELSEWHERE:
            self._step_seconds[name] = now - self._step_began
        self._step_began = now

    def _say(
        self,
        percentage: float,
        *,
        eta_seconds: float | None,
        metrics: dict[str, float],
        fold: int = 0,
        folds: int = 0,
        phase: Phase = "",
        iteration: int = 0,
        iterations: int = 0,
    ) -> None:
        if self._cancelled():
            raise TrainingCancelled
        self._report(
            TrainingProgress(
                step=self._step,
                percentage=percentage,
                eta_seconds=eta_seconds,
                rows=self._rows,
                fold=fold,
                folds=folds,
                phase=phase,
                iteration=iteration,
                iterations=iterations,
                metrics=metrics,
                step_seconds=dict(self._step_seconds),
            )
        )
