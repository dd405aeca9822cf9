"""The deployed models, ready to predict. Synchronous; run it in the engines' thread."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

from apps.ai_studio import deployments, models
from engines.learning import artifact as artifacts
from engines.learning.features import FEATURES
from engines.learning.spec import LabelSpec

log = logging.getLogger(__name__)

Version: TypeAlias = tuple[UUID, int]
"""A model's id, and the number of its version."""


class Target(NamedTuple):
    """What a version predicts, and on which bars: all that its predictions' outcomes depend on."""

    bar_seconds: int
    label: LabelSpec


@dataclass(frozen=True, eq=False)
class DeployedModel:
    """A deployment with its decoded artifact. `symbols`: those it predicts; empty for all."""

    deployment_id: UUID
    model_id: UUID
    version: int
    symbols: frozenset[str]
    artifact: artifacts.Artifact
    predictor: artifacts.Predictor

    @property
    def bar_seconds(self) -> int:
        """Of the bars that it was trained on: it knows no others."""
        return self.artifact.bar_seconds

    @property
    def target(self) -> Target:
        return _target(self.artifact)

    def predicts(self, symbol: str) -> bool:
        return not self.symbols or symbol in self.symbols


class DeployedModels:
    """What `refresh` found, by deployment. An artifact is read when its version is new, never again."""

    def __init__(self) -> None:
        self.by_deployment: Mapping[UUID, DeployedModel] = {}
        self._unusable: frozenset[UUID] = frozenset()  # artifacts that were complained of

    @property
    def lengths(self) -> frozenset[int]:
        """Seconds of the bars that they predict on."""
        return frozenset(deployed.bar_seconds for deployed in self.by_deployment.values())

    @property
    def by_version(self) -> dict[Version, UUID]:
        """The deployment that a version runs in."""
        return {(deployed.model_id, deployed.version): key for key, deployed in self.by_deployment.items()}

    def refresh(self) -> None:
        """Look which deployments run. One whose artifact cannot be used is logged once and left out; one that is
        deleted meanwhile is left out."""
        found: dict[UUID, DeployedModel] = {}
        rows = deployments.running().values_list(
            "pk", "model_id", "model__symbols", "artifact_id", "artifact__version", "artifact__digest"
        )
        rows = list(rows)
        self._unusable &= {row[3] for row in rows}
        for deployment_id, model_id, symbols, artifact_id, version, digest in rows:
            if artifact_id in self._unusable:
                continue
            known = self.by_deployment.get(deployment_id)
            if known is not None and known.symbols == frozenset(symbols):
                found[deployment_id] = known
                continue
            try:
                artifact = known.artifact if known is not None else _read(artifact_id, digest)
                predictor = known.predictor if known is not None else artifacts.Predictor(artifact)
            except models.Artifact.DoesNotExist:
                continue
            except ValueError:
                log.exception("version %s of the model %s cannot be used; it does not predict", version, model_id)
                self._unusable |= {artifact_id}
                continue
            found[deployment_id] = DeployedModel(
                deployment_id, model_id, version, frozenset(symbols), artifact, predictor
            )
        self.by_deployment = found


def targets_of(versions: Iterable[Version]) -> dict[Version, Target]:
    """What these versions predict; without those that are gone. One that cannot be read is logged and left out."""
    found = {}
    for model_id, version in versions:
        row = models.Artifact.objects.filter(model_id=model_id, version=version).first()
        if row is None:
            continue
        try:
            found[model_id, version] = _target(artifacts.decode(bytes(row.content), row.digest))
        except ValueError:
            log.exception("outcomes of version %s of the model %s stay open", version, model_id)
    return found


def _target(artifact: artifacts.Artifact) -> Target:
    return Target(artifact.bar_seconds, artifact.spec.label)


def _read(artifact_id: UUID, digest: str) -> artifacts.Artifact:
    """Raises `ValueError` for one that is damaged, or of features that are no more; `Artifact.DoesNotExist`."""
    content: Any = models.Artifact.objects.values_list("content", flat=True).get(pk=artifact_id)
    artifact = artifacts.decode(bytes(content), digest)
    unknown = [name for name in artifact.feature_names if name not in FEATURES]
    if unknown:
        raise ValueError(f"the features {', '.join(unknown)} are not known any more")
    return artifact
