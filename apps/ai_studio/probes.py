"""How `test_websockets` sees that each AI Studio stream delivers. Most get their present values again."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

import msgspec
from asgiref.sync import async_to_sync
from django.db.models import Model

from apps.accounts.models import User
from apps.ai_studio import access, models, payloads, present, system_report
from apps.ai_studio.dashboard import dashboard
from apps.ai_studio.earnings import earnings
from apps.streaming.plugins import Probe


def probes(user: User, created: list[Model]) -> Sequence[Probe]:
    """One per stream. A user who has no training job gets a model with a job for the test."""
    user_id = str(user.pk)
    jobs = models.TrainingJob.objects.filter(model__owner=user).select_related("model")
    job = jobs.first()
    if job is None:
        created.append(models.Model.objects.create(owner=user, name="probe"))
        job = models.TrainingJob.objects.create(model=created[-1], status=models.JobStatus.COMPLETED)
    model = job.model
    status = present.model_status(model)
    update = {name: value for name, value in _plain(status).items() if name in payloads.ModelUpdate.__struct_fields__}
    prediction = {
        "id": f"probe-{secrets.token_hex(6)}",
        "symbol": "PROBE",
        "direction": "UP",
        "probability": 0.5,
        "price": 0.0,
    }
    system = _plain(async_to_sync(system_report.status)(detail=False))
    return [
        _probe(
            "ai-studio.training",
            str(job.pk),
            "notify_training_progress",
            "training_update",
            job_id=str(job.pk),
            progress=_plain(present.training_progress(job)),
        ),
        _probe(
            "ai-studio.monitoring",
            str(model.pk),
            "notify_model_update",
            "model_update",
            model_id=str(model.pk),
            update=update,
        ),
        _probe(
            "ai-studio.dashboard",
            "",
            "notify_dashboard_update",
            "dashboard_update",
            user_id=user_id,
            update={"model_count": dashboard(user_id).model_count},
        ),
        _probe(
            "ai-studio.marketplace",
            "",
            "notify_earnings_update",
            "earnings_update",
            user_id=user_id,
            earnings=_plain(earnings(user_id)),
        ),
        _probe(
            "ai-studio.predictions",
            str(model.pk),
            "notify_new_prediction",
            "new_prediction",
            model_id=str(model.pk),
            prediction=prediction,
        ),
        _probe(
            "ai-studio.backtest",
            str(model.pk),
            "notify_backtest_progress",
            "backtest_progress",
            model_id=str(model.pk),
            progress=_plain(present.backtest_progress(access.latest_backtest(str(model.pk)))),
        ),
        _probe("ai-studio.system", "", "notify_system_status", "system_status_update", status=system),
    ]


def _probe(stream: str, object_id: str, notify: str, message_type: str, **arguments: Any) -> Probe:
    payload = {name: value for name, value in arguments.items() if not name.endswith("_id")}
    return Probe(stream, object_id, notify, arguments, message_type, payload)


def _plain(payload: msgspec.Struct) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(payload)
    return plain
