"""Training and backtests by the embedded worker, watched over their streams; predictions and monitoring."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from django.utils import timezone

from apps.ai_studio import models, runner, services
from apps.ai_studio.worker import JobWorker
from apps.streaming.background import every
from apps.streaming.feeds import shipped_bars_path
from engines.market.data import MarketData, MarketUpdate
from engines.market.feeds.replay import ReplayFeed, load_bars

BARS = load_bars(shipped_bars_path()).bars[:1_500]


@pytest.fixture
def model(user):
    return models.Model.objects.create(owner=user, name="momentum", deployed=True)


def worker(training_bars=BARS, backtest_bars=BARS):
    return JobWorker(lambda: training_bars, lambda: backtest_bars)


def test_a_training_job_from_start_to_model(server, user, model):
    job = services.start_training(model)
    with server.open(f"ai-studio/training/{job.pk}/", user) as client:
        assert client.until("training_progress")["progress"]["status"] == "PENDING"
        assert worker().run_next()
        completed = client.until("training_completed", timeout=20)["result"]
    updates = [m["progress"] for m in client.received if m["type"] == "training_update"]
    steps = [u["current_step"] for u in updates]
    assert list(dict.fromkeys(steps)) == [
        "Load bars",
        "Feature engineering",
        "Split",
        "Training",
        "Evaluation",
        "Save",
    ]
    assert [u["progress_percentage"] for u in updates] == sorted(u["progress_percentage"] for u in updates)
    assert updates[-1]["progress_percentage"] == 100.0
    model.refresh_from_db()
    job.refresh_from_db()
    assert (model.version, job.status) == (1, "COMPLETED")
    assert completed["metrics"]["accuracy"] > 0.4
    assert not worker().run_next()


def test_a_training_job_that_cannot_work_says_why(server, user, model):
    job = services.start_training(model)
    with server.open(f"ai-studio/training/{job.pk}/", user) as client:
        client.until("training_progress")
        worker(training_bars=BARS[:50]).run_next()
        assert "are needed" in client.until("training_failed", timeout=20)["error"]
    job.refresh_from_db()
    assert job.status == "FAILED"


def test_a_bug_in_training_reaches_the_user_as_a_sentence(server, user, model, caplog):
    job = services.start_training(model)
    with server.open(f"ai-studio/training/{job.pk}/", user) as client:
        client.until("training_progress")
        worker(training_bars=None).run_next()
        assert "internal reason" in client.until("training_failed", timeout=20)["error"]


def test_a_cancelled_job_stops(server, user, model):
    job = services.start_training(model)
    models.TrainingJob.objects.update(cancel_requested=True)
    with server.open(f"ai-studio/training/{job.pk}/", user) as client:
        client.until("training_progress")
        worker().run_next()
        client.until("training_cancelled", timeout=20)
    job.refresh_from_db()
    assert job.status == "CANCELLED"
    model.refresh_from_db()
    assert model.version == 0


def test_a_backtest_from_start_to_results(server, user, model):
    services.start_backtest(model)
    with server.open(f"ai-studio/backtest/{model.pk}/", user) as client:
        client.until("backtest_progress")
        worker().run_next()
        results = client.until("backtest_completed", timeout=20)["results"]
        assert len(results["equity_curve"]) <= 251
        assert client.answer("request_progress")["progress"]["progress_percentage"] == 100.0
    progress = [m["progress"] for m in client.received if m["type"] == "backtest_progress"]
    assert any("simulated_date" in p for p in progress)


def test_a_second_job_by_hand_is_refused_while_one_waits(transactional_db, model):
    from realtime.errors import CommandFailed

    services.start_training(model)
    with pytest.raises(CommandFailed, match="unfinished"):
        services.start_training(model)


def test_scheduled_jobs_wait_for_their_time(transactional_db, model):
    job = models.TrainingJob.objects.create(model=model, not_before=timezone.now() + timedelta(hours=1))
    assert not worker().run_next()
    models.TrainingJob.objects.update(not_before=timezone.now())
    assert worker().run_next()
    job.refresh_from_db()
    assert job.status == "COMPLETED"


def test_what_a_dead_process_left_running_is_failed_at_the_start(transactional_db, model):
    models.TrainingJob.objects.create(model=model, status="RUNNING")
    models.Backtest.objects.create(model=model, status="RUNNING")
    started = worker()
    started.start()
    started.stop()
    assert models.TrainingJob.objects.get().status == "FAILED"
    assert "stopped" in models.Backtest.objects.get().error


async def no_sleep(seconds):
    await asyncio.sleep(0)


def trained_studio(model):
    """Engines whose model is trained, warmed up with real bars; and the last of IBM's."""
    services.start_training(model)
    worker().run_next()
    file = load_bars(shipped_bars_path())
    feed = ReplayFeed(type(file)(file.bars[:2_000], []), name="bars", sleep=no_sleep)
    studio = runner.StudioRunner(MarketData(feed, lambda: 0.0))
    for bar in feed.warmup():
        studio._keep(bar)
    return studio, next(bar for bar in feed.warmup()[::-1] if bar.symbol == "IBM")


def test_a_deployed_model_predicts_on_closed_bars_and_is_measured(server, user, model):
    studio, first = trained_studio(model)
    with (
        server.open(f"ai-studio/predictions/{model.pk}/", user) as predictions,
        server.open(f"ai-studio/monitoring/{model.pk}/", user) as monitoring,
    ):
        predictions.until("recent_predictions")
        monitoring.until("model_status")
        for _ in range(2):
            asyncio.run(studio.on_market(MarketUpdate((), [first])))
        made = predictions.until("new_prediction")["prediction"]
        outcome = predictions.until("prediction_outcome")["prediction"]
        assert outcome["id"] == made["id"]
        assert (made["symbol"], made["model_version"], outcome["outcome_price"]) == ("IBM", 1, first.close)
        assert outcome["correct"] is (made["direction"] == "DOWN"), "the price did not rise"
        studio._publish_monitoring()
        update = monitoring.until("model_update")["update"]
        assert (update["outcomes"], update["accuracy"]) == (1, float(outcome["correct"]))


def test_the_schedule_keeps_one_job_of_each_kind_ahead(transactional_db, model):
    model.rerun_seconds = 30
    model.save()
    file = load_bars(shipped_bars_path())
    studio = runner.StudioRunner(MarketData(ReplayFeed(file, name="x", sleep=no_sleep), lambda: 0.0))
    for _ in range(3):
        studio._schedule_jobs()
    assert (models.TrainingJob.objects.count(), models.Backtest.objects.count()) == (1, 1)


def test_housekeeping_keeps_what_is_new(transactional_db, model, monkeypatch):
    monkeypatch.setattr(runner, "KEPT_JOBS", 3)
    for _ in range(6):
        models.TrainingJob.objects.create(model=model, status="COMPLETED")
    waiting = models.TrainingJob.objects.create(model=model)
    runner._housekeeping()
    assert models.TrainingJob.objects.filter(status="COMPLETED").count() == 3
    assert models.TrainingJob.objects.filter(pk=waiting.pk).exists()


def test_a_job_whose_end_fails_is_failed_and_the_next_one_runs(transactional_db, model, monkeypatch):
    services.start_training(model)
    monkeypatch.setattr(models.Model, "save", lambda *args, **kwargs: 1 / 0)
    assert worker().run_next()
    job = models.TrainingJob.objects.get()
    assert (job.status, job.error) == (
        "FAILED",
        "the job failed for an internal reason; the operator can see it in the log",
    )


def test_a_stopping_server_cancels_nothing_in_the_owners_name(transactional_db, model):
    services.start_training(model)
    stopping = worker()
    stopping._stop.set()
    stopping.run_next()
    job = models.TrainingJob.objects.get()
    assert job.status == "FAILED"
    assert "the server stopped" in job.error


def test_work_by_the_clock_goes_on_after_a_failure():
    calls = []

    async def sleep(seconds):
        if len(calls) == 3:
            raise asyncio.CancelledError

    async def fail():
        calls.append(1)
        raise ZeroDivisionError

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(every(1.0, fail, sleep))
    assert len(calls) == 3


def test_a_prediction_of_a_model_that_was_away_is_not_settled_later(transactional_db, model):
    studio, bar = trained_studio(model)
    for deployed in (True, False, True):
        models.Model.objects.update(deployed=deployed)
        asyncio.run(studio.on_market(MarketUpdate((), [bar])))
    assert models.Prediction.objects.count() == 2
    assert not models.Prediction.objects.exclude(correct=None).exists()


def test_a_job_that_lost_its_database_is_failed_when_it_is_back(transactional_db, model, monkeypatch):
    from django.db import OperationalError

    orphan = models.TrainingJob.objects.create(model=model)
    worked = worker()
    outcomes = iter([OperationalError("gone"), False])

    def run_next():
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            models.TrainingJob.objects.update(status="RUNNING")
            raise outcome
        worked._stop.set()
        return outcome

    monkeypatch.setattr(worked, "run_next", run_next)
    monkeypatch.setattr("apps.ai_studio.worker.POLL_SECONDS", 0.01)
    worked._work()
    orphan.refresh_from_db()
    assert orphan.status == "FAILED"
