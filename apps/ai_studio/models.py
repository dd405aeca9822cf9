"""What AI Studio keeps: models, jobs, predictions, and the marketplace."""

from __future__ import annotations

import uuid
from decimal import Decimal

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models


class JobStatus(models.TextChoices):
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


FINISHED = (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED)


class Model(models.Model):
    """A user's model. `artifact` holds the numbers of the version in use."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="ai_models")
    name = models.CharField(max_length=80)
    symbols = models.JSONField(default=list, blank=True, help_text="What it predicts; empty: every symbol.")
    deployed = models.BooleanField(default=False)
    rerun_seconds = models.PositiveIntegerField(
        null=True, blank=True, help_text="Train and backtest again this long after the last time; empty: only by hand."
    )
    version = models.PositiveIntegerField(default=0)
    artifact = models.JSONField(null=True, blank=True, editable=False)
    counted_on = models.DateField(null=True, blank=True, editable=False)
    predictions_made = models.PositiveIntegerField(default=0, editable=False, help_text="On that day.")
    predictions_settled = models.PositiveIntegerField(default=0, editable=False, help_text="On that day.")
    predictions_correct = models.PositiveIntegerField(default=0, editable=False, help_text="On that day.")
    monitoring = models.JSONField(default=dict, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class Job(models.Model):
    """Work on a model that takes a while: what is known of its progress and end."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    status = models.CharField(max_length=10, choices=JobStatus.choices, default=JobStatus.PENDING)
    progress = models.JSONField(default=dict, blank=True)
    result = models.JSONField(null=True, blank=True)
    error = models.CharField(max_length=300, blank=True)
    not_before = models.DateTimeField(null=True, blank=True, help_text="A scheduled job waits until then.")
    cancel_requested = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return f"{self.id} {self.status}"


class TrainingJob(Job):
    """Training of a model."""

    model = models.ForeignKey(Model, on_delete=models.CASCADE, related_name="training_jobs")
    seed = models.PositiveIntegerField(default=1)


class Backtest(Job):
    """A strategy run over historical bars, shown under its model."""

    model = models.ForeignKey(Model, on_delete=models.CASCADE, related_name="backtests")


class Prediction(models.Model):
    """What a deployed model said about a symbol, and what became of it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    model = models.ForeignKey(Model, on_delete=models.CASCADE, related_name="predictions")
    model_version = models.PositiveIntegerField()
    symbol = models.CharField(max_length=40)
    direction = models.CharField(max_length=4, choices=[("UP", "up"), ("DOWN", "down")])
    probability = models.FloatField(help_text="Of the direction.")
    price = models.FloatField()
    horizon_bars = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField(db_index=True)
    outcome_price = models.FloatField(null=True, blank=True)
    correct = models.BooleanField(null=True, blank=True)

    class Meta:
        ordering = ("-created_at",)
        indexes = [models.Index(fields=("model", "-created_at"))]

    def __str__(self) -> str:
        return f"{self.symbol} {self.direction} {self.probability:.2f}"


class Listing(models.Model):
    """A model that is offered for lease."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    model = models.OneToOneField(Model, on_delete=models.CASCADE, related_name="listing")
    title = models.CharField(max_length=120)
    price_per_month = models.DecimalField(max_digits=12, decimal_places=2, validators=[MinValueValidator(Decimal(0))])
    published_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-published_at",)

    def __str__(self) -> str:
        return self.title


class Lease(models.Model):
    """A user's right to a model's predictions, for a time."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    listing = models.ForeignKey(Listing, on_delete=models.CASCADE, related_name="leases")
    lessee = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="leases")
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField(db_index=True)
    price = models.DecimalField(max_digits=12, decimal_places=2)

    class Meta:
        ordering = ("-starts_at",)

    def __str__(self) -> str:
        return f"{self.lessee} leases {self.listing}"


class Review(models.Model):
    """What a lessee thinks of a model."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    listing = models.ForeignKey(Listing, on_delete=models.CASCADE, related_name="reviews")
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="reviews")
    rating = models.PositiveSmallIntegerField(validators=[MinValueValidator(1), MaxValueValidator(5)])
    text = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-created_at",)
        constraints = [models.UniqueConstraint(fields=("listing", "author"), name="review_once")]

    def __str__(self) -> str:
        return f"{self.rating} for {self.listing}"
