"""Publish to the AI Studio streams: one function per message. Call them from a view, a task, a thread or a shell.

Each takes a dict, or the message's own Struct of `apps.ai_studio.payloads`; raises `InvalidMessage` (a `ValueError`)
when that does not fit; inside a transaction it publishes on commit. `idempotency_key`: the same key on the same
topic within an hour is published once. What a user must not miss (how a job ended, alerts, the marketplace) is durable:
it survives a process that dies right after its commit.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET

from apps.ai_studio import messages, payloads, topics
from apps.ai_studio.public_view import public_status, public_workers
from apps.streaming.publishing import ObjectId, UserId, notification, publish
from apps.streaming.validation import to_payload


@notification(messages.TrainingUpdate, topics.training)
def notify_training_progress(job_id: ObjectId, progress: Any, *, idempotency_key: str | None = None) -> None:
    """Send `training_update`."""
    publish(topics.training(job_id), messages.TrainingUpdate, progress=progress, idempotency_key=idempotency_key)


@notification(messages.TrainingCompleted, topics.training)
def notify_training_completed(job_id: ObjectId, result: Any, *, idempotency_key: str | None = None) -> None:
    """Send `training_completed`."""
    publish(
        topics.training(job_id),
        messages.TrainingCompleted,
        result=result,
        idempotency_key=idempotency_key,
        durable=True,
    )


@notification(messages.TrainingFailed, topics.training)
def notify_training_failed(job_id: ObjectId, error: str, *, idempotency_key: str | None = None) -> None:
    """Send `training_failed`."""
    publish(
        topics.training(job_id), messages.TrainingFailed, error=error, idempotency_key=idempotency_key, durable=True
    )


@notification(messages.TrainingCancelled, topics.training)
def notify_training_cancelled(job_id: ObjectId, *, idempotency_key: str | None = None) -> None:
    """Send `training_cancelled`."""
    publish(topics.training(job_id), messages.TrainingCancelled, idempotency_key=idempotency_key, durable=True)


@notification(messages.ModelUpdateMessage, topics.monitoring)
def notify_model_update(model_id: ObjectId, update: Any, *, idempotency_key: str | None = None) -> None:
    """Send `model_update`."""
    publish(topics.monitoring(model_id), messages.ModelUpdateMessage, update=update, idempotency_key=idempotency_key)


@notification(messages.PerformanceAlertMessage, topics.monitoring)
def notify_performance_alert(
    model_id: ObjectId, alert: Any, severity: str, *, idempotency_key: str | None = None
) -> None:
    """Send `performance_alert` with its severity: INFO, WARNING or CRITICAL."""
    publish(
        topics.monitoring(model_id),
        messages.PerformanceAlertMessage,
        alert=alert,
        severity=severity,
        idempotency_key=idempotency_key,
        durable=True,
    )


@notification(messages.DashboardUpdateMessage, topics.dashboard)
def notify_dashboard_update(user_id: UserId, update: Any, *, idempotency_key: str | None = None) -> None:
    """Send `dashboard_update`: the parts that changed. Each part is a key of its own, so that none is lost when a
    client catches up."""
    payload = to_payload(payloads.DashboardUpdate, update, "update")
    for name, value in msgspec.structs.asdict(payload).items():
        if value is not UNSET:
            publish(
                topics.dashboard(user_id),
                messages.DashboardUpdateMessage,
                key=name,
                update=payloads.DashboardUpdate(**{name: value}),
                idempotency_key=None if idempotency_key is None else f"{idempotency_key}:{name}",
            )


@notification(messages.ModelLeased, topics.marketplace)
def notify_model_leased(user_id: UserId, lease: Any, *, idempotency_key: str | None = None) -> None:
    """Send `model_leased` to the model's owner."""
    publish(
        topics.marketplace(user_id), messages.ModelLeased, lease=lease, idempotency_key=idempotency_key, durable=True
    )


@notification(messages.EarningsUpdate, topics.marketplace)
def notify_earnings_update(user_id: UserId, earnings: Any, *, idempotency_key: str | None = None) -> None:
    """Send `earnings_update`."""
    publish(
        topics.marketplace(user_id),
        messages.EarningsUpdate,
        earnings=earnings,
        idempotency_key=idempotency_key,
        durable=True,
    )


@notification(messages.ModelReviewed, topics.marketplace)
def notify_model_review(user_id: UserId, review: Any, *, idempotency_key: str | None = None) -> None:
    """Send `model_review` to the model's owner."""
    publish(
        topics.marketplace(user_id),
        messages.ModelReviewed,
        review=review,
        idempotency_key=idempotency_key,
        durable=True,
    )


@notification(messages.ListingPublished, topics.listings)
def notify_listing_published(listing: Any, *, idempotency_key: str | None = None) -> None:
    """Send `listing_published` to everyone on the marketplace."""
    publish(
        topics.listings(), messages.ListingPublished, listing=listing, idempotency_key=idempotency_key, durable=True
    )


@notification(messages.NewPrediction, topics.predictions)
def notify_new_prediction(model_id: ObjectId, prediction: Any, *, idempotency_key: str | None = None) -> None:
    """Send `new_prediction`."""
    publish(
        topics.predictions(model_id), messages.NewPrediction, prediction=prediction, idempotency_key=idempotency_key
    )


@notification(messages.PredictionOutcome, topics.predictions)
def notify_prediction_outcome(model_id: ObjectId, prediction: Any, *, idempotency_key: str | None = None) -> None:
    """Send `prediction_outcome`."""
    publish(
        topics.predictions(model_id),
        messages.PredictionOutcome,
        prediction=prediction,
        idempotency_key=idempotency_key,
    )


@notification(messages.BacktestProgressMessage, topics.backtest)
def notify_backtest_progress(model_id: ObjectId, progress: Any, *, idempotency_key: str | None = None) -> None:
    """Send `backtest_progress`."""
    publish(
        topics.backtest(model_id),
        messages.BacktestProgressMessage,
        progress=progress,
        idempotency_key=idempotency_key,
    )


@notification(messages.BacktestCompleted, topics.backtest)
def notify_backtest_completed(model_id: ObjectId, results: Any, *, idempotency_key: str | None = None) -> None:
    """Send `backtest_completed`."""
    publish(
        topics.backtest(model_id),
        messages.BacktestCompleted,
        results=results,
        idempotency_key=idempotency_key,
        durable=True,
    )


@notification(messages.BacktestFailed, topics.backtest)
def notify_backtest_failed(
    model_id: ObjectId, error: str, *, backtest_id: str | None = None, idempotency_key: str | None = None
) -> None:
    """Send `backtest_failed`."""
    publish(
        topics.backtest(model_id),
        messages.BacktestFailed,
        error=error,
        **_given(backtest_id=backtest_id),
        idempotency_key=idempotency_key,
        durable=True,
    )


@notification(messages.BacktestCancelled, topics.backtest)
def notify_backtest_cancelled(
    model_id: ObjectId, *, backtest_id: str | None = None, idempotency_key: str | None = None
) -> None:
    """Send `backtest_cancelled`."""
    publish(
        topics.backtest(model_id),
        messages.BacktestCancelled,
        **_given(backtest_id=backtest_id),
        idempotency_key=idempotency_key,
        durable=True,
    )


@notification(messages.SystemStatusUpdate, topics.system)
def notify_system_status(status: Any, *, idempotency_key: str | None = None) -> None:
    """Send `system_status_update` to everyone; host and connections reach staff only."""
    payload = to_payload(payloads.SystemStatus, status, "status")
    public = public_status(payload)
    for topic, seen in ((topics.system(), public), (topics.system_detail(), payload)):
        publish(
            topic,
            messages.SystemStatusUpdate,
            key="system_status_update",
            status=seen,
            idempotency_key=idempotency_key,
        )


@notification(messages.WorkerStatusUpdate, topics.system)
def notify_worker_status(workers: Any, *, idempotency_key: str | None = None) -> None:
    """Send `worker_status_update` to everyone; what each works on reaches staff only."""
    payload = to_payload(list[payloads.Worker], workers, "workers")
    public = public_workers(payload)
    for topic, seen in ((topics.system(), public), (topics.system_detail(), payload)):
        publish(
            topic,
            messages.WorkerStatusUpdate,
            key="worker_status_update",
            workers=seen,
            idempotency_key=idempotency_key,
        )


def _given(**fields: Any) -> dict[str, Any]:
    """Those of the fields that are there."""
    return {name: value for name, value in fields.items() if value is not None}
