"""The messages and commands of the AI Studio streams."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import UNSET, UnsetType

from apps.ai_studio import payloads
from realtime.messages import Command, DataMessage, Reply

# Training


class TrainingProgressSnapshot(Reply, frozen=True, kw_only=True, tag="training_progress"):
    """Snapshot: where the job is."""

    progress: payloads.TrainingProgress


class TrainingUpdate(DataMessage, frozen=True, kw_only=True, tag="training_update"):
    """The job went on."""

    progress: payloads.TrainingProgress


class TrainingCompleted(DataMessage, frozen=True, kw_only=True, tag="training_completed"):
    """The job is done."""

    result: payloads.TrainingResult


class TrainingFailed(DataMessage, frozen=True, kw_only=True, tag="training_failed"):
    """The job failed; `error` says why."""

    error: payloads.Text


class TrainingCancelled(DataMessage, frozen=True, kw_only=True, tag="training_cancelled"):
    """The job was cancelled."""


class RequestProgress(Command, frozen=True, tag="request_progress"):
    """Ask for the progress."""


class CancelTraining(Command, frozen=True, tag="cancel_training"):
    """Stop the job; `training_cancelled` follows when it has stopped."""


# Monitoring


class ModelStatusSnapshot(Reply, frozen=True, kw_only=True, tag="model_status"):
    """Snapshot."""

    status: payloads.ModelStatus


class ModelUpdateMessage(DataMessage, frozen=True, kw_only=True, tag="model_update"):
    """The model was measured again."""

    update: payloads.ModelUpdate


class PerformanceAlertMessage(DataMessage, frozen=True, kw_only=True, tag="performance_alert"):
    """The model got worse than it may."""

    alert: payloads.PerformanceAlert
    severity: payloads.Severity


class RequestStatus(Command, frozen=True, tag="request_status"):
    """Ask for the status."""


# Dashboard


class DashboardData(Reply, frozen=True, kw_only=True, tag="dashboard_data"):
    """Snapshot."""

    data: payloads.Dashboard


class DashboardUpdateMessage(DataMessage, frozen=True, kw_only=True, tag="dashboard_update"):
    """Something on the dashboard changed."""

    update: payloads.DashboardUpdate


class RequestDashboard(Command, frozen=True, tag="request_dashboard"):
    """Ask for `dashboard_data`."""


# Marketplace


class RecentNotifications(Reply, frozen=True, kw_only=True, tag="recent_notifications"):
    """Snapshot: the latest of each, newest first, and the earnings."""

    leases: Sequence[payloads.Lease]
    reviews: Sequence[payloads.Review]
    listings: Sequence[payloads.Listing]
    earnings: payloads.Earnings


class ModelLeased(DataMessage, frozen=True, kw_only=True, tag="model_leased"):
    """One of the user's models was leased."""

    lease: payloads.Lease


class EarningsUpdate(DataMessage, frozen=True, kw_only=True, tag="earnings_update"):
    """The user's earnings changed."""

    earnings: payloads.Earnings


class ModelReviewed(DataMessage, frozen=True, kw_only=True, tag="model_review"):
    """One of the user's models was reviewed."""

    review: payloads.Review


class ListingPublished(DataMessage, frozen=True, kw_only=True, tag="listing_published"):
    """Somebody offers a model."""

    listing: payloads.Listing


# Predictions


class RecentPredictions(Reply, frozen=True, kw_only=True, tag="recent_predictions"):
    """Snapshot, newest first."""

    predictions: Sequence[payloads.Prediction]
    count: int


class NewPrediction(DataMessage, frozen=True, kw_only=True, tag="new_prediction"):
    """The model predicted."""

    prediction: payloads.Prediction


class PredictionOutcome(DataMessage, frozen=True, kw_only=True, tag="prediction_outcome"):
    """A prediction's horizon has ended."""

    prediction: payloads.Prediction


# Backtest


class BacktestProgressMessage(DataMessage, frozen=True, kw_only=True, tag="backtest_progress"):
    """The backtest went on; also the snapshot."""

    progress: payloads.BacktestProgress


class BacktestCompleted(DataMessage, frozen=True, kw_only=True, tag="backtest_completed"):
    """The backtest is done."""

    results: payloads.BacktestResults


class BacktestFailed(DataMessage, frozen=True, kw_only=True, tag="backtest_failed"):
    """The backtest failed; `error` says why."""

    error: payloads.Text
    backtest_id: payloads.Id | UnsetType = UNSET


class BacktestCancelled(DataMessage, frozen=True, kw_only=True, tag="backtest_cancelled"):
    """The backtest was cancelled."""

    backtest_id: payloads.Id | UnsetType = UNSET


class CancelBacktest(Command, frozen=True, tag="cancel_backtest"):
    """Stop the backtest; `backtest_cancelled` follows when it has stopped."""


# System


class SystemStatusUpdate(DataMessage, frozen=True, kw_only=True, tag="system_status_update"):
    """How the system is; also the snapshot."""

    status: payloads.SystemStatus


class WorkerStatusUpdate(DataMessage, frozen=True, kw_only=True, tag="worker_status_update"):
    """How the workers are; also the snapshot."""

    workers: Sequence[payloads.Worker]
