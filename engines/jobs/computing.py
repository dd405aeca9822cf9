"""What a computing process does with its work."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from engines.jobs.work import (
    BacktestDone,
    BacktestReport,
    BacktestWork,
    Report,
    TrainingDone,
    TrainingReport,
    TrainingWork,
    Work,
)
from engines.learning.spec import LabelSpec
from engines.market.history import Column, History, unpack

MAX_ARTIFACT_BYTES = 64_000_000  # a server reads it whole to predict with it

ReportTo = Callable[[Report], None]
ShouldStop = Callable[[], bool]


class Refused(ValueError):
    """The work cannot be done; the message is for the user."""


class Stopped(Exception):
    """The work was cancelled."""


def compute(
    work: Work, report: ReportTo, cancelled: ShouldStop, memory_mb: Callable[[], float]
) -> TrainingDone | BacktestDone:
    """Train or backtest. Raises `Refused`, and `Stopped` once `cancelled`."""
    if isinstance(work, TrainingWork):
        return _train(work, report, cancelled, memory_mb)
    return _backtest(work, report, cancelled, memory_mb)


def _train(work: TrainingWork, report: ReportTo, cancelled: ShouldStop, memory_mb: Callable[[], float]) -> TrainingDone:
    from engines.learning import artifact, training  # noqa: PLC0415 - a second of imports that a backtest need not wait

    try:
        trained = training.train(
            unpack(work.history),
            work.spec,
            bar_seconds=work.bar_seconds,
            report=lambda progress: report(TrainingReport(progress, memory_mb())),
            cancelled=cancelled,
            monotonic=time.monotonic,
        )
    except training.TrainingFailed as error:
        raise Refused(str(error)) from error
    except training.TrainingCancelled:
        raise Stopped from None
    content = artifact.encode(trained)
    if len(content) > MAX_ARTIFACT_BYTES:
        raise Refused(
            f"the trained model is {len(content) / 1e6:,.0f} MB, at most {MAX_ARTIFACT_BYTES / 1e6:,.0f} MB are kept: "
            "fewer iterations, leaves or folds make it smaller"
        )
    return TrainingDone(
        artifact=content,
        digest=artifact.digest_of(content),
        metrics=trained.metrics,
        baseline=trained.baseline,
        rows=trained.rows,
        data_from=trained.data_from,
        data_until=trained.data_until,
    )


def _backtest(
    work: BacktestWork, report: ReportTo, cancelled: ShouldStop, memory_mb: Callable[[], float]
) -> BacktestDone:
    from engines.backtest import run  # noqa: PLC0415 - as above

    history = unpack(work.history)
    probabilities, label = _predictions(work, history, cancelled)
    try:
        result = run.run_backtest(
            history,
            work.spec,
            report=lambda progress: report(BacktestReport(progress, memory_mb())),
            cancelled=cancelled,
            probabilities=probabilities,
            label=label,
        )
    except run.BacktestFailed as error:
        raise Refused(str(error)) from error
    except run.BacktestCancelled:
        raise Stopped from None
    return BacktestDone(result)


def _predictions(
    work: BacktestWork, history: History, cancelled: ShouldStop
) -> tuple[Mapping[str, Column] | None, LabelSpec | None]:
    """What the model would have said at each bar, by what was trained before it; and of what."""
    if work.spec.strategy != "model":
        return None, None
    if work.artifact is None:
        raise Refused("a backtest of the model's own predictions needs a trained model; train the model first")
    from engines.learning import artifact  # noqa: PLC0415 - as above

    said: dict[str, Column] = {}
    try:
        trained = artifact.decode(work.artifact, work.digest)
        walk = artifact.WalkForward(trained)
    except artifact.ArtifactDamaged as error:
        raise Refused(f"the trained model cannot be read ({error}); train it again") from error
    wanted = set(work.spec.symbols or trained.symbols) & set(trained.symbols)
    for symbol in sorted(wanted & set(history)):
        if cancelled():
            raise Stopped
        try:
            said[symbol] = walk.probabilities(history[symbol])
        except ValueError as error:
            raise Refused(str(error)) from error
    return said, trained.spec.label
