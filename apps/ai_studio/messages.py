"""The messages and commands of the AI Studio streams. Probabilities are 0 to 1, percentages 0 to 100."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from realtime.messages import Command, DataMessage, Reply

Number = Annotated[float, Meta(ge=-1e15, le=1e15)]
Percentage = Annotated[float, Meta(ge=0, le=100)]
Probability = Annotated[float, Meta(ge=0, le=1)]
Money = Annotated[float, Meta(ge=0, le=1e12)]
Count = Annotated[int, Meta(ge=0)]
Id = Annotated[str, Meta(min_length=1, max_length=64)]
Text = Annotated[str, Meta(max_length=300)]
Symbol = Annotated[str, Meta(min_length=1, max_length=40)]

JobStatus = Literal["PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED"]
Severity = Literal["INFO", "WARNING", "CRITICAL"]
Health = Literal["ok", "degraded", "down"]


class Payload(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of what messages carry."""


class TrainingProgress(Payload, frozen=True, kw_only=True):
    """Where a training job is. `step` counts from 1 to `total_steps`."""

    progress_percentage: Percentage
    current_step: Text
    total_steps: Count
    step: Count | UnsetType = UNSET
    eta_minutes: Annotated[float, Meta(ge=0, le=1000000000.0)] | UnsetType | None = UNSET
    metrics: dict[str, Number] | UnsetType = UNSET
    status: JobStatus | UnsetType = UNSET


class TrainingResult(Payload, frozen=True, kw_only=True):
    """What came of a training job; metrics are out of sample."""

    model_id: Id
    metrics: dict[str, Number]
    version: Count | UnsetType = UNSET
    rows: Count | UnsetType = UNSET


class ModelStatus(Payload, frozen=True, kw_only=True):
    """A model and how it does live; `accuracy` and `log_loss` null: no outcome is known yet."""

    model_id: Id
    name: Text
    deployed: bool
    version: Count
    outcomes: Count
    accuracy: Probability | None
    log_loss: Number | None


class ModelUpdate(Payload, frozen=True, kw_only=True):
    """A model's performance over its latest outcomes."""

    model_id: Id
    outcomes: Count
    accuracy: Probability | None
    log_loss: Number | None
    predictions_per_minute: Number | UnsetType = UNSET
    metrics: dict[str, Number] | UnsetType = UNSET


class PerformanceAlert(Payload, frozen=True, kw_only=True):
    """A model does worse than it may: `value` against `limit`."""

    model_id: Id
    metric: Text
    value: Number
    limit: Number
    message: Text


class JobBrief(Payload, frozen=True, kw_only=True):
    """A job in a list."""

    id: Id
    kind: Literal["training", "backtest"]
    model_name: Text
    status: JobStatus
    progress_percentage: Percentage


class Dashboard(Payload, frozen=True, kw_only=True):
    """A user's AI Studio at a glance."""

    model_count: Count
    deployed_count: Count
    listing_count: Count
    running_jobs: Sequence[JobBrief]
    active_leases: Count
    predictions_today: Count
    accuracy: Probability | None


class DashboardUpdate(Payload, frozen=True, kw_only=True):
    """Those parts of the dashboard that changed."""

    model_count: Count | UnsetType = UNSET
    deployed_count: Count | UnsetType = UNSET
    listing_count: Count | UnsetType = UNSET
    running_jobs: Sequence[JobBrief] | UnsetType = UNSET
    active_leases: Count | UnsetType = UNSET
    predictions_today: Count | UnsetType = UNSET
    accuracy: Probability | UnsetType | None = UNSET


class Lease(Payload, frozen=True, kw_only=True):
    """A lease of one of the user's models."""

    id: Id
    model_id: Id
    title: Text
    price: Money
    starts_at: datetime
    ends_at: datetime


class Earnings(Payload, frozen=True, kw_only=True):
    """What the running leases of a user's models have earned so far, by time elapsed, and are worth in all."""

    accrued: Money
    contracted: Money
    active_leases: Count


class Review(Payload, frozen=True, kw_only=True):
    """A lessee's review of one of the user's models."""

    id: Id
    model_id: Id
    rating: Annotated[int, Meta(ge=1, le=5)]
    text: Text
    created_at: datetime | UnsetType = UNSET


class Listing(Payload, frozen=True, kw_only=True):
    """A model that can be leased."""

    id: Id
    model_id: Id
    title: Text
    price_per_month: Money
    published_at: datetime | UnsetType = UNSET


class Prediction(Payload, frozen=True, kw_only=True):
    """`probability` is that of `direction`; `outcome_price` and `correct` once the horizon has ended."""

    id: Id
    symbol: Symbol
    direction: Literal["UP", "DOWN"]
    probability: Probability
    price: Number
    horizon_bars: Count | UnsetType = UNSET
    model_version: Count | UnsetType = UNSET
    created_at: datetime | UnsetType = UNSET
    outcome_price: Number | UnsetType = UNSET
    correct: bool | UnsetType = UNSET


class BacktestProgress(Payload, frozen=True, kw_only=True):
    """Where a backtest is."""

    progress_percentage: Percentage
    status: JobStatus | UnsetType = UNSET
    simulated_date: date | UnsetType = UNSET
    equity: Number | UnsetType = UNSET
    drawdown: Probability | UnsetType = UNSET
    trades: Count | UnsetType = UNSET


class BacktestResults(Payload, frozen=True, kw_only=True):
    """What came of a backtest of `strategy`. Ratios per year; `equity_curve` thinned to at most 250 points."""

    start: date
    end: date
    final_equity: Number
    total_return: Number
    cagr: Number
    sharpe: Number
    max_drawdown: Probability
    trades: Count
    win_rate: Probability | None
    strategy: Text | UnsetType = UNSET
    equity_curve: Sequence[Number] | UnsetType = UNSET


class SystemStatus(Payload, frozen=True, kw_only=True):
    """How the system is, and since when it is degraded. `feed_rejected`: bad quotes so far, by what was wrong with
    them. `host` and `connections` for staff only."""

    status: Health
    broker: Text
    redis: Text
    database: Text
    degraded_since: datetime | UnsetType = UNSET
    feed: Text | UnsetType = UNSET
    feed_age_seconds: Number | UnsetType | None = UNSET
    feed_rejected: dict[str, Count] | UnsetType = UNSET
    host: dict[str, Number] | UnsetType = UNSET
    connections: dict[str, Count] | UnsetType = UNSET


class Worker(Payload, frozen=True, kw_only=True):
    """One worker; `job` for staff only."""

    name: Text
    busy: bool
    done: Count
    failed: Count
    queued: Count
    job: Text | UnsetType | None = UNSET


# Training


class TrainingProgressSnapshot(Reply, frozen=True, kw_only=True, tag="training_progress"):
    """Snapshot: where the job is."""

    progress: TrainingProgress


class TrainingUpdate(DataMessage, frozen=True, kw_only=True, tag="training_update"):
    """The job went on."""

    progress: TrainingProgress


class TrainingCompleted(DataMessage, frozen=True, kw_only=True, tag="training_completed"):
    """The job is done."""

    result: TrainingResult


class TrainingFailed(DataMessage, frozen=True, kw_only=True, tag="training_failed"):
    """The job failed; `error` says why."""

    error: Text


class TrainingCancelled(DataMessage, frozen=True, kw_only=True, tag="training_cancelled"):
    """The job was cancelled."""


class RequestProgress(Command, frozen=True, tag="request_progress"):
    """Ask for the progress."""


class CancelTraining(Command, frozen=True, tag="cancel_training"):
    """Stop the job; `training_cancelled` follows when it has stopped."""


# Monitoring


class ModelStatusSnapshot(Reply, frozen=True, kw_only=True, tag="model_status"):
    """Snapshot."""

    status: ModelStatus


class ModelUpdateMessage(DataMessage, frozen=True, kw_only=True, tag="model_update"):
    """The model was measured again."""

    update: ModelUpdate


class PerformanceAlertMessage(DataMessage, frozen=True, kw_only=True, tag="performance_alert"):
    """The model got worse than it may."""

    alert: PerformanceAlert
    severity: Severity


class RequestStatus(Command, frozen=True, tag="request_status"):
    """Ask for the status."""


# Dashboard


class DashboardData(Reply, frozen=True, kw_only=True, tag="dashboard_data"):
    """Snapshot."""

    data: Dashboard


class DashboardUpdateMessage(DataMessage, frozen=True, kw_only=True, tag="dashboard_update"):
    """Something on the dashboard changed."""

    update: DashboardUpdate


class RequestDashboard(Command, frozen=True, tag="request_dashboard"):
    """Ask for `dashboard_data`."""


# Marketplace


class RecentNotifications(Reply, frozen=True, kw_only=True, tag="recent_notifications"):
    """Snapshot: the latest of each, newest first, and the earnings."""

    leases: Sequence[Lease]
    reviews: Sequence[Review]
    listings: Sequence[Listing]
    earnings: Earnings


class ModelLeased(DataMessage, frozen=True, kw_only=True, tag="model_leased"):
    """One of the user's models was leased."""

    lease: Lease


class EarningsUpdate(DataMessage, frozen=True, kw_only=True, tag="earnings_update"):
    """The user's earnings changed."""

    earnings: Earnings


class ModelReviewed(DataMessage, frozen=True, kw_only=True, tag="model_review"):
    """One of the user's models was reviewed."""

    review: Review


class ListingPublished(DataMessage, frozen=True, kw_only=True, tag="listing_published"):
    """Somebody offers a model."""

    listing: Listing


# Predictions


class RecentPredictions(Reply, frozen=True, kw_only=True, tag="recent_predictions"):
    """Snapshot, newest first."""

    predictions: Sequence[Prediction]
    count: int


class NewPrediction(DataMessage, frozen=True, kw_only=True, tag="new_prediction"):
    """The model predicted."""

    prediction: Prediction


class PredictionOutcome(DataMessage, frozen=True, kw_only=True, tag="prediction_outcome"):
    """A prediction's horizon has ended."""

    prediction: Prediction


# Backtest


class BacktestProgressMessage(DataMessage, frozen=True, kw_only=True, tag="backtest_progress"):
    """The backtest went on; also the snapshot."""

    progress: BacktestProgress


class BacktestCompleted(DataMessage, frozen=True, kw_only=True, tag="backtest_completed"):
    """The backtest is done."""

    results: BacktestResults


class BacktestFailed(DataMessage, frozen=True, kw_only=True, tag="backtest_failed"):
    """The backtest failed; `error` says why."""

    error: Text


class BacktestCancelled(DataMessage, frozen=True, kw_only=True, tag="backtest_cancelled"):
    """The backtest was cancelled."""


class CancelBacktest(Command, frozen=True, tag="cancel_backtest"):
    """Stop the backtest; `backtest_cancelled` follows when it has stopped."""


# System


class SystemStatusUpdate(DataMessage, frozen=True, kw_only=True, tag="system_status_update"):
    """How the system is; also the snapshot."""

    status: SystemStatus


class WorkerStatusUpdate(DataMessage, frozen=True, kw_only=True, tag="worker_status_update"):
    """How the workers are; also the snapshot."""

    workers: Sequence[Worker]
