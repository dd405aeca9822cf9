"""What goes in and out of `/api/ai/` about models, jobs and deployments."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from ninja import Field, Schema

from apps.ai_studio import models, payloads
from apps.ai_studio.deployments import running_of
from engines.backtest.spec import BacktestSpec
from engines.learning.spec import TrainingSpec
from engines.market.quotes import DAY_SECONDS

TEXT = r"^[^\x00]*$"  # what a database takes
SYMBOL = r"^[A-Z0-9][A-Z0-9&_.\-]*$"
Symbols = list[Annotated[str, Field(max_length=40, pattern=SYMBOL)]]


def _openapi(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """The JSON Schema of a Struct without references, for a field of a schema of ninja's."""
    whole = msgspec.json.schema(struct)
    definitions = whole["$defs"]

    def inlined(part: Any) -> Any:
        if isinstance(part, Mapping):
            if "$ref" in part:
                return inlined(definitions[part["$ref"].rpartition("/")[2]])
            return {name: inlined(value) for name, value in part.items()}
        return [inlined(value) for value in part] if isinstance(part, list) else part

    schema: dict[str, Any] = inlined({"$ref": whole["$ref"]})
    return schema


def _unchanged(**bounds: Any) -> Any:
    """A field that may be left out, without a default that a client could take for the value."""
    return Field(default_factory=lambda: None, **bounds)


Source = Literal["shipped", "market"]
BarSeconds = Literal[60, 300, 86_400]
RerunSeconds = Annotated[int, Field(ge=60, le=31_536_000)]
Status = Literal["PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED"]
Training = Annotated[dict[str, Any], Field(json_schema_extra=_openapi(TrainingSpec))]
BacktestWish = Annotated[dict[str, Any], Field(json_schema_extra=_openapi(BacktestSpec))]
Monitoring = Annotated[dict[str, Any], Field(json_schema_extra=_openapi(payloads.ModelUpdate))]


class ModelIn(Schema):
    """`data_source`: shipped (the daily bars that come with the project) or market (what the live market stored).
    `symbols` empty: all. `training`: what is left out has its default."""

    name: str = Field(..., min_length=1, max_length=80, pattern=TEXT)
    symbols: Symbols = Field(default_factory=list, max_length=200)
    data_source: Source = "market"
    bar_seconds: BarSeconds = Field(60, description=f"{DAY_SECONDS} for shipped bars.")
    training: Training = Field(default_factory=dict)
    auto_deploy: bool = Field(False, description="Deploy each new version at once.")
    rerun_seconds: RerunSeconds | None = Field(None, description="Train and backtest again after so long.")


class ModelChange(Schema):
    """What is left out stays as it is."""

    name: str = _unchanged(min_length=1, max_length=80, pattern=TEXT)
    symbols: Symbols = _unchanged(max_length=200)
    data_source: Source = _unchanged()
    bar_seconds: BarSeconds = _unchanged()
    training: Training = _unchanged()
    auto_deploy: bool = _unchanged()
    rerun_seconds: RerunSeconds | None = _unchanged()


class ModelOut(Schema):
    id: UUID
    name: str
    symbols: list[str]
    data_source: Source
    bar_seconds: int
    training: Training
    auto_deploy: bool
    rerun_seconds: int | None
    version: int
    deployed_version: int | None
    created_at: datetime

    @staticmethod
    def resolve_deployed_version(row: models.Model) -> int | None:
        known: int | None = getattr(row, "deployed_version", None)  # of a list, which asks for all at once
        if known is not None or hasattr(row, "deployed_version"):
            return known
        running = running_of(row)
        return running.artifact.version if running is not None else None


class ArtifactOut(Schema):
    """A trained version. `metrics` are out of sample, `baseline` the same of the baseline."""

    model_id: UUID
    version: int
    digest: str
    rows: int
    metrics: dict[str, float]
    baseline: dict[str, float]
    data_from: datetime
    data_until: datetime
    created_at: datetime


class JobOut(Schema):
    """`spec`: a `TrainingSpec` or a `BacktestSpec`, whole; `progress` as the stream of the job tells it. Bars are those
    that the model's source has when the job begins."""

    id: UUID
    model_id: UUID
    status: Status
    spec: dict[str, Any]
    progress: dict[str, Any]
    error: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class TrainingJobOut(JobOut):
    result: Annotated[dict[str, Any], Field(json_schema_extra=_openapi(payloads.TrainingResult))] | None


class BacktestOut(JobOut):
    result: Annotated[dict[str, Any], Field(json_schema_extra=_openapi(payloads.BacktestResults))] | None


class TrainingIn(Schema):
    seed: int | None = Field(None, ge=0, le=2_147_483_647, description="Left out: the number of the version to be.")


class DeploymentIn(Schema):
    version: int | None = Field(None, ge=1, le=2_147_483_647, description="Left out: the latest.")


class DeploymentOut(Schema):
    id: UUID
    model_id: UUID
    model_name: str
    version: int
    started_at: datetime
    ended_at: datetime | None
    monitoring: Monitoring

    @staticmethod
    def resolve_model_name(row: models.Deployment) -> str:
        return row.model.name

    @staticmethod
    def resolve_version(row: models.Deployment) -> int:
        return row.artifact.version


class PredictionOut(Schema):
    id: UUID
    symbol: str
    direction: Literal["UP", "DOWN"]
    probability: float
    price: float
    horizon_bars: int
    model_version: int
    bar_time: datetime
    created_at: datetime
    outcome_price: float | None
    correct: bool | None


class FeatureOut(Schema):
    name: str
    description: str
    bars: int
