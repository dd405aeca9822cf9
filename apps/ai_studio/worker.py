"""The embedded job worker: one thread that takes waiting jobs from the database, trains and backtests."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import msgspec
from django.db import DatabaseError, close_old_connections, transaction
from django.db.models import Q
from django.utils import timezone

from apps.ai_studio import messages, models, present, websocket_utils
from engines.backtest.run import BacktestCancelled, BacktestFailed, BacktestProgress, run_backtest
from engines.learning.training import STEPS, TrainingCancelled, TrainingFailed, TrainingProgress, train
from engines.market.quotes import Bar

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5
REPORT_SECONDS = 0.2
CURVE_POINTS = 250
SERVER_STOPPED = "the server stopped while the job ran; start it again"
INTERNAL_FAILURE = "the job failed for an internal reason; the operator can see it in the log"


class JobWorker:
    """`training_bars` and `backtest_bars` are asked for when a job starts."""

    of_this_process: ClassVar[JobWorker | None] = None

    def __init__(self, training_bars: Callable[[], Sequence[Bar]], backtest_bars: Callable[[], Sequence[Bar]]) -> None:
        self._training_bars = training_bars
        self._backtest_bars = backtest_bars
        self.done = 0
        self.failed = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="job-worker", daemon=True)

    def start(self) -> None:
        """Fail what an earlier process left running, and begin."""
        self._fail_orphans(SERVER_STOPPED)
        JobWorker.of_this_process = self
        self._thread.start()

    def stop(self) -> None:
        """Ask the running job to stop, and wait for it briefly."""
        JobWorker.of_this_process = None
        self._stop.set()
        self._thread.join(timeout=2.0)

    def _work(self) -> None:
        lost_database = False
        while not self._stop.is_set():
            close_old_connections()
            ran = False
            try:
                if lost_database:
                    self._fail_orphans(INTERNAL_FAILURE)
                    lost_database = False
                ran = self.run_next()
            except DatabaseError:
                log.exception("the job worker cannot use the database; trying again")
                lost_database = True
            if not ran:
                self._stop.wait(POLL_SECONDS)

    def _fail_orphans(self, error: str) -> None:
        """Jobs that are said to run while this, the only worker, runs none."""
        for kind, failed in ((models.TrainingJob, self._training_failed), (models.Backtest, self._backtest_failed)):
            for job in kind.objects.filter(status=models.JobStatus.RUNNING).select_related("model"):
                failed(job, error)

    def run_next(self) -> bool:
        """Run one waiting job, if there is one."""
        for kind, work, failed in (
            (models.TrainingJob, self._train, self._training_failed),
            (models.Backtest, self._backtest, self._backtest_failed),
        ):
            job = _claim(kind)
            if job is None:
                continue
            try:
                work(job)
            except Exception:
                log.exception("job %s failed", job.id)
                failed(job, INTERNAL_FAILURE)
            if job.status == models.JobStatus.FAILED:
                self.failed += 1
            else:
                self.done += 1
            return True
        return False

    # Training

    def _train(self, job: models.TrainingJob) -> None:
        report = _Reporter(job, self._stop)

        def on_progress(progress: TrainingProgress) -> None:
            payload = messages.TrainingProgress(
                progress_percentage=round(progress.percentage, 1),
                current_step=progress.step_name,
                total_steps=len(STEPS),
                step=progress.step,
                eta_minutes=None if progress.eta_seconds is None else round(progress.eta_seconds / 60, 3),
                metrics=dict(progress.metrics),
            )
            report(payload, lambda: websocket_utils.notify_training_progress(job.id, payload))

        try:
            trained = train(
                self._training_bars(),
                seed=job.seed,
                report=on_progress,
                cancelled=report.cancelled,
                monotonic=time.monotonic,
            )
        except TrainingCancelled:
            if not job.cancel_requested:
                self._training_failed(job, SERVER_STOPPED)
                return
            _finish(job, models.JobStatus.CANCELLED, lambda: websocket_utils.notify_training_cancelled(job.id))
            return
        except TrainingFailed as error:
            self._training_failed(job, str(error))
            return
        with transaction.atomic():
            model = models.Model.objects.select_for_update().get(pk=job.model_id)
            model.version += 1
            model.artifact = msgspec.to_builtins(trained)
            model.save(update_fields=["version", "artifact"])
            result = messages.TrainingResult(
                model_id=str(model.id), metrics=dict(trained.metrics), version=model.version, rows=trained.rows
            )
            job.result = msgspec.to_builtins(result)
            job.progress = {**job.progress, "progress_percentage": 100.0}
            _finish(
                job,
                models.JobStatus.COMPLETED,
                lambda: websocket_utils.notify_training_progress(job.id, present.training_progress(job)),
                lambda: websocket_utils.notify_training_completed(job.id, result),
            )

    def _training_failed(self, job: models.TrainingJob, error: str) -> None:
        job.error = error
        _finish(job, models.JobStatus.FAILED, lambda: websocket_utils.notify_training_failed(job.id, error))

    # Backtests

    def _backtest(self, job: models.Backtest) -> None:
        report = _Reporter(job, self._stop)
        model_id = job.model_id

        def on_progress(progress: BacktestProgress) -> None:
            payload = messages.BacktestProgress(
                progress_percentage=round(progress.percentage, 2),
                status="RUNNING",
                simulated_date=progress.day,
                equity=round(progress.equity, 2),
                drawdown=round(max(0.0, progress.drawdown), 6),
                trades=progress.trades,
            )
            report(payload, lambda: websocket_utils.notify_backtest_progress(model_id, payload))

        try:
            result = run_backtest(self._backtest_bars(), report=on_progress, cancelled=report.cancelled)
        except BacktestCancelled:
            if not job.cancel_requested:
                self._backtest_failed(job, SERVER_STOPPED)
                return
            _finish(job, models.JobStatus.CANCELLED, lambda: websocket_utils.notify_backtest_cancelled(model_id))
            return
        except BacktestFailed as error:
            self._backtest_failed(job, str(error))
            return
        thinned = result.equity_curve[:: max(1, len(result.equity_curve) // CURVE_POINTS + 1)]
        results = messages.BacktestResults(**{**msgspec.structs.asdict(result), "equity_curve": thinned})
        job.result = msgspec.to_builtins(results)
        job.progress = {**job.progress, "progress_percentage": 100.0}
        _finish(
            job,
            models.JobStatus.COMPLETED,
            lambda: websocket_utils.notify_backtest_progress(model_id, present.backtest_progress(job)),
            lambda: websocket_utils.notify_backtest_completed(model_id, results),
        )

    def _backtest_failed(self, job: models.Backtest, error: str) -> None:
        job.error = error
        _finish(job, models.JobStatus.FAILED, lambda: websocket_utils.notify_backtest_failed(job.model_id, error))


class _Reporter:
    """Records and publishes progress, at most every `REPORT_SECONDS`; notices that a job should stop."""

    def __init__(self, job: Any, stop: threading.Event) -> None:
        self._job = job
        self._stop = stop
        self._reported_monotonic = 0.0
        self._cancelled = False

    def __call__(self, payload: msgspec.Struct, publish: Callable[[], None]) -> None:
        now = time.monotonic()
        step = getattr(payload, "step", None)
        if now - self._reported_monotonic < REPORT_SECONDS and step == self._job.progress.get("step"):
            return
        self._reported_monotonic = now
        progress = {name: value for name, value in msgspec.to_builtins(payload).items() if name != "status"}
        self._job.progress = progress
        self._job.save(update_fields=["progress"])
        publish()
        self._job.refresh_from_db(fields=["cancel_requested"])
        self._cancelled = self._job.cancel_requested

    def cancelled(self) -> bool:
        return self._cancelled or self._stop.is_set()


def _claim(kind: Any) -> Any:
    """The next waiting job of this kind, now running; None when there is none."""
    due = Q(not_before=None) | Q(not_before__lte=timezone.now())
    waiting = kind.objects.filter(due, status=models.JobStatus.PENDING).order_by("created_at")
    for job in waiting.select_related("model")[:5]:
        if kind.objects.filter(pk=job.pk, status=models.JobStatus.PENDING).update(status=models.JobStatus.RUNNING):
            job.status = models.JobStatus.RUNNING
            return job
    return None


def _finish(job: Any, status: models.JobStatus, *publish: Callable[[], None]) -> None:
    with transaction.atomic():
        job.status = status
        job.finished_at = timezone.now()
        job.save()
        for call in publish:
            call()
