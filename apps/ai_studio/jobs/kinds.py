"""The two kinds of jobs: what each asks of a computing process, and what it tells those who watch."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

import msgspec

from apps.ai_studio import bar_store, deployments, models, payloads, present, websocket_utils
from engines.backtest import spec as backtest_specs
from engines.jobs.work import (
    BacktestDone,
    BacktestReport,
    BacktestWork,
    Outcome,
    Report,
    TrainingDone,
    TrainingReport,
    TrainingWork,
    Work,
)
from engines.learning import spec as training_specs
from engines.learning.progress import STEPS
from engines.market.history import pack

Progress = dict[str, Any]


class Unworkable(ValueError):
    """A job that cannot be begun; the message is for the user."""


class Kind(ABC):
    """`rows` is the table, `task` the name of its Celery task; `one_per_model`: a model's jobs of this kind run one
    after the other."""

    rows: ClassVar[type[Any]]
    name: ClassVar[str]
    task: ClassVar[str]
    one_per_model: ClassVar[bool]
    first_progress: ClassVar[Progress]

    @abstractmethod
    def work(self, job: Any, look: Callable[[], None]) -> Work:
        """What to compute; `look` is called between steps that take a while, and may raise. Raises `Unworkable`."""

    @abstractmethod
    def progress(self, report: Report) -> Progress:
        """What is kept of a report in `job.progress`: fields of the payload, as JSON values."""

    @abstractmethod
    def complete(self, job: Any, outcome: Outcome) -> None:
        """Keep what came out and tell of it; within the transaction that completes the job. Sets `job.result`."""

    @abstractmethod
    def notify_progress(self, job: Any, new_trades: list[payloads.BacktestTrade]) -> None:
        """Publish `job.progress`."""

    @abstractmethod
    def notify_failed(self, job: Any) -> None:
        """Publish `job.error`."""

    @abstractmethod
    def notify_cancelled(self, job: Any) -> None: ...

    def new_trades(self, report: Report) -> list[payloads.BacktestTrade]:  # noqa: ARG002 - most have none
        """The trades of a report, ready to be sent."""
        return []


class Training(Kind):
    rows = models.TrainingJob
    name = "training"
    task = "ai_studio.run_training"
    one_per_model = False
    first_progress: ClassVar[Progress] = {
        "progress_percentage": 0.0,
        "current_step": STEPS[0],
        "step": 1,
        "total_steps": len(STEPS),
    }

    def work(self, job: models.TrainingJob, look: Callable[[], None]) -> TrainingWork:
        try:
            spec = training_specs.spec_from(job.spec)
        except training_specs.InvalidSpec as error:
            raise Unworkable(f"the training's settings cannot be used: {error}") from error
        return TrainingWork(_history(job.model, look), spec, job.model.bar_seconds)

    def progress(self, report: Report) -> Progress:
        assert isinstance(report, TrainingReport)  # noqa: S101 - the work decides the report
        at = report.progress
        kept = {
            "progress_percentage": _percentage(at.percentage, 1),
            "current_step": STEPS[at.step - 1],
            "total_steps": len(STEPS),
            "step": at.step,
            "eta_minutes": None if at.eta_seconds is None else round(at.eta_seconds / 60, 3),
            "rows": at.rows,
            "memory_mb": report.memory_mb,
            "metrics": _finite(at.metrics),
            "step_seconds": _finite(at.step_seconds),
        }
        if at.fold:  # the last fit, on all rows, is none
            kept |= {"fold": at.fold, "folds": at.folds}
        if at.phase:
            kept["phase"] = at.phase
        if at.iterations:
            kept |= {"iteration": at.iteration, "iterations": at.iterations}
        return kept

    def complete(self, job: models.TrainingJob, outcome: Outcome) -> None:
        assert isinstance(outcome, TrainingDone)  # noqa: S101 - the work decides the outcome
        model = models.Model.objects.select_for_update().get(pk=job.model_id)
        model.version += 1
        model.save(update_fields=["version"])
        artifact = models.Artifact.objects.create(
            model=model,
            version=model.version,
            digest=outcome.digest,
            content=outcome.artifact,
            metrics=outcome.metrics,
            baseline=outcome.baseline,
            rows=outcome.rows,
            data_from=datetime.fromtimestamp(outcome.data_from, UTC),
            data_until=datetime.fromtimestamp(outcome.data_until, UTC),
        )
        job.model = model
        result = present.training_result(artifact)
        job.result = msgspec.to_builtins(result)
        if model.auto_deploy:
            deployments.deploy(model, model.version)
        websocket_utils.notify_training_completed(job.id, result, idempotency_key=f"{job.id}:completed")

    def notify_progress(
        self,
        job: models.TrainingJob,
        new_trades: list[payloads.BacktestTrade],  # noqa: ARG002 - a training has none
    ) -> None:
        websocket_utils.notify_training_progress(job.id, present.training_progress(job))

    def notify_failed(self, job: models.TrainingJob) -> None:
        websocket_utils.notify_training_failed(job.id, job.error, idempotency_key=f"{job.id}:failed")

    def notify_cancelled(self, job: models.TrainingJob) -> None:
        websocket_utils.notify_training_cancelled(job.id, idempotency_key=f"{job.id}:cancelled")


class Backtesting(Kind):
    rows = models.Backtest
    name = "backtest"
    task = "ai_studio.run_backtest"
    one_per_model = True  # they share a stream
    first_progress: ClassVar[Progress] = {"progress_percentage": 0.0}

    def work(self, job: models.Backtest, look: Callable[[], None]) -> BacktestWork:
        """A job that asks for no version of its model gets the latest; its spec says so from here on."""
        try:
            spec = backtest_specs.spec_from(job.spec)
        except backtest_specs.InvalidSpec as error:
            raise Unworkable(f"the backtest's settings cannot be used: {error}") from error
        content, digest = None, ""
        if spec.strategy == "model":
            artifact = _artifact(job.model, spec.model_version)
            job.spec = {**job.spec, "model_version": artifact.version}
            content, digest = bytes(artifact.content), artifact.digest
        return BacktestWork(_history(job.model, look), spec, content, digest)

    def progress(self, report: Report) -> Progress:
        assert isinstance(report, BacktestReport)  # noqa: S101 - the work decides the report
        at = report.progress
        return {
            "progress_percentage": _percentage(at.percentage, 2),
            "simulated_date": at.day.isoformat(),
            "equity": round(at.equity, 2),
            "drawdown": round(max(0.0, at.drawdown), 6),
            "trades": at.trades,
        }

    def complete(self, job: models.Backtest, outcome: Outcome) -> None:
        assert isinstance(outcome, BacktestDone)  # noqa: S101 - the work decides the outcome
        version = job.spec.get("model_version") if job.spec.get("strategy") == "model" else None
        results = present.backtest_results(outcome.result, backtest_id=str(job.id), model_version=version)
        job.result = msgspec.to_builtins(results)
        websocket_utils.notify_backtest_completed(job.model_id, results, idempotency_key=f"{job.id}:completed")

    def notify_progress(self, job: models.Backtest, new_trades: list[payloads.BacktestTrade]) -> None:
        progress = present.backtest_progress(job)
        if new_trades:
            progress = msgspec.structs.replace(progress, new_trades=new_trades)
        websocket_utils.notify_backtest_progress(job.model_id, progress)

    def notify_failed(self, job: models.Backtest) -> None:
        websocket_utils.notify_backtest_failed(
            job.model_id, job.error, backtest_id=str(job.id), idempotency_key=f"{job.id}:failed"
        )

    def notify_cancelled(self, job: models.Backtest) -> None:
        websocket_utils.notify_backtest_cancelled(
            job.model_id, backtest_id=str(job.id), idempotency_key=f"{job.id}:cancelled"
        )

    def new_trades(self, report: Report) -> list[payloads.BacktestTrade]:
        assert isinstance(report, BacktestReport)  # noqa: S101 - as in `progress`
        return present.backtest_trades(report.progress.new_trades)


TRAINING, BACKTEST = Training(), Backtesting()
KINDS: tuple[Kind, ...] = (TRAINING, BACKTEST)


def kind_of(job: models.Job) -> Kind:
    """What to do with a row."""
    return TRAINING if isinstance(job, models.TrainingJob) else BACKTEST


def _artifact(model: models.Model, version: int | None) -> models.Artifact:
    """A version of a model, by default the latest. Raises `Unworkable`."""
    artifacts = model.artifacts.order_by("-version")
    found = artifacts.first() if version is None else artifacts.filter(version=version).first()
    if found is not None:
        return found
    if version is None:
        raise Unworkable("a backtest of the model's own predictions needs a trained model; train it first")
    raise Unworkable(f"version {version} of the model is not kept any more; backtest a newer one")


def _history(model: models.Model, look: Callable[[], None]) -> bytes:
    """The model's bars. Raises `Unworkable` when one of its symbols has none, and what `look` raises."""
    history = bar_store.bars_for(model, on_symbol=look)
    look()
    missing = sorted(set(model.symbols) - set(history))
    if missing:
        raise Unworkable(f"there are no bars of {', '.join(missing)[:100]} among {model.get_data_source_display()}")
    return pack(history)


def _percentage(value: float, digits: int) -> float:
    return round(min(100.0, max(0.0, value)), digits)


def _finite(values: Mapping[str, float]) -> dict[str, float]:
    """JSON has no NaN."""
    return {name: round(value, 6) for name, value in values.items() if math.isfinite(value)}
