"""`/api/ai/models/`, `/api/ai/deployments/`: models, their versions, what they predict."""

from __future__ import annotations

from typing import Any

from django.db.models import OuterRef, Subquery
from django.http import HttpRequest
from ninja import Router, Status
from ninja.pagination import paginate

from apps.ai_studio import access, deployments, models, services
from apps.ai_studio.rest.schemas import (
    ArtifactOut,
    DeploymentIn,
    DeploymentOut,
    FeatureOut,
    ModelChange,
    ModelIn,
    ModelOut,
    PredictionOut,
)
from apps.streaming.paging import Pages
from apps.streaming.problems import REFUSALS
from engines.learning.features import FEATURES

router = Router()


def user_id(request: Any) -> str:
    return str(request.auth.pk)


@router.get("/models/", response=list[ModelOut])
@paginate(Pages)
def list_models(request: HttpRequest) -> Any:
    """Your models."""
    running = models.Deployment.objects.filter(model=OuterRef("pk"), ended_at=None)
    deployed_version = Subquery(running.values("artifact__version")[:1])
    return access.models_of(user_id(request)).annotate(deployed_version=deployed_version)


@router.post("/models/", response={201: ModelOut, **REFUSALS})
def make_model(request: HttpRequest, body: ModelIn) -> Any:
    """Define a model; then train it."""
    return Status(201, services.save_model(request.auth, None, body.dict()))  # type: ignore[attr-defined]


@router.get("/models/{model_id}/", response={200: ModelOut, **REFUSALS})
def get_model(request: HttpRequest, model_id: str) -> Any:
    """One of your models."""
    return access.owned_model(user_id(request), model_id)


@router.patch("/models/{model_id}/", response={200: ModelOut, **REFUSALS})
def change_model(request: HttpRequest, model_id: str, body: ModelChange) -> Any:
    """Change one of your models. Versions that are trained stay as they are."""
    model = access.owned_model(user_id(request), model_id)
    return services.save_model(request.auth, model, body.dict(exclude_unset=True))  # type: ignore[attr-defined]


@router.delete("/models/{model_id}/", response={204: None, **REFUSALS})
def delete_model(request: HttpRequest, model_id: str) -> Any:
    """Delete one of your models, with all that hangs on it; refused while it is leased or a job of it is unfinished."""
    services.delete_model(access.owned_model(user_id(request), model_id))
    return Status(204, None)


@router.get("/models/{model_id}/versions/", response={200: list[ArtifactOut], **REFUSALS})
@paginate(Pages)
def list_versions(request: HttpRequest, model_id: str) -> Any:
    """The trained versions of one of your models, the latest first."""
    return access.owned_model(user_id(request), model_id).artifacts.defer("content")


@router.get("/models/{model_id}/predictions/", response={200: list[PredictionOut], **REFUSALS})
@paginate(Pages)
def list_predictions(request: HttpRequest, model_id: str) -> Any:
    """What a model of yours, or one that you lease, predicted; the latest first."""
    return access.readable_model(user_id(request), model_id).predictions.all()


@router.put("/models/{model_id}/deployment/", response={200: DeploymentOut, **REFUSALS})
def deploy(request: HttpRequest, model_id: str, body: DeploymentIn) -> Any:
    """Let a version predict from the next closed bar on; watch `/ws/ai-studio/predictions/{model_id}/`."""
    return deployments.deploy(access.owned_model(user_id(request), model_id), body.version)


@router.delete("/models/{model_id}/deployment/", response={200: DeploymentOut, **REFUSALS})
def withdraw(request: HttpRequest, model_id: str) -> Any:
    """Let the model predict no more."""
    return deployments.withdraw(access.owned_model(user_id(request), model_id))


@router.get("/deployments/", response=list[DeploymentOut])
@paginate(Pages)
def list_deployments(request: HttpRequest, *, running: bool = False) -> Any:
    """Your deployments, the latest first; with `running` only those that predict now."""
    found = models.Deployment.objects.filter(model__owner_id=user_id(request)).select_related("model", "artifact")
    found = found.defer("artifact__content")
    return found.filter(ended_at=None) if running else found


@router.get("/features/", response=list[FeatureOut])
def list_features(request: HttpRequest) -> Any:
    """What a model can look at."""
    return list(FEATURES.values())
