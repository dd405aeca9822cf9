"""The seven AI Studio streams: topics, access, snapshots and commands."""

from __future__ import annotations

from collections.abc import Sequence

from apps.ai_studio import access, dashboard, earnings, marketplace, present, services, system_report
from apps.ai_studio import messages as wire
from apps.ai_studio import topics as addresses
from apps.streaming.stream import Outcome, Stream, Target
from apps.streaming.threads import in_database
from realtime.messages import ServerMessage
from realtime.topic import Topic


class TrainingStream(Stream):
    """One training job of the user's."""

    name = "ai-studio.training"
    path = "ai-studio/training/<str:job_id>/"
    summary = "Progress of one of your training jobs."
    commands = (wire.RequestProgress, wire.CancelTraining)
    messages = (
        wire.TrainingProgressSnapshot,
        wire.TrainingUpdate,
        wire.TrainingCompleted,
        wire.TrainingFailed,
        wire.TrainingCancelled,
    )

    async def authorize(self) -> None:
        await in_database(access.owned_training_job, self.context.user_id, self.context.object_id)

    async def topics(self) -> Sequence[Topic]:
        return [addresses.training(self.context.object_id)]

    async def snapshot(self, topics: Sequence[Topic]) -> Sequence[ServerMessage]:
        job = await in_database(access.owned_training_job, self.context.user_id, self.context.object_id)
        progress = present.training_progress(job)
        return [wire.TrainingProgressSnapshot(progress=progress, timestamp=self.context.now())]

    async def on_request_progress(self, command: wire.RequestProgress) -> Outcome:
        return await self.snapshot(())

    async def on_cancel_training(self, command: wire.CancelTraining) -> Outcome:
        job = await in_database(access.owned_training_job, self.context.user_id, self.context.object_id)
        await in_database(services.cancel, job)
        return await self.snapshot(())

    @classmethod
    async def targets(cls, user_id: str) -> Sequence[Target]:
        jobs = await in_database(access.training_jobs_of, user_id)
        return [Target(str(job.id), f"{job.model.name} · {job.status.lower()} · {str(job.id)[:8]}") for job in jobs]


class _ModelStream(Stream):
    """A stream of one of the user's models."""

    async def authorize(self) -> None:
        await in_database(access.owned_model, self.context.user_id, self.context.object_id)

    @classmethod
    async def targets(cls, user_id: str) -> Sequence[Target]:
        models = await in_database(lambda: list(access.models_of(user_id)))
        return [Target(str(model.id), model.name) for model in models]


class MonitoringStream(_ModelStream):
    """How one of the user's models does."""

    name = "ai-studio.monitoring"
    path = "ai-studio/monitoring/<str:model_id>/"
    summary = "Live performance of one of your models."
    commands = (wire.RequestStatus,)
    messages = (wire.ModelStatusSnapshot, wire.ModelUpdateMessage, wire.PerformanceAlertMessage)

    async def topics(self) -> Sequence[Topic]:
        return [addresses.monitoring(self.context.object_id)]

    async def snapshot(self, topics: Sequence[Topic]) -> Sequence[ServerMessage]:
        model = await in_database(access.owned_model, self.context.user_id, self.context.object_id)
        status = await in_database(present.model_status, model)
        return [wire.ModelStatusSnapshot(status=status, timestamp=self.context.now())]

    async def on_request_status(self, command: wire.RequestStatus) -> Outcome:
        return await self.snapshot(())


class DashboardStream(Stream):
    """The user's AI Studio at a glance."""

    name = "ai-studio.dashboard"
    path = "ai-studio/dashboard/"
    summary = "Your AI Studio at a glance."
    commands = (wire.RequestDashboard,)
    messages = (wire.DashboardData, wire.DashboardUpdateMessage)

    async def topics(self) -> Sequence[Topic]:
        return [addresses.dashboard(self.context.user_id)]

    async def snapshot(self, topics: Sequence[Topic]) -> Sequence[ServerMessage]:
        data = await in_database(dashboard.dashboard, self.context.user_id)
        return [wire.DashboardData(data=data, timestamp=self.context.now())]

    async def on_request_dashboard(self, command: wire.RequestDashboard) -> Outcome:
        return await self.snapshot(())


class MarketplaceStream(Stream):
    """What happens to the user's models on the marketplace, and everyone's new listings."""

    name = "ai-studio.marketplace"
    path = "ai-studio/marketplace/"
    summary = "Leases, reviews and earnings of your models; new listings."
    messages = (
        wire.RecentNotifications,
        wire.ModelLeased,
        wire.EarningsUpdate,
        wire.ModelReviewed,
        wire.ListingPublished,
    )

    async def topics(self) -> Sequence[Topic]:
        return [addresses.marketplace(self.context.user_id), addresses.listings()]

    async def snapshot(self, topics: Sequence[Topic]) -> Sequence[ServerMessage]:
        leases, reviews, listings = await in_database(marketplace.marketplace_snapshot, self.context.user_id)
        earned = await in_database(earnings.earnings, self.context.user_id)
        return [
            wire.RecentNotifications(
                leases=leases,
                reviews=reviews,
                listings=listings,
                earnings=earned,
                timestamp=self.context.now(),
            )
        ]


class PredictionsStream(Stream):
    """A model's predictions, for its owner and its lessees."""

    name = "ai-studio.predictions"
    path = "ai-studio/predictions/<str:model_id>/"
    summary = "Predictions of a model that you own or lease, and how they turned out."
    messages = (wire.RecentPredictions, wire.NewPrediction, wire.PredictionOutcome)

    async def authorize(self) -> None:
        user_id, now = self.context.user_id, self.context.now()
        self.rights_end_at = await in_database(access.reading_ends_at, user_id, self.context.object_id, now)

    async def topics(self) -> Sequence[Topic]:
        return [addresses.predictions(self.context.object_id)]

    async def snapshot(self, topics: Sequence[Topic]) -> Sequence[ServerMessage]:
        predictions = await in_database(access.recent_predictions, self.context.object_id)
        return [wire.RecentPredictions(predictions=predictions, count=len(predictions), timestamp=self.context.now())]

    @classmethod
    async def targets(cls, user_id: str) -> Sequence[Target]:
        own = await in_database(lambda: list(access.models_of(user_id)))
        leased = await in_database(access.leased_models, user_id)
        return [
            *(Target(str(model.id), model.name) for model in own),
            *(Target(str(model.id), f"{model.name} (leased)") for model in leased),
        ]


class BacktestStream(_ModelStream):
    """The backtests of one of the user's models."""

    name = "ai-studio.backtest"
    path = "ai-studio/backtest/<str:model_id>/"
    summary = "Progress and results of the backtests of one of your models."
    commands = (wire.RequestProgress, wire.CancelBacktest)
    messages = (
        wire.BacktestProgressMessage,
        wire.BacktestCompleted,
        wire.BacktestFailed,
        wire.BacktestCancelled,
    )

    async def topics(self) -> Sequence[Topic]:
        return [addresses.backtest(self.context.object_id)]

    async def snapshot(self, topics: Sequence[Topic]) -> Sequence[ServerMessage]:
        job = await in_database(access.latest_backtest, self.context.object_id)
        return [wire.BacktestProgressMessage(progress=present.backtest_progress(job), timestamp=self.context.now())]

    async def on_request_progress(self, command: wire.RequestProgress) -> Outcome:
        return await self.snapshot(())

    async def on_cancel_backtest(self, command: wire.CancelBacktest) -> Outcome:
        await in_database(services.cancel_backtest_of, self.context.object_id)
        return await self.snapshot(())


class SystemStream(Stream):
    """The system's health; with host and worker detail for staff."""

    name = "ai-studio.system"
    path = "ai-studio/system/"
    summary = "Health of the system and its workers."
    commands = (wire.RequestStatus,)
    messages = (wire.SystemStatusUpdate, wire.WorkerStatusUpdate)

    async def topics(self) -> Sequence[Topic]:
        return [addresses.system_detail() if self.context.is_staff else addresses.system()]

    async def snapshot(self, topics: Sequence[Topic]) -> Sequence[ServerMessage]:
        status, workers = await system_report.snapshot(detail=self.context.is_staff)
        now = self.context.now()
        return [
            wire.SystemStatusUpdate(status=status, timestamp=now),
            wire.WorkerStatusUpdate(workers=workers, timestamp=now),
        ]

    async def on_request_status(self, command: wire.RequestStatus) -> Outcome:
        return await self.snapshot(())
