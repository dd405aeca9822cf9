"""The addresses of the AI Studio streams. Built here and nowhere else."""

from __future__ import annotations

from realtime.topic import Kind, Topic


def training(job_id: object) -> Topic:
    """A training job."""
    return Topic(f"ai.training.{job_id}", Kind.LOG)


def monitoring(model_id: object) -> Topic:
    """A model's performance."""
    return Topic(f"ai.monitoring.{model_id}", Kind.LOG)


def dashboard(user_id: object) -> Topic:
    """A user's dashboard."""
    return Topic(f"ai.dashboard.{user_id}", Kind.STATE)


def marketplace(user_id: object) -> Topic:
    """What happens to a user's models on the marketplace."""
    return Topic(f"ai.marketplace.{user_id}", Kind.LOG)


def listings() -> Topic:
    """New offers, for everyone."""
    return Topic("ai.marketplace.listings", Kind.LOG)


def predictions(model_id: object) -> Topic:
    """A model's predictions."""
    return Topic(f"ai.predictions.{model_id}", Kind.LOG)


def backtest(model_id: object) -> Topic:
    """A model's backtests."""
    return Topic(f"ai.backtest.{model_id}", Kind.LOG)


def system() -> Topic:
    """The system's health, without host and worker detail."""
    return Topic("ai.system", Kind.STATE)


def system_detail() -> Topic:
    """The system's health with host and worker detail: for staff."""
    return Topic("ai.system.detail", Kind.STATE)
