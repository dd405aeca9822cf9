"""Drops what is old, so that a server that runs for weeks does not fill its disk. Synchronous."""

from __future__ import annotations

from collections.abc import Iterator

from django.db.models import Count, Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from apps.ai_studio import earnings, models

KEPT_JOBS = 50  # finished ones, per model and kind
KEPT_PREDICTIONS = 2_000  # per model
KEPT_VERSIONS = 20  # of a model that trains again by itself


def tidy() -> None:
    """Keep the latest of each model's jobs, predictions and versions, and what a lease is still accounted by. Asks one
    question per kind while there is nothing to drop."""
    now = timezone.now()
    earnings.close_months(now)
    for predictions in _too_many(models.Prediction.objects.all(), KEPT_PREDICTIONS):
        _drop_old(predictions, KEPT_PREDICTIONS, spared=earnings.unaccounted(now))
    for jobs in (models.TrainingJob.objects, models.Backtest.objects):
        for finished in _too_many(jobs.filter(status__in=models.FINISHED), KEPT_JOBS):
            _drop_old(finished, KEPT_JOBS)
    for versions in _too_many(models.Artifact.objects.exclude(model__rerun_seconds=None), KEPT_VERSIONS):
        _drop_old_versions(versions)


def _too_many(rows: QuerySet, kept: int) -> Iterator[QuerySet]:
    """Those of each model that has more than are kept."""
    counted = rows.order_by().values("model").annotate(count=Count("pk")).filter(count__gt=kept)
    for model_id in counted.values_list("model", flat=True):
        yield rows.filter(model=model_id)


def _drop_old(rows: QuerySet, kept: int, spared: Q | None = None) -> None:
    """Delete all but the latest `kept`, and the spared."""
    for created_at in rows.order_by("-created_at").values_list("created_at", flat=True)[kept - 1 : kept]:
        old = rows.filter(created_at__lt=created_at)
        (old if spared is None else old.exclude(spared)).delete()


def _drop_old_versions(versions: QuerySet[models.Artifact]) -> None:
    """A model that trains every few seconds makes thousands of versions. What predicts stays, whatever its age; so does
    what says how its open predictions come out."""
    for version in versions.order_by("-version").values_list("version", flat=True)[KEPT_VERSIONS - 1 : KEPT_VERSIONS]:
        at_work = models.Deployment.objects.filter(artifact=OuterRef("pk"), ended_at=None)
        waiting = models.Prediction.objects.filter(
            model=OuterRef("model"), model_version=OuterRef("version"), settled_at=None
        )
        old = versions.filter(version__lt=version).exclude(Exists(at_work)).exclude(Exists(waiting))
        dropped = list(old.values_list("pk", flat=True))
        models.Deployment.objects.filter(artifact__in=dropped).delete()
        models.Artifact.objects.filter(pk__in=dropped).delete()
