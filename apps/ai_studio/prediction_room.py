"""Predictions of the deployed models on closed bars, and what became of them. Run it in the engines' thread."""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from uuid import UUID

import numpy as np
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from apps.ai_studio import models, present, websocket_utils
from apps.ai_studio.bar_store import BarStore
from apps.ai_studio.deployed_models import DeployedModel, DeployedModels, Target, targets_of
from apps.ai_studio.monitoring_room import MonitoringRoom, Outcome, Seen
from engines.learning.features import FEATURES, feature_matrix
from engines.learning.labels import UNKNOWN, Labels, labels_of
from engines.learning.metrics import guesses_up
from engines.learning.spec import LabelSpec
from engines.market.history import BarSeries, Column
from engines.market.quotes import Bar

log = logging.getLogger(__name__)

_UNDER_HALF = math.nextafter(0.5, 0.0)
_SETTLED_FIELDS = ("outcome_price", "correct", "settled_at")


@dataclass(frozen=True, eq=False)
class _Open:
    """A prediction whose outcome is not known yet, and what tells it."""

    row: models.Prediction
    target: Target

    @property
    def key(self) -> tuple[int, str]:
        """Of the bars that tell it: seconds and symbol."""
        return self.target.bar_seconds, self.row.symbol


@dataclass(eq=False)
class _Batch:
    """What some closed bars led to. Memory follows it once it is written."""

    made: list[_Open]
    settled: dict[_Open, datetime]  # and the bar that told it
    dropped: list[_Open]  # they will never have an outcome
    features: dict[UUID, list[Column]]  # that were predicted on, by deployment


class PredictionRoom:
    """The deployed models at work. `monotonic` is seconds of a clock that never goes back.

    Features are computed once per symbol and length of bar, for all models together; each model predicts all its
    symbols at once. Outcomes are what the labels of training say (`engines.learning.labels`), over the bars that closed
    since: a triple barrier's is known as soon as one is reached. Whoever made a prediction, it is followed to its
    outcome: also when its model is withdrawn or has a new version, and across a restart."""

    def __init__(
        self, store: BarStore, deployed: DeployedModels, monitoring: MonitoringRoom, monotonic: Callable[[], float]
    ) -> None:
        self._store = store
        self._deployed = deployed
        self._monitoring = monitoring
        self._monotonic = monotonic
        self._open: dict[tuple[int, str], list[_Open]] = {}  # by `_Open.key`
        self._has_looked_back = False

    def refresh(self) -> None:
        """Look which models are deployed, and, the first time, which predictions an earlier run left open."""
        self._deployed.refresh()
        self._monitoring.follow()
        at_work = {deployed.model_id for deployed in self._deployed.by_deployment.values()}
        self._forget_deleted(self._followed_models() - at_work)
        if not self._has_looked_back:
            for each in list(self._left_open()):
                self._open.setdefault(each.key, []).append(each)
            self._has_looked_back = True
        self._store.need(self._deployed.lengths | {seconds for seconds, _ in self._open})

    def on_bars(self, closed: Mapping[int, Sequence[Bar]], arrived_monotonic: float) -> None:
        """Settle what these bars, by seconds, tell the outcome of, and predict on them. The store has them already.

        When the database fails, nothing is predicted on these bars: a prediction after the next have closed would come
        too late. What they tell the outcome of is settled with the next."""
        self.refresh()
        batch = _Batch([], {}, [], defaultdict(list))
        for seconds, bars in closed.items():
            series = self._store.series(seconds, sorted({bar.symbol for bar in bars}))
            self._settle(batch, seconds, series)
            self._predict(batch, seconds, series, bars)
        if batch.made or batch.settled or batch.dropped:
            self._keep(batch, arrived_monotonic)

    # Outcomes

    def _left_open(self) -> Iterator[_Open]:
        """What was predicted, by whichever version, and can still be followed: its bar is known and is that of this
        market, and none since was missed."""
        since = self._store.first_time()
        if since is None:
            return
        rows = models.Prediction.objects.filter(settled_at=None, bar_time__gte=since)
        targets = targets_of(rows.order_by().values_list("model_id", "model_version").distinct())
        self._store.need(self._deployed.lengths | {target.bar_seconds for target in targets.values()})
        series: dict[tuple[int, str], BarSeries | None] = {}
        for row in rows.order_by("bar_time"):
            target = targets.get((row.model_id, row.model_version))
            if target is None:
                continue
            seconds, symbol = key = target.bar_seconds, row.symbol
            if key not in series:
                series[key] = self._store.series(seconds, [symbol]).get(symbol)
            of_symbol = series[key]
            index = None if of_symbol is None else _index(of_symbol, row.bar_time)
            is_same_market = of_symbol is not None and index is not None and of_symbol.close[index] == row.price
            if is_same_market and self._store.is_unbroken_since(seconds, symbol, row.bar_time):
                yield _Open(row, target)

    def _followed_models(self) -> set[UUID]:
        return {each.row.model_id for opened in self._open.values() for each in opened}

    def _forget_deleted(self, model_ids: AbstractSet[UUID]) -> None:
        """Follow no more what those of these models predicted that are gone."""
        gone = model_ids - _existing(model_ids)
        if gone:
            self._forget(each for opened in self._open.values() for each in opened if each.row.model_id in gone)

    def _forget(self, ended: Iterable[_Open]) -> None:
        left = set(ended)
        for key in {each.key for each in left}:
            self._open[key] = [each for each in self._open.get(key, ()) if each not in left]
            if not self._open[key]:
                del self._open[key]

    def _settle(self, batch: _Batch, seconds: int, series: Mapping[str, BarSeries]) -> None:
        now = timezone.now()
        for symbol, of_symbol in series.items():
            labels: dict[LabelSpec, Labels] = {}
            for each in self._open.get((seconds, symbol), ()):
                spec = each.target.label
                if spec not in labels:
                    labels[spec] = labels_of(of_symbol, spec)
                index = _index(of_symbol, each.row.bar_time)
                known_at = UNKNOWN if index is None else int(labels[spec].known_at[index])
                if index is not None and known_at != UNKNOWN:
                    went_up = bool(labels[spec].up[index])
                    each.row.outcome_price = float(of_symbol.close[known_at])
                    each.row.correct = went_up == (each.row.direction == "UP")
                    each.row.settled_at = now
                    batch.settled[each] = datetime.fromtimestamp(int(of_symbol.times[known_at]), UTC)
                elif index is None or index + spec.horizon_bars < len(of_symbol):
                    batch.dropped.append(each)  # the market went back before its bar, or the price stands still

    # Predictions

    def _predict(self, batch: _Batch, seconds: int, series: Mapping[str, BarSeries], bars: Sequence[Bar]) -> None:
        at_work = [deployed for deployed in self._deployed.by_deployment.values() if deployed.bar_seconds == seconds]
        names = [name for name in FEATURES if any(name in deployed.artifact.feature_names for deployed in at_work)]
        wanted = [bar for bar in bars if any(deployed.predicts(bar.symbol) for deployed in at_work)]
        found = _features_at(wanted, series, names)
        for deployed in at_work:
            columns = [names.index(name) for name in deployed.artifact.feature_names]
            rows = [(bar, values[columns]) for bar, values in found if deployed.predicts(bar.symbol)]
            rows = [(bar, values) for bar, values in rows if np.isfinite(values).all()]
            if not rows:
                continue
            matrix = np.array([values for _, values in rows])
            try:
                probabilities = deployed.predictor.probabilities(matrix)
            except Exception:
                # One model's trouble must not stop the others.
                log.exception("version %s of the model %s cannot predict", deployed.version, deployed.model_id)
                continue
            batch.made += [
                _Open(_prediction(deployed, bar, float(probability_up)), deployed.target)
                for (bar, _), probability_up in zip(rows, probabilities, strict=True)
            ]
            batch.features[deployed.deployment_id] += list(matrix)

    # What is kept, and published

    def _keep(self, batch: _Batch, arrived_monotonic: float) -> None:
        """Write it; without what is of models that were deleted since `refresh`, if there are such."""
        try:
            self._write(batch, arrived_monotonic)
        except IntegrityError:
            self._deployed.refresh()
            self._forget_deleted(self._followed_models())
            existing = _existing({each.row.model_id for each in (*batch.made, *batch.settled)})
            batch.made = [each for each in batch.made if each.row.model_id in existing]
            batch.settled = {each: at for each, at in batch.settled.items() if each.row.model_id in existing}
            self._write(batch, arrived_monotonic)

    @transaction.atomic
    def _write(self, batch: _Batch, arrived_monotonic: float) -> None:
        now = timezone.now()
        latency_ms = round((self._monotonic() - arrived_monotonic) * 1_000, 3)
        for each in batch.made:
            each.row.created_at, each.row.latency_ms = now, latency_ms
        models.Prediction.objects.bulk_create([each.row for each in batch.made])
        models.Prediction.objects.bulk_create(  # over the rows that are there: several times cheaper than `bulk_update`
            [each.row for each in batch.settled],
            update_conflicts=True,
            unique_fields=("id",),
            update_fields=_SETTLED_FIELDS,
        )
        _count(batch)
        transaction.on_commit(partial(self._remember, batch, latency_ms, now))
        for each in batch.settled:
            websocket_utils.notify_prediction_outcome(each.row.model_id, present.prediction(each.row))
        for each in batch.made:
            websocket_utils.notify_new_prediction(each.row.model_id, present.prediction(each.row))

    def _remember(self, batch: _Batch, latency_ms: float, now: datetime) -> None:
        """What the database now holds, for the bars to come and for monitoring."""
        self._forget([*batch.settled, *batch.dropped])
        for each in batch.made:
            self._open.setdefault(each.key, []).append(each)
        running = self._deployed.by_version
        outcomes: defaultdict[UUID, list[Outcome]] = defaultdict(list)
        for each, at in batch.settled.items():
            deployment_id = running.get((each.row.model_id, each.row.model_version))
            if deployment_id is not None:
                went_up = (each.row.direction == "UP") == each.row.correct
                outcomes[deployment_id].append(Outcome(_probability_up(each.row), went_up, at))
        for deployment_id in {*outcomes, *batch.features}:
            features = np.array(batch.features.get(deployment_id, []))
            self._monitoring.note(deployment_id, Seen(features, outcomes[deployment_id], latency_ms, now))


def _existing(model_ids: AbstractSet[UUID]) -> set[UUID]:
    """Those of these models that are not deleted."""
    return set(models.Model.objects.filter(pk__in=model_ids).values_list("pk", flat=True)) if model_ids else set()


def _index(series: BarSeries, time: datetime) -> int | None:
    """Where the bar is that began then."""
    seconds = int(time.timestamp())
    index = int(np.searchsorted(series.times, seconds))
    return index if index < len(series) and series.times[index] == seconds else None


def _features_at(
    bars: Sequence[Bar], series: Mapping[str, BarSeries], names: Sequence[str]
) -> list[tuple[Bar, Column]]:
    """The features at each bar's close, as far as they can be computed."""
    matrices = {}
    for symbol in {bar.symbol for bar in bars} & series.keys():
        try:
            matrices[symbol] = feature_matrix(series[symbol], names)
        except ValueError as error:
            log.warning("no features of %s: %s", symbol, error)
    found = []
    for bar in bars:
        index = _index(series[bar.symbol], bar.time) if bar.symbol in matrices else None
        if index is not None:
            found.append((bar, matrices[bar.symbol][index]))
    return found


def _prediction(deployed: DeployedModel, bar: Bar, probability_up: float) -> models.Prediction:
    up = guesses_up(probability_up)
    return models.Prediction(
        model_id=deployed.model_id,
        model_version=deployed.version,
        symbol=bar.symbol,
        direction="UP" if up else "DOWN",
        probability=probability_up if up else 1.0 - probability_up,
        price=bar.close,
        horizon_bars=deployed.target.label.horizon_bars,
        bar_time=bar.time,
    )


def _probability_up(row: models.Prediction) -> float:
    """On the side of 0.5 that the direction says, whatever rounding does."""
    return row.probability if row.direction == "UP" else min(1.0 - row.probability, _UNDER_HALF)


def _count(batch: _Batch) -> None:
    """Count today's predictions on their models: the predictions themselves are not kept for ever."""
    today = timezone.localdate()
    for model_id in {each.row.model_id for each in (*batch.made, *batch.settled)}:
        settled = [each.row for each in batch.settled if each.row.model_id == model_id]
        counts = {
            "predictions_made": sum(each.row.model_id == model_id for each in batch.made),
            "predictions_settled": len(settled),
            "predictions_correct": sum(bool(row.correct) for row in settled),
        }
        model = models.Model.objects.filter(pk=model_id)
        if not model.filter(counted_on=today).update(**{name: F(name) + count for name, count in counts.items()}):
            model.update(counted_on=today, **counts)
