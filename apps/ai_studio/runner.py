"""Drives AI Studio: predictions on closed bars, monitoring, scheduled jobs, dashboards, earnings, system health."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import msgspec
from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from apps.accounts.models import User
from apps.ai_studio import messages, models, present, services, system_report, websocket_utils
from apps.ai_studio.worker import JobWorker
from apps.streaming.background import every
from apps.streaming.feeds import shipped_bars_path
from apps.streaming.threads import in_engine_thread
from engines.learning.features import LOOKBACK_BARS
from engines.learning.model import TrainedModel
from engines.learning.monitoring import ALERT_LOG_LOSS, PerformanceMonitor
from engines.market.data import MarketData, MarketUpdate
from engines.market.feeds.replay import load_bars
from engines.market.quotes import Bar

log = logging.getLogger(__name__)

KEPT_BARS = 400
KEPT_JOBS = 50
KEPT_PREDICTIONS = 2_000
MONITORING_SECONDS = 5.0
DASHBOARD_SECONDS = 2.0
EARNINGS_SECONDS = 10.0
SYSTEM_SECONDS = 5.0
HOUSEKEEPING_SECONDS = 60.0


class StudioRunner:
    """One per process that runs engines. `start`, then `run` as a task."""

    def __init__(self, market: MarketData) -> None:
        self._market = market
        self._bars: defaultdict[str, list[Bar]] = defaultdict(list)
        self._listed = -1
        self._symbols: frozenset[str] = frozenset()
        self._open: dict[tuple[object, str], models.Prediction] = {}
        self._monitors: defaultdict[object, PerformanceMonitor] = defaultdict(PerformanceMonitor)
        self._predicted: defaultdict[object, int] = defaultdict(int)
        self._dashboards: dict[int, dict[str, Any]] = {}
        self._worker = JobWorker(self.training_bars, lambda: load_bars(shipped_bars_path()).bars)

    async def start(self) -> None:
        for bar in self._market.feed.warmup():
            self._keep(bar)
        self._market.listen(self.on_market)
        await in_engine_thread(self._worker.start)()

    async def stop(self) -> None:
        await in_engine_thread(self._worker.stop)()

    def training_bars(self) -> Sequence[Bar]:
        """The latest bars of every symbol, in order of time."""
        return sorted((bar for bars in list(self._bars.values()) for bar in list(bars)), key=lambda b: b.time)

    async def run(self) -> None:
        """Everything that happens by the clock rather than by the market."""
        await asyncio.gather(
            every(MONITORING_SECONDS, in_engine_thread(self._publish_monitoring)),
            every(DASHBOARD_SECONDS, in_engine_thread(self._publish_dashboards)),
            every(EARNINGS_SECONDS, in_engine_thread(self._publish_earnings)),
            every(SYSTEM_SECONDS, system_report.publish),
            every(1.0, in_engine_thread(self._schedule_jobs)),
            every(HOUSEKEEPING_SECONDS, in_engine_thread(_housekeeping)),
        )

    # Predictions

    async def on_market(self, update: MarketUpdate) -> None:
        """Settle the predictions whose horizon these bars end, and predict on them."""
        bars = [bar for bar in update.closed_bars if bar.symbol in self._modelled()]
        for bar in bars:
            self._keep(bar)
        if bars:
            await in_engine_thread(self._predict)(bars)

    def _modelled(self) -> frozenset[str]:
        """What models look at: shares and indices; of contracts there are hundreds, each for some weeks."""
        feed = self._market.feed
        if feed.listed != self._listed:
            self._listed = feed.listed
            self._symbols = frozenset(i.symbol for i in feed.instruments if i.kind in ("index", "equity"))
        return self._symbols

    def _keep(self, bar: Bar) -> None:
        bars = self._bars[bar.symbol]
        bars.append(bar)
        del bars[:-KEPT_BARS]

    @transaction.atomic
    def _predict(self, bars: Sequence[Bar]) -> None:
        deployed = list(models.Model.objects.filter(deployed=True).exclude(artifact=None))
        ids = {model.pk for model in deployed}
        for key in [key for key in self._open if key[0] not in ids]:
            del self._open[key]  # its horizon passed while the model was away
        for model in deployed:
            trained = msgspec.convert(model.artifact, TrainedModel)
            settled: list[models.Prediction] = []
            made: list[models.Prediction] = []
            for bar in bars:
                if model.symbols and bar.symbol not in model.symbols:
                    continue
                open_prediction = self._open.get((model.pk, bar.symbol))
                if open_prediction is not None:
                    settled.append(_settled(open_prediction, bar))
                closes = [b.close for b in self._bars[bar.symbol][-LOOKBACK_BARS:]]
                probability_up = trained.probability_up(closes)
                if probability_up is not None:
                    made.append(_prediction(model, bar, probability_up))
            models.Prediction.objects.bulk_update(settled, ["outcome_price", "correct"])
            models.Prediction.objects.bulk_create(made)
            transaction.on_commit(partial(self._remember, model.pk, settled, made))
            _count(model, made=len(made), settled=len(settled), correct=sum(bool(p.correct) for p in settled))
            for prediction in settled:
                websocket_utils.notify_prediction_outcome(model.pk, present.prediction(prediction))
            for prediction in made:
                websocket_utils.notify_new_prediction(model.pk, present.prediction(prediction))

    def _remember(
        self, model_id: object, settled: Sequence[models.Prediction], made: Sequence[models.Prediction]
    ) -> None:
        """What the database now holds, for the bars to come and for monitoring."""
        for prediction in settled:
            up = prediction.direction == "UP"
            self._monitors[model_id].add(
                prediction.probability if up else 1 - prediction.probability, went_up=up == prediction.correct
            )
            self._open.pop((model_id, prediction.symbol), None)
        for prediction in made:
            self._open[model_id, prediction.symbol] = prediction
        self._predicted[model_id] += len(made)

    # By the clock

    def _publish_monitoring(self) -> None:
        for model in models.Model.objects.filter(deployed=True):
            monitor = self._monitors[model.pk]
            performance = monitor.performance()
            model.monitoring = msgspec.to_builtins(performance)
            model.save(update_fields=["monitoring"])
            made, self._predicted[model.pk] = self._predicted[model.pk], 0
            websocket_utils.notify_model_update(
                model.pk,
                messages.ModelUpdate(
                    model_id=str(model.pk),
                    outcomes=performance.outcomes,
                    accuracy=performance.accuracy,
                    log_loss=performance.log_loss,
                    predictions_per_minute=round(made * 60 / MONITORING_SECONDS, 1),
                ),
            )
            bad = monitor.alert()
            if bad is not None and bad.log_loss is not None:
                alert = messages.PerformanceAlert(
                    model_id=str(model.pk),
                    metric="log_loss",
                    value=bad.log_loss,
                    limit=ALERT_LOG_LOSS,
                    message=f"log-loss {bad.log_loss:.3f} over {bad.outcomes} outcomes; a coin has 0.693",
                )
                websocket_utils.notify_performance_alert(model.pk, alert, "WARNING")

    def _publish_dashboards(self) -> None:
        for user_id in User.objects.filter(ai_models__isnull=False).distinct().values_list("pk", flat=True):
            parts = msgspec.structs.asdict(services.dashboard(str(user_id)))
            before = self._dashboards.get(user_id, {})
            changed = {name: value for name, value in parts.items() if name not in before or before[name] != value}
            self._dashboards[user_id] = parts
            if changed:
                websocket_utils.notify_dashboard_update(user_id, messages.DashboardUpdate(**changed))

    def _publish_earnings(self) -> None:
        for user_id in services.owners_with_leases():
            websocket_utils.notify_earnings_update(user_id, services.earnings(str(user_id)))

    def _schedule_jobs(self) -> None:
        """Keep one job of each kind waiting for every model that runs again by itself."""
        for model in models.Model.objects.exclude(rerun_seconds=None):
            for kind in (models.TrainingJob, models.Backtest):
                jobs = kind.objects.filter(model=model)
                if jobs.exclude(status__in=models.FINISHED).exists():
                    continue
                last = jobs.aggregate(last=Max("finished_at"))["last"]
                period = timedelta(seconds=model.rerun_seconds or 0)
                not_before = last + period if last else timezone.now()
                seed = {"seed": model.version + 1} if kind is models.TrainingJob else {}
                kind.objects.create(model=model, not_before=not_before, **seed)


def _prediction(model: models.Model, bar: Bar, probability_up: float) -> models.Prediction:
    up = probability_up >= 0.5
    return models.Prediction(
        model=model,
        model_version=model.version,
        symbol=bar.symbol,
        direction="UP" if up else "DOWN",
        probability=round(probability_up if up else 1 - probability_up, 4),
        price=bar.close,
        created_at=timezone.now(),
    )


def _settled(prediction: models.Prediction, bar: Bar) -> models.Prediction:
    """The prediction with its outcome."""
    prediction.outcome_price = bar.close
    prediction.correct = (bar.close > prediction.price) == (prediction.direction == "UP")
    return prediction


def _count(model: models.Model, *, made: int, settled: int, correct: int) -> None:
    """Count today's predictions on the model: the predictions themselves are not kept for long."""
    today = timezone.localdate()
    if model.counted_on != today:
        model.counted_on = today
        model.predictions_made = model.predictions_settled = model.predictions_correct = 0
    model.predictions_made += made
    model.predictions_settled += settled
    model.predictions_correct += correct
    model.save(update_fields=["counted_on", "predictions_made", "predictions_settled", "predictions_correct"])


def _housekeeping() -> None:
    """Drop old scheduled jobs and predictions, so that a server that runs for weeks does not fill its disk."""
    for model in models.Model.objects.all():
        for rows, kept in (
            (model.predictions.all(), KEPT_PREDICTIONS),
            (model.training_jobs.filter(status__in=models.FINISHED), KEPT_JOBS),
            (model.backtests.filter(status__in=models.FINISHED), KEPT_JOBS),
        ):
            oldest_kept = rows.values_list("created_at", flat=True)[kept - 1 : kept]
            for created_at in oldest_kept:
                rows.filter(created_at__lt=created_at).delete()
