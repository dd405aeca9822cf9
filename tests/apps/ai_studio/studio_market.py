"""A market and deployed models that a test moves bar by bar, and everything that was published, as clients read it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from apps.ai_studio import deployments, models
from apps.ai_studio.bar_store import BarStore
from apps.ai_studio.deployed_models import DeployedModels
from apps.ai_studio.monitoring_room import MonitoringRoom
from apps.ai_studio.prediction_room import PredictionRoom
from apps.streaming.feeds import shipped_bars_path
from apps.streaming.runtime import runtime
from engines.learning import artifact as artifacts
from engines.learning.calibration import UNCALIBRATED
from engines.learning.estimators import Logistic
from engines.learning.features import feature_matrix
from engines.learning.spec import LabelSpec, TrainingSpec
from engines.market.data import MarketData
from engines.market.feeds.replay import load_bars
from engines.market.history import history_of
from engines.market.instruments import Instrument
from engines.market.quotes import DAY_SECONDS, Bar

BARS = [bar for bar in load_bars(shipped_bars_path()).bars if bar.symbol in ("AAPL", "IBM")]
HISTORY = history_of(BARS)
FEATURES = ("return_1", "rsi_14")
WARMUP_DAYS = 25
Committing = Callable[[], AbstractContextManager[Any]]
TWO_BARS_AHEAD = LabelSpec(horizon_bars=2)


class DailyFeed:
    """The shipped days of two shares; its warm-up is the first `days`."""

    simulated = False
    is_live = False
    bar_seconds = DAY_SECONDS
    listed = 0
    instruments = (Instrument("AAPL", "AAPL", "equity"), Instrument("IBM", "IBM", "equity"))

    def __init__(self, days: int = WARMUP_DAYS, description: str = "days of the tests") -> None:
        self.days, self.description = days, description

    def warmup(self) -> list[Bar]:
        return BARS[: 2 * self.days]


def artifact_of(
    *,
    features: tuple[str, ...] = FEATURES,
    label: LabelSpec = TWO_BARS_AHEAD,
    bar_seconds: int = DAY_SECONDS,
    weight: float = 0.4,
    **changes: Any,
) -> artifacts.Artifact:
    """A logistic model of these features, as if it was trained on AAPL."""
    matrix = feature_matrix(HISTORY["AAPL"], features)
    matrix = matrix[np.isfinite(matrix).all(axis=1)]
    count = len(features)
    fields: dict[str, Any] = {
        "format": artifacts.FORMAT,
        "spec": TrainingSpec(algorithm="logistic", features=features, label=label),
        "feature_names": features,
        "symbols": ("AAPL",),
        "bar_seconds": bar_seconds,
        "data_from": 0,
        "data_until": 1,
        "rows": len(matrix),
        "versions": {},
        "estimator": Logistic(
            tuple(matrix.mean(axis=0).tolist()), tuple(matrix.std(axis=0).tolist()), (weight,) * count, 0.0
        ),
        "calibrator": UNCALIBRATED,
        "folds": (),
        "metrics": {"log_loss": 0.69, "accuracy": 0.52, "calibration_error": 0.02},
        "baseline": {"log_loss": 0.693},
        "fold_metrics": (),
        "reference": tuple(
            artifacts.reference_of(name, column) for name, column in zip(features, matrix.T, strict=True)
        ),
    }
    return artifacts.Artifact(**{**fields, **changes})


def deploy(model: models.Model, artifact: artifacts.Artifact, digest: str | None = None) -> models.Deployment:
    """A new version of the model, deployed."""
    content = artifacts.encode(artifact)
    model.version += 1
    model.save()
    models.Artifact.objects.create(
        model=model,
        version=model.version,
        digest=digest or artifacts.digest_of(content),
        content=content,
        metrics=artifact.metrics,
        baseline=artifact.baseline,
        rows=artifact.rows,
        data_from=datetime.fromtimestamp(artifact.data_from, UTC),
        data_until=datetime.fromtimestamp(artifact.data_until, UTC),
    )
    return deployments.deploy(model)


class Clock:
    """Stands still until a test moves it; also the wall clock of monitoring."""

    seconds = 1_000.0

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return datetime(2026, 11, 23, 4, 0, tzinfo=UTC) + timedelta(seconds=self.seconds)


class Rooms:
    """What the runner drives, over a feed. `committing`: in it, what waits for a commit happens; a test in one
    transaction needs it."""

    def __init__(self, feed: Any, clock: Clock, committing: Committing = nullcontext) -> None:
        self._committing = committing
        self.store = BarStore(MarketData(feed, clock.monotonic))
        self.deployed = DeployedModels()
        self.monitoring = MonitoringRoom(self.deployed, clock.monotonic, clock.now)
        self.predictions = PredictionRoom(self.store, self.deployed, self.monitoring, clock.monotonic)
        self.store.begin(clock.now())
        self.predictions.refresh()

    def take(self, closed: dict[int, list[Bar]], arrived_monotonic: float) -> None:
        with self._committing():
            self.predictions.on_bars(self.store.take(closed), arrived_monotonic)
        self.store.write()

    def measure(self) -> None:
        with self._committing():
            self.monitoring.publish()


class StudioMarket:
    """`day` closes the next shipped day's bars; `published` is what clients got, by type; `taken` gives what is new."""

    def __init__(self, monkeypatch: Any, committing: Committing = nullcontext) -> None:
        self.committing = committing
        self.clock = Clock()
        self.day_number = WARMUP_DAYS
        self.rooms = self.restarted()
        self.published: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        broker = runtime().broker
        send = broker.publish_many_soon

        def record(drafts: Any) -> int:
            for draft in drafts:
                message = json.loads(draft.body)
                self.published[message["type"]].append(message)
            return send(drafts)

        monkeypatch.setattr(broker, "publish_many_soon", record)

    def restarted(self, feed: Any = None) -> Rooms:
        """The rooms as a new process makes them, on the market as it stands."""
        self.rooms = Rooms(feed or DailyFeed(self.day_number), self.clock, self.committing)
        return self.rooms

    def next_bars(self) -> list[Bar]:
        self.day_number += 1
        return BARS[2 * self.day_number - 2 : 2 * self.day_number]

    def day(self, count: int = 1) -> None:
        for _ in range(count):
            self.rooms.take({DAY_SECONDS: self.next_bars()}, self.clock.monotonic())

    def taken(self, type_: str) -> list[dict[str, Any]]:
        return self.published.pop(type_, [])
