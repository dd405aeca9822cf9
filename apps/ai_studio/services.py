"""What may be done with models and their jobs. Synchronous; call it from a thread.

Who may see what: `access`. Deployments and the marketplace have files of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from django.db import models as orm
from django.db import transaction
from django.utils import timezone

from apps.ai_studio import models
from apps.ai_studio.access import models_of
from apps.ai_studio.jobs.dispatch import dispatch
from apps.ai_studio.jobs.kinds import kind_of
from apps.ai_studio.marketplace import may_delete
from engines.backtest.spec import InvalidSpec as InvalidBacktestSpec
from engines.backtest.spec import spec_from as backtest_spec_from
from engines.learning.spec import InvalidSpec, spec_from
from engines.market.quotes import DAY_SECONDS
from realtime.errors import CommandFailed

MAX_MODELS = 100  # per user
MAX_WAITING_JOBS = 10  # per user, of those asked for by hand


# Models


@transaction.atomic
def save_model(owner: Any, model: models.Model | None, changes: Mapping[str, Any]) -> models.Model:
    """Make a model, or change one. `changes`: fields of `Model`, checked here where they hang together. Jobs that are
    scheduled already are dropped when the schedule changes. Raises `CommandFailed`: "invalid_model", "name_taken",
    "too_many"."""
    type(owner).objects.select_for_update().get(pk=owner.pk)  # two requests at once see each other's models
    if model is None:
        if models_of(str(owner.pk)).count() >= MAX_MODELS:
            raise CommandFailed("too_many", f"you have {MAX_MODELS} models; delete one first")
        model = models.Model(owner=owner)
    before = model.rerun_seconds
    for name, value in changes.items():
        setattr(model, name, value)
    _check(model)
    named_alike = models_of(str(owner.pk)).filter(name=model.name).exclude(pk=model.pk)
    if named_alike.exists():
        raise CommandFailed("name_taken", f"you have a model named {model.name!r} already")
    # Only what was changed: the engines count and train on the same row.
    model.save(update_fields=None if model._state.adding else list(changes))  # noqa: SLF001 - Django's own
    if model.rerun_seconds != before:
        _drop_scheduled(model)
    return model


def _check(model: models.Model) -> None:
    twice = sorted({symbol for symbol in model.symbols if model.symbols.count(symbol) > 1})
    if twice:
        raise CommandFailed("invalid_model", f"symbols: {', '.join(twice)[:80]} is named twice")
    shipped = model.data_source == models.DataSource.SHIPPED
    if shipped and model.bar_seconds != DAY_SECONDS:
        raise CommandFailed(
            "invalid_model",
            f"bar_seconds is {model.bar_seconds}, but the shipped bars are daily: it must be {DAY_SECONDS}",
        )
    try:
        spec_from(model.training)
    except InvalidSpec as error:
        raise CommandFailed("invalid_model", f"training: {error}") from None


def _drop_scheduled(model: models.Model) -> None:
    """The jobs that wait by schedule; a new schedule makes new ones."""
    for jobs in (model.training_jobs, model.backtests):
        jobs.filter(status=models.JobStatus.PENDING).exclude(not_before=None).delete()


@transaction.atomic
def delete_model(model: models.Model) -> None:
    """Raises `CommandFailed` when it was ever leased, or while a job of it is unfinished."""
    models.Model.objects.select_for_update().get(pk=model.pk)
    may_delete(model)
    _drop_scheduled(model)
    for jobs in (model.training_jobs, model.backtests):
        if jobs.exclude(status__in=models.FINISHED).exists():
            raise CommandFailed("busy", "the model has an unfinished job; wait for it or cancel it")
    model.delete()


# Jobs


def start_training(model: models.Model, seed: int | None = None) -> models.TrainingJob:
    """Queue a training job. Its seed is the one that is given, else that of the model's own settings, else the number
    of the version to be. Raises `CommandFailed` while one that was asked for by hand is unfinished."""
    spec = spec_from({"seed": model.version + 1, **model.training, **({} if seed is None else {"seed": seed})})
    return _queue(models.TrainingJob(model=model, spec=msgspec.to_builtins(spec), seed=spec.seed))


def start_backtest(model: models.Model, spec: Mapping[str, Any] | None = None) -> models.Backtest:
    """Queue a backtest; `spec` as `BacktestSpec`, its symbols the model's when left out, its version the latest. Raises
    `CommandFailed` while one that was asked for by hand is unfinished, and for a spec that cannot be."""
    try:
        checked = backtest_spec_from({"symbols": model.symbols, **(spec or {})})
    except InvalidBacktestSpec as error:
        raise CommandFailed("invalid_backtest", str(error)) from None
    if checked.strategy == "model":
        versions = model.artifacts.order_by("-version").values_list("version", flat=True)
        version = versions.first() if checked.model_version is None else checked.model_version
        if version is None:
            raise CommandFailed("not_trained", "the model has not been trained: train it, or backtest another strategy")
        if not versions.filter(version=version).exists():
            raise CommandFailed("no_such_version", f"the model has no version {version}")
        checked = msgspec.structs.replace(checked, model_version=version)
    return _queue(models.Backtest(model=model, spec=msgspec.to_builtins(checked), seed=checked.seed))


@transaction.atomic
def _queue(job: Any) -> Any:
    models.Model.objects.select_for_update().get(pk=job.model_id)  # two requests at once do not both pass
    _refuse_second(type(job).objects.filter(model_id=job.model_id))
    owner = job.model.owner_id
    waiting = sum(
        kind.objects.filter(model__owner_id=owner, not_before=None).exclude(status__in=models.FINISHED).count()
        for kind in (models.TrainingJob, models.Backtest)
    )
    if waiting >= MAX_WAITING_JOBS:
        raise CommandFailed("too_many_jobs", f"you have {waiting} unfinished jobs; wait for one or cancel it")
    job.save()
    dispatch(job)
    return job


def _refuse_second(jobs: orm.QuerySet[Any]) -> None:
    if jobs.filter(not_before=None).exclude(status__in=models.FINISHED).exists():
        raise CommandFailed(
            "already_running", "this model has an unfinished job of this kind; wait for it or cancel it"
        )


def cancel(job: models.TrainingJob | models.Backtest) -> None:
    """Ask a job to stop; one that has not begun is cancelled at once. Raises `CommandFailed` for a finished one."""
    of_its_kind = type(job).objects.filter(pk=job.pk)
    with transaction.atomic():
        waiting = of_its_kind.filter(status=models.JobStatus.PENDING)
        if waiting.update(status=models.JobStatus.CANCELLED, finished_at=timezone.now()):
            kind_of(job).notify_cancelled(job)
            return
    if not of_its_kind.filter(status=models.JobStatus.RUNNING).update(cancel_requested=True):
        raise CommandFailed("not_running", "the job has already ended")


def cancel_backtest_of(model_id: str) -> None:
    """Cancel the model's unfinished backtest: the running one first. Raises `CommandFailed` without one."""
    unfinished = models.Backtest.objects.filter(model_id=model_id).exclude(status__in=models.FINISHED)
    job = unfinished.filter(status=models.JobStatus.RUNNING).first() or unfinished.first()
    if job is None:
        raise CommandFailed("not_running", "this model has no backtest to cancel")
    cancel(job)
