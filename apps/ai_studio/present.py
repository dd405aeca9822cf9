"""From rows of the database to the payloads of messages."""

from __future__ import annotations

from msgspec import UNSET

from apps.ai_studio import messages, models


def training_progress(job: models.TrainingJob) -> messages.TrainingProgress:
    known = {"progress_percentage": 0.0, "current_step": "Waiting", "total_steps": 0, **job.progress}
    return messages.TrainingProgress(**known, status=job.status)  # type: ignore[arg-type]


def backtest_progress(job: models.Backtest | None) -> messages.BacktestProgress:
    if job is None:
        return messages.BacktestProgress(progress_percentage=0.0)
    return messages.BacktestProgress(**{"progress_percentage": 0.0, **job.progress}, status=job.status)  # type: ignore[arg-type]


def model_status(model: models.Model) -> messages.ModelStatus:
    measured = model.monitoring
    return messages.ModelStatus(
        model_id=str(model.id),
        name=model.name,
        deployed=model.deployed,
        version=model.version,
        outcomes=measured.get("outcomes", 0),
        accuracy=measured.get("accuracy"),
        log_loss=measured.get("log_loss"),
    )


def job_brief(job: models.TrainingJob | models.Backtest) -> messages.JobBrief:
    return messages.JobBrief(
        id=str(job.id),
        kind="training" if isinstance(job, models.TrainingJob) else "backtest",
        model_name=job.model.name,
        status=job.status,  # type: ignore[arg-type]
        progress_percentage=job.progress.get("progress_percentage", 0.0),
    )


def lease(row: models.Lease) -> messages.Lease:
    return messages.Lease(
        id=str(row.id),
        model_id=str(row.listing.model_id),
        title=row.listing.title,
        price=float(row.price),
        starts_at=row.starts_at,
        ends_at=row.ends_at,
    )


def review(row: models.Review) -> messages.Review:
    return messages.Review(
        id=str(row.id),
        model_id=str(row.listing.model_id),
        rating=row.rating,
        text=row.text,
        created_at=row.created_at,
    )


def listing(row: models.Listing) -> messages.Listing:
    return messages.Listing(
        id=str(row.id),
        model_id=str(row.model_id),
        title=row.title,
        price_per_month=float(row.price_per_month),
        published_at=row.published_at,
    )


def prediction(row: models.Prediction) -> messages.Prediction:
    return messages.Prediction(
        id=str(row.id),
        symbol=row.symbol,
        direction=row.direction,  # type: ignore[arg-type]
        probability=row.probability,
        price=row.price,
        horizon_bars=row.horizon_bars,
        model_version=row.model_version,
        created_at=row.created_at,
        outcome_price=UNSET if row.outcome_price is None else row.outcome_price,
        correct=UNSET if row.correct is None else row.correct,
    )
