"""How the deployed models do: one monitor per deployment. Run it in the engines' thread."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
from django.db import transaction
from django.utils import timezone
from msgspec import UNSET

from apps.ai_studio import models, payloads, present, websocket_utils
from apps.ai_studio.deployed_models import DeployedModel, DeployedModels
from engines.learning.estimators import Matrix
from engines.learning.monitoring import Alert, ModelMonitor

log = logging.getLogger(__name__)

SILENCE_SECONDS = 60.0  # so often a model is heard of, also when nothing changed
STATE_SECONDS = 60.0  # so much of what a monitor saw may be lost in a crash; alerts never are
NOT_MEASURED = "not_measured"  # in `active_alerts`: the model predicts, and nobody knows how well


class Outcome(NamedTuple):
    """What was predicted, and what happened. `at`: the start of the bar at whose close it became known: outcomes of
    one bar are one observation, in however many batches they come."""

    probability_up: float
    went_up: bool
    at: datetime


class Seen(NamedTuple):
    """What one batch of bars told of a deployment: the rows that were predicted on, one per prediction, and the
    outcomes that became known. `latency_ms`: from the arrival of the closed bars to just before they are written."""

    features: Matrix
    outcomes: Sequence[Outcome]
    latency_ms: float
    at: datetime


@dataclass(eq=False)
class _Watched:
    """A deployment's monitor, and what was told of it so far."""

    deployed: DeployedModel
    monitor: ModelMonitor
    untold: list[Alert] = field(default_factory=list)
    told: dict[str, Any] | None = None
    told_monotonic: float = float("-inf")
    saved_monotonic: float = float("-inf")
    has_seen: bool = False  # something that is not saved


class MonitoringRoom:
    """The monitors of the deployed models. `monotonic` is seconds of a clock that never goes back, `now` the wall
    clock's time."""

    def __init__(
        self,
        deployed: DeployedModels,
        monotonic: Callable[[], float],
        now: Callable[[], datetime] = timezone.now,
    ) -> None:
        self._deployed = deployed
        self._monotonic = monotonic
        self._now = now
        self._watched: dict[UUID, _Watched] = {}
        self._unmeasured: dict[UUID, str] = {}  # why: their artifacts say too little of training
        self._unmeasured_told: frozenset[UUID] = frozenset()

    def follow(self) -> None:
        """Watch what is deployed. A deployment that was watched before a restart goes on from what was saved."""
        running = self._deployed.by_deployment
        for deployment_id in self._watched.keys() - running.keys():
            del self._watched[deployment_id]
        self._unmeasured = {key: reason for key, reason in self._unmeasured.items() if key in running}
        for deployment_id in running.keys() - self._watched.keys() - self._unmeasured.keys():
            try:
                self._watched[deployment_id] = self._begin(running[deployment_id])
            except models.Deployment.DoesNotExist:
                continue  # deleted meanwhile, with its model
            except ValueError as error:
                log.exception("the model %s predicts, but is not measured", running[deployment_id].model_id)
                self._unmeasured[deployment_id] = str(error)

    def note(self, deployment_id: UUID, seen: Seen) -> None:
        """Take what was predicted and what became of it. Of a deployment that has ended nothing is kept."""
        watched = self._watched.get(deployment_id)
        if watched is None:
            return
        if len(seen.features):
            watched.monitor.see_features(seen.features)
            watched.monitor.see_predictions(len(seen.features), seen.latency_ms, seen.at)
        for at, told in groupby(sorted(seen.outcomes, key=_moment), key=_moment):
            probabilities, ups, _ = zip(*told, strict=True)
            watched.monitor.see_outcomes(np.array(probabilities), np.array(ups), at)
        watched.has_seen = True

    def publish(self) -> None:
        """Measure every model: tell what has changed, every new alert, and of which models nothing can be told."""
        self._deployed.refresh()
        self.follow()
        self._unmeasured_told &= self._unmeasured.keys()
        for deployment_id in self._unmeasured.keys() - self._unmeasured_told:
            deployed, reason = self._deployed.by_deployment[deployment_id], self._unmeasured[deployment_id]
            if _guarded(deployed, partial(_tell_unmeasured, deployed, reason)):
                self._unmeasured_told |= {deployment_id}
        now = self._now()
        for watched in list(self._watched.values()):
            _guarded(watched.deployed, partial(self._publish, watched, now))

    def save(self) -> None:
        """Keep what every monitor saw, for the next start."""
        for deployment_id, watched in self._watched.items():
            if watched.has_seen:
                _running(deployment_id).update(monitor_state=watched.monitor.state)
                self._is_saved(watched)

    def _begin(self, deployed: DeployedModel) -> _Watched:
        horizon_bars = deployed.target.label.horizon_bars
        monitor = ModelMonitor(deployed.artifact.reference, deployed.artifact.metrics, horizon_bars=horizon_bars)
        state = models.Deployment.objects.values_list("monitor_state", flat=True).get(pk=deployed.deployment_id)
        if state:
            try:
                monitor.restore(state)
            except ValueError:
                log.exception("monitoring of the model %s begins anew", deployed.model_id)
        return _Watched(deployed, monitor, saved_monotonic=self._monotonic())

    def _publish(self, watched: _Watched, now: datetime) -> None:
        deployed, monitor = watched.deployed, watched.monitor
        measurement = monitor.measure(now)
        watched.untold += monitor.alerts(measurement)
        fields = present.measured(deployed.model_id, deployed.artifact.metrics, measurement)
        kept = {**fields, "active_alerts": list(monitor.active)}
        moment = self._monotonic()
        is_new = kept != watched.told or moment - watched.told_monotonic >= SILENCE_SECONDS
        if not is_new and not watched.untold:
            return
        changes: dict[str, Any] = {"monitoring": kept}
        is_saved = bool(watched.untold) or (
            watched.has_seen and moment - watched.saved_monotonic >= STATE_SECONDS
        )  # an alert and the state that raised it together: it is not raised again after a crash
        if is_saved:
            changes["monitor_state"] = monitor.state
        with transaction.atomic():
            if not _running(deployed.deployment_id).update(**changes):
                return
            websocket_utils.notify_model_update(deployed.model_id, fields)
            for alert in watched.untold:
                websocket_utils.notify_performance_alert(
                    deployed.model_id, _alert(deployed.model_id, alert), alert.severity
                )
            transaction.on_commit(partial(self._is_told, watched, kept, is_saved=is_saved))

    def _is_told(self, watched: _Watched, kept: dict[str, Any], *, is_saved: bool) -> None:
        watched.untold.clear()
        watched.told, watched.told_monotonic = kept, self._monotonic()
        if is_saved:
            self._is_saved(watched)

    def _is_saved(self, watched: _Watched) -> None:
        watched.has_seen, watched.saved_monotonic = False, self._monotonic()


def _guarded(deployed: DeployedModel, step: Callable[[], object]) -> bool:
    """Whether it worked. One model's trouble must not stop the others. What was not told is told the next time."""
    try:
        step()
    except Exception:
        log.exception("the model %s could not be measured", deployed.model_id)
        return False
    return True


@transaction.atomic
def _tell_unmeasured(deployed: DeployedModel, reason: str) -> None:
    """Once per deployment: what it keeps says whether it was told before a restart."""
    kept = {"active_alerts": [NOT_MEASURED]}
    if _running(deployed.deployment_id).exclude(monitoring=kept).update(monitoring=kept):
        alert = Alert(
            metric=NOT_MEASURED,
            severity="WARNING",
            state="raised",
            value=0.0,
            limit=0.0,
            message=f"The model predicts, but how well cannot be measured: {reason}",
        )
        websocket_utils.notify_performance_alert(deployed.model_id, _alert(deployed.model_id, alert), alert.severity)


def _running(deployment_id: UUID) -> Any:
    return models.Deployment.objects.filter(pk=deployment_id, ended_at=None)


def _alert(model_id: UUID, alert: Alert) -> payloads.PerformanceAlert:
    return payloads.PerformanceAlert(
        model_id=str(model_id),
        metric=alert.metric,
        value=alert.value,
        limit=alert.limit,
        message=alert.message[:300],
        feature=alert.feature or UNSET,
        state=alert.state,
    )


def _moment(outcome: Outcome) -> datetime:
    return outcome.at
