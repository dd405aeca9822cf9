"""Which versions predict: deployed by their owner, or by themselves when they are trained."""

from __future__ import annotations

from django.db import models as orm
from django.db import transaction
from django.utils import timezone

from apps.ai_studio import models
from realtime.errors import CommandFailed


def running() -> orm.QuerySet[models.Deployment]:
    """Those that predict now, with model and artifact; the artifact's content is read when it is asked for."""
    deployed = models.Deployment.objects.filter(ended_at=None).select_related("model", "artifact")
    return deployed.defer("artifact__content", "monitor_state").order_by("started_at")


def running_of(model: models.Model) -> models.Deployment | None:
    """The model's running deployment."""
    return running().filter(model=model).first()


@transaction.atomic
def deploy(model: models.Model, version: int | None = None) -> models.Deployment:
    """Let a version (the latest, when left out) predict from the next closed bar on, in place of the one that does.
    The version that predicts already stays as it is. Raises `CommandFailed` when there is no such version."""
    models.Model.objects.select_for_update().get(pk=model.pk)
    trained = model.artifacts.defer("content")
    artifact = trained.first() if version is None else trained.filter(version=version).first()
    if artifact is None:
        known = ", ".join(str(known) for known in trained.values_list("version", flat=True)[:10])
        missing = "the model has no version" if version is None else f"the model has no version {version}"
        raise CommandFailed("no_such_version", f"{missing}: " + (f"it has {known}" if known else "train it first"))
    current = running_of(model)
    if current is not None:
        if current.artifact_id == artifact.pk:
            return current
        _end(current)
    return models.Deployment.objects.create(model=model, artifact=artifact)


@transaction.atomic
def withdraw(model: models.Model) -> models.Deployment:
    """Let the model predict no more. Raises `CommandFailed` when it does not."""
    running = models.Deployment.objects.select_for_update(of=("self",)).filter(model=model, ended_at=None)
    current = running.select_related("model", "artifact").defer("artifact__content").first()
    if current is None:
        raise CommandFailed("not_deployed", "the model is not deployed")
    _end(current)
    return current


def _end(deployment: models.Deployment) -> None:
    deployment.ended_at = timezone.now()
    deployment.monitor_state = {}  # only a running one is measured
    deployment.save(update_fields=["ended_at", "monitor_state"])
