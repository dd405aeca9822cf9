"""AI Studio's engines as a whole: bars in, predictions out; one room's trouble stays in that room; what is old goes."""

import asyncio
import threading
from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from apps.accounts.models import User
from apps.ai_studio import earnings, housekeeping, models, runner
from engines.learning.spec import LabelSpec
from engines.market.data import MarketData, MarketUpdate
from engines.market.quotes import DAY_SECONDS
from tests.apps.ai_studio.studio_market import BARS, WARMUP_DAYS, DailyFeed, StudioMarket, artifact_of, deploy

pytestmark = pytest.mark.django_db
in_threads = pytest.mark.django_db(transaction=True)


@pytest.fixture
def owner(db):
    return User.objects.create_user("asha@example.com")  # without a password, whose hash takes a second


@pytest.fixture
def model(owner):
    return models.Model.objects.create(owner=owner, name="momentum", bar_seconds=DAY_SECONDS, symbols=["IBM"])


@pytest.fixture
def studio(db):
    """The runner over the days of the tests."""
    return runner.StudioRunner(MarketData(DailyFeed(), lambda: 0.0))


def update_of(day):
    bars = BARS[2 * day : 2 * day + 2]
    return MarketUpdate((), bars, {1: bars, DAY_SECONDS: bars})


@in_threads
def test_closed_bars_become_predictions_and_outcomes(studio, model, monkeypatch):
    published = StudioMarket(monkeypatch)
    deploy(model, artifact_of(label=LabelSpec(horizon_bars=1)))
    studio._begin()
    for day in range(WARMUP_DAYS, WARMUP_DAYS + 3):
        asyncio.run(studio.on_market(update_of(day)))
    assert len(published.taken("new_prediction")) == 3
    assert len(published.taken("prediction_outcome")) == 2
    assert models.StoredBar.objects.filter(time=BARS[2 * WARMUP_DAYS + 4].time).count() == 2
    asyncio.run(studio.on_market(MarketUpdate((), [], {1: BARS[-2:]})))
    assert not published.taken("new_prediction")


@in_threads
def test_bars_are_kept_when_predicting_fails(studio, model, monkeypatch, caplog):
    deploy(model, artifact_of())
    studio._begin()
    monkeypatch.setattr(studio._predictions, "on_bars", lambda kept, arrived: 1 / 0)
    asyncio.run(studio.on_market(update_of(WARMUP_DAYS)))
    assert "nothing was predicted on the bars that closed" in caplog.text
    assert models.StoredBar.objects.filter(time=BARS[2 * WARMUP_DAYS].time).count() == 2


def test_a_room_that_fails_keeps_no_other_from_working(studio, monkeypatch, caplog):
    worked = set()

    def work_of(name, *, sync):
        def work():
            worked.add(name)
            if name in ("_monitoring", "_dashboards"):
                raise ZeroDivisionError

        async def work_async():
            work()

        return work if sync else work_async

    for name, method, sync in (
        ("_jobs", "tick", True),
        ("_system", "look", False),
        ("_dashboards", "publish", False),
        ("_monitoring", "publish", True),
        ("_store", "refresh", True),
        ("_earnings", "publish", False),
        ("_store", "prune", True),
    ):
        monkeypatch.setattr(getattr(studio, name), method, work_of(name, sync=sync))
    monkeypatch.setattr(housekeeping, "tidy", work_of("housekeeping", sync=True))

    async def run_until_all_worked():
        running = asyncio.create_task(studio.run())
        async with asyncio.timeout(15):
            while len(worked) < 7:
                await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(run_until_all_worked())
    assert worked == {"_jobs", "_system", "_dashboards", "_monitoring", "_store", "_earnings", "housekeeping"}
    assert caplog.text.count("ZeroDivisionError") >= 2, "each, and again on a busy machine"


def test_it_stops_in_spite_of_a_room_that_does_not(studio, monkeypatch, caplog):
    stopped, threads = [], []

    async def stop():
        stopped.append(1)

    def fail():
        threads.append(threading.current_thread().name)
        raise ZeroDivisionError

    monkeypatch.setattr(studio._jobs, "stop", fail)
    monkeypatch.setattr(studio._system, "stop", stop)
    monkeypatch.setattr(studio._dashboards, "close", stop)
    asyncio.run(studio.stop())
    assert len(stopped) == 2
    assert not threads[0].startswith("engines"), "it may take a second, and others need that thread"
    assert "did not stop cleanly" in caplog.text


@in_threads
def test_it_starts_from_what_is_stored_and_follows_the_market(studio, model, monkeypatch):
    started = []
    monkeypatch.setattr(studio._jobs, "start", lambda: started.append(1))
    deploy(model, artifact_of())
    asyncio.run(studio.start())
    assert started
    assert studio._market._listeners == [studio.on_market]
    assert models.StoredBar.objects.count() == 2 * WARMUP_DAYS
    assert len(studio._monitoring._watched) == 1


# Housekeeping


def prediction(model, age, **fields):
    created_at = timezone.now() - age
    return models.Prediction.objects.create(
        model=model,
        symbol="IBM",
        direction="UP",
        probability=0.6,
        price=1.0,
        bar_time=created_at,
        created_at=created_at,
        **{"model_version": 1, **fields},
    )


def test_what_is_old_is_dropped_and_what_waits_is_not(model, monkeypatch):
    monkeypatch.setattr(housekeeping, "KEPT_JOBS", 3)
    monkeypatch.setattr(housekeeping, "KEPT_PREDICTIONS", 2)
    for _ in range(6):
        models.TrainingJob.objects.create(model=model, status="COMPLETED")
        models.Backtest.objects.create(model=model, status="FAILED")
    waiting = models.TrainingJob.objects.create(model=model)
    kept = [prediction(model, timedelta(minutes=minutes)) for minutes in (1, 2, 3, 4)][:2]
    housekeeping.tidy()
    assert models.TrainingJob.objects.filter(status="COMPLETED").count() == 3
    assert models.Backtest.objects.count() == 3
    assert models.TrainingJob.objects.filter(pk=waiting.pk).exists()
    assert set(models.Prediction.objects.all()) == set(kept)


def test_predictions_that_a_lease_is_accounted_by_are_kept_until_their_month_is_closed(model, monkeypatch):
    monkeypatch.setattr(housekeeping, "KEPT_PREDICTIONS", 1)
    listing = models.Listing.objects.create(model=model, title="Momentum", profit_share_percent=Decimal(10))
    now = timezone.now()
    lease = models.Lease.objects.create(
        listing=listing,
        lessee=User.objects.create_user("bala@example.com"),
        starts_at=now - timedelta(days=30),
        ends_at=now - timedelta(days=10),
        profit_share_percent=Decimal(10),
        capital=Decimal(100_000),
    )
    settled = {"outcome_price": 2.0, "correct": True}
    ages = {
        days: prediction(model, timedelta(days=days), settled_at=now - timedelta(days=days), **settled)
        for days in (0, 5, 15, 25, 35)
    }
    closed = []
    monkeypatch.setattr(earnings, "close_months", closed.append)
    housekeeping.tidy()
    assert closed
    assert set(models.Prediction.objects.all()) == {ages[0], ages[15], ages[25]}
    lease.settled_until = now - timedelta(days=20)
    lease.save()
    housekeeping.tidy()
    assert set(models.Prediction.objects.all()) == {ages[0], ages[15]}


def test_it_asks_as_much_for_many_models_as_for_one(owner, model, django_assert_num_queries):
    models.Model.objects.bulk_create(models.Model(owner=owner, name=f"model {n}", rerun_seconds=30) for n in range(20))
    prediction(model, timedelta(0))
    models.TrainingJob.objects.create(model=model, status="COMPLETED")
    deploy(model, artifact_of())
    with django_assert_num_queries(5):  # predictions, two kinds of jobs, versions; and months to close
        housekeeping.tidy()


def test_versions_of_a_model_that_trains_by_itself_do_not_pile_up(model, monkeypatch):
    monkeypatch.setattr(housekeeping, "KEPT_VERSIONS", 2)
    for _ in range(6):
        deploy(model, artifact_of())
    models.Deployment.objects.filter(ended_at=None).update(ended_at=timezone.now())
    models.Deployment.objects.filter(artifact__version=1).update(ended_at=None)
    prediction(model, timedelta(hours=1), model_version=3)
    housekeeping.tidy()
    assert model.artifacts.count() == 6, "asked for one by one"
    model.rerun_seconds = 30
    model.save()
    housekeeping.tidy()
    assert sorted(model.artifacts.values_list("version", flat=True)) == [1, 3, 5, 6]
    assert sorted(model.deployments.values_list("artifact__version", flat=True)) == [1, 3, 5, 6], (
        "it waits for an outcome"
    )
