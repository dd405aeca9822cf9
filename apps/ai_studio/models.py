"""What AI Studio keeps: models and their artifacts, deployments, jobs, predictions, bars."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from apps.ai_studio.market_models import Lease, Listing, Payment, Review

__all__ = [
    "FINISHED",
    "Artifact",
    "Backtest",
    "DataSource",
    "Deployment",
    "JobStatus",
    "Lease",
    "Listing",
    "Model",
    "Payment",
    "Prediction",
    "Review",
    "StoredBar",
    "TrainingJob",
]


class DataSource(models.TextChoices):
    """Where a model's bars come from."""

    SHIPPED = "shipped", "the daily bars that come with the project"
    MARKET = "market", "the bars of the live market, as they were stored"


class Model(models.Model):
    """A user's model: what it looks at and how it is trained. Its versions are `Artifact`s."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="ai_models")
    name = models.CharField(max_length=80)
    symbols = models.JSONField(default=list, blank=True, help_text="What it predicts; empty: every symbol.")
    data_source = models.CharField(max_length=10, choices=DataSource.choices, default=DataSource.MARKET)
    bar_seconds = models.PositiveIntegerField(default=60, help_text="Length of the bars that it is made for.")
    training = models.JSONField(
        default=dict,
        blank=True,
        help_text="A `TrainingSpec` (engines/learning/spec.py); what is left out, by default.",
    )
    auto_deploy = models.BooleanField(default=False, help_text="Deploy each new version at once.")
    rerun_seconds = models.PositiveIntegerField(
        null=True, blank=True, help_text="Train and backtest again this long after the last time; empty: only by hand."
    )
    version = models.PositiveIntegerField(default=0, editable=False, help_text="The latest; 0: not trained yet.")
    counted_on = models.DateField(null=True, blank=True, editable=False)
    predictions_made = models.PositiveIntegerField(default=0, editable=False, help_text="On that day.")
    predictions_settled = models.PositiveIntegerField(default=0, editable=False, help_text="On that day.")
    predictions_correct = models.PositiveIntegerField(default=0, editable=False, help_text="On that day.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("name", "created_at")
        constraints = [models.UniqueConstraint(fields=("owner", "name"), name="model_name_once_per_owner")]

    def __str__(self) -> str:
        return self.name


class Artifact(models.Model):
    """A trained version of a model, for good; of one that trains by itself, the latest 20. `content` is what
    `engines.learning.artifact` encodes, `digest` its SHA-256 in hex. The rest are copies, to be listed without it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    model = models.ForeignKey(Model, on_delete=models.CASCADE, related_name="artifacts")
    version = models.PositiveIntegerField()
    digest = models.CharField(max_length=64)
    content = models.BinaryField()
    metrics = models.JSONField(help_text="Out of sample.")
    baseline = models.JSONField(help_text="The same, of the baseline.")
    rows = models.PositiveIntegerField()
    data_from = models.DateTimeField()
    data_until = models.DateTimeField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("model", "-version")
        constraints = [models.UniqueConstraint(fields=("model", "version"), name="artifact_version_once")]

    def __str__(self) -> str:
        return f"{self.model} v{self.version}"


class Deployment(models.Model):
    """A version of a model that predicts, from `started_at` until `ended_at`. A model has at most one that runs."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    model = models.ForeignKey(Model, on_delete=models.CASCADE, related_name="deployments")
    artifact = models.ForeignKey(Artifact, on_delete=models.RESTRICT, related_name="deployments")
    started_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    monitoring = models.JSONField(default=dict, blank=True, editable=False, help_text="As it was measured last.")
    monitor_state = models.JSONField(
        default=dict, blank=True, editable=False, help_text="What monitoring goes on from."
    )

    class Meta:
        ordering = ("-started_at",)
        constraints = [
            models.UniqueConstraint(
                fields=("model",), condition=models.Q(ended_at=None), name="one_running_deployment_per_model"
            )
        ]

    def __str__(self) -> str:
        return f"{self.artifact} since {self.started_at:%Y-%m-%d %H:%M}"


class JobStatus(models.TextChoices):
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


FINISHED = (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED)


class Job(models.Model):
    """Work on a model that takes a while: what is known of its progress and end.

    `claim` is the run that may write to it: whoever was declared dead meanwhile finds another one, and stops.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    status = models.CharField(max_length=10, choices=JobStatus.choices, default=JobStatus.PENDING, db_index=True)
    spec = models.JSONField(default=dict, blank=True, help_text="What was asked for, whole.")
    seed = models.PositiveIntegerField(default=1)
    progress = models.JSONField(default=dict, blank=True, editable=False)
    result = models.JSONField(null=True, blank=True, editable=False)
    error = models.CharField(max_length=300, blank=True)
    not_before = models.DateTimeField(null=True, blank=True, help_text="A scheduled job waits until then.")
    cancel_requested = models.BooleanField(default=False)
    sent_at = models.DateTimeField(null=True, blank=True, editable=False, help_text="To Celery.")
    claim = models.UUIDField(null=True, blank=True, editable=False)
    worker = models.CharField(max_length=120, blank=True, editable=False)
    heartbeat_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True, editable=False)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return f"{self.id} {self.status}"


class TrainingJob(Job):
    """Training of a model."""

    model = models.ForeignKey(Model, on_delete=models.CASCADE, related_name="training_jobs")


class Backtest(Job):
    """A strategy, or a model's own predictions, run over historical bars; shown under its model."""

    model = models.ForeignKey(Model, on_delete=models.CASCADE, related_name="backtests")


class Prediction(models.Model):
    """What a deployed model said about a symbol at a bar's close, and what became of it. An open one, whose bars were
    missed, is never settled."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    model = models.ForeignKey(Model, on_delete=models.CASCADE, related_name="predictions")
    model_version = models.PositiveIntegerField()
    symbol = models.CharField(max_length=40)
    direction = models.CharField(max_length=4, choices=[("UP", "up"), ("DOWN", "down")])
    probability = models.FloatField(
        help_text="Of the direction.", validators=[MinValueValidator(0.5), MaxValueValidator(1.0)]
    )
    price = models.FloatField()
    horizon_bars = models.PositiveIntegerField(default=1)
    bar_time = models.DateTimeField(help_text="Market time at which the bar it was made on began.")
    created_at = models.DateTimeField(db_index=True)
    latency_ms = models.FloatField(
        default=0.0, help_text="From the arrival of the closed bar to just before the write."
    )
    outcome_price = models.FloatField(null=True, blank=True)
    correct = models.BooleanField(null=True, blank=True)
    settled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-created_at", "symbol")
        indexes = [models.Index(fields=("model", "-created_at"))]

    def __str__(self) -> str:
        return f"{self.symbol} {self.direction} {self.probability:.2f}"


class StoredBar(models.Model):
    """A closed bar of the live market, kept for training and for indicators after a restart."""

    market = models.CharField(max_length=80, help_text="Which market: what the feed calls itself.")
    symbol = models.CharField(max_length=40)
    seconds = models.PositiveIntegerField()
    time = models.DateTimeField()
    open = models.FloatField()
    high = models.FloatField()
    low = models.FloatField()
    close = models.FloatField()
    volume = models.FloatField()

    class Meta:
        ordering = ("time",)
        constraints = [models.UniqueConstraint(fields=("market", "seconds", "symbol", "time"), name="stored_bar_once")]

    def __str__(self) -> str:
        return f"{self.symbol} {self.time} {self.close}"
