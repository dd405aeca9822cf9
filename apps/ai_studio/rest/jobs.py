"""`/api/ai/training-jobs/` and `/api/ai/backtests/`: work that takes a while."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from ninja import Body, Router, Status
from ninja.pagination import paginate

from apps.ai_studio import access, models, services
from apps.ai_studio.rest.models import user_id
from apps.ai_studio.rest.schemas import BacktestOut, BacktestWish, JobOut, TrainingIn, TrainingJobOut
from apps.streaming.paging import Pages
from apps.streaming.problems import REFUSALS

router = Router()


@router.post("/models/{model_id}/training-jobs/", response={201: JobOut, **REFUSALS})
def start_training(request: HttpRequest, model_id: str, body: TrainingIn | None = None) -> Any:
    """Train one of your models; watch it at `/ws/ai-studio/training/{id}/`."""
    model = access.owned_model(user_id(request), model_id)
    return Status(201, services.start_training(model, body.seed if body else None))


@router.get("/training-jobs/", response={200: list[JobOut], **REFUSALS})
@paginate(Pages)
def list_training_jobs(request: HttpRequest, model_id: str | None = None) -> Any:
    """Your training jobs, the latest first."""
    return access.jobs_of(models.TrainingJob, user_id(request), model_id).defer("result")


@router.get("/training-jobs/{job_id}/", response={200: TrainingJobOut, **REFUSALS})
def get_training_job(request: HttpRequest, job_id: str) -> Any:
    """One of your training jobs, with what came of it."""
    return access.owned_training_job(user_id(request), job_id)


@router.post("/training-jobs/{job_id}/cancel/", response={202: JobOut, **REFUSALS})
def cancel_training(request: HttpRequest, job_id: str) -> Any:
    """Stop it; its stream says when it has stopped, within two seconds."""
    job = access.owned_training_job(user_id(request), job_id)
    services.cancel(job)
    job.refresh_from_db()
    return Status(202, job)


@router.post("/models/{model_id}/backtests/", response={201: JobOut, **REFUSALS})
def start_backtest(request: HttpRequest, model_id: str, body: BacktestWish | None = Body(None)) -> Any:
    """Backtest one of your models, or a strategy beside it; watch it at `/ws/ai-studio/backtest/{model_id}/`."""
    return Status(201, services.start_backtest(access.owned_model(user_id(request), model_id), body))


@router.get("/backtests/", response={200: list[JobOut], **REFUSALS})
@paginate(Pages)
def list_backtests(request: HttpRequest, model_id: str | None = None) -> Any:
    """Your backtests, the latest first."""
    return access.jobs_of(models.Backtest, user_id(request), model_id).defer("result")


@router.get("/backtests/{backtest_id}/", response={200: BacktestOut, **REFUSALS})
def get_backtest(request: HttpRequest, backtest_id: str) -> Any:
    """One of your backtests, with its results."""
    return access.owned_backtest(user_id(request), backtest_id)


@router.post("/backtests/{backtest_id}/cancel/", response={202: JobOut, **REFUSALS})
def cancel_backtest(request: HttpRequest, backtest_id: str) -> Any:
    """Stop it; its stream says when it has stopped, within two seconds."""
    job = access.owned_backtest(user_id(request), backtest_id)
    services.cancel(job)
    job.refresh_from_db()
    return Status(202, job)
