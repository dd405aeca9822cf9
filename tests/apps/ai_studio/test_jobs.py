"""Jobs, from waiting to their end, as their owner sees them over the streams."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import InterfaceError, OperationalError
from django.utils import timezone

from apps.accounts.models import User
from apps.ai_studio import bar_store, models, services
from apps.ai_studio.jobs import ending, kinds, running, watch
from apps.ai_studio.jobs.running import JobRun
from engines.jobs.process import ComputeProcess
from engines.jobs.work import Cancelled, Crashed, Failed
from tests.apps.ai_studio.jobs import DONE, TRADE, Computing, Seconds, giving, make_model, run, simulated, trained
from tests.conftest import wait_until


@pytest.fixture
def user(transactional_db):
    return User.objects.create_user("asha@example.com")  # without a password: hashing one takes longer than most tests


@pytest.fixture
def other_user(transactional_db):
    return User.objects.create_user("bala@example.com")


@pytest.fixture
def model(user):
    return make_model(user)


@pytest.fixture
def no_bars(monkeypatch):
    monkeypatch.setattr(bar_store, "bars_for", lambda model, **_: {})


@pytest.fixture
def job(model, no_bars):
    return services.start_training(model)


def messages_of(client, type_):
    return [message for message in client.received if message["type"] == type_]


def test_training_and_a_backtest_of_what_was_trained_in_a_real_process(server, user, model):
    model.training = {"algorithm": "logistic", "folds": 2, "features": ["return_1", "return_5"]}
    model.symbols = ["IBM"]
    model.auto_deploy = True
    model.save()
    job = services.start_training(model)
    with (
        server.open(f"ai-studio/training/{job.pk}/", user) as training,
        server.open(f"ai-studio/backtest/{model.pk}/", user) as backtest,
        ComputeProcess("tests.engines.jobs.keen_child") as compute,
    ):
        assert training.until("training_progress")["progress"]["status"] == "PENDING"
        assert run(job, compute, worker="the test's") == "COMPLETED"
        result = training.until("training_completed", timeout=20)["result"]
        run(services.start_backtest(models.Model.objects.get(), {"strategy": "model", "start": "2012-06-01"}), compute)
        results = backtest.until("backtest_completed", timeout=20)["results"]
    first = messages_of(training, "training_update")[0]["progress"]
    assert (first["status"], first["current_step"], first["progress_percentage"]) == ("RUNNING", "Load bars", 0.0)
    artifact = models.Artifact.objects.get()
    assert (result["version"], result["digest"], result["rows"]) == (1, artifact.digest, artifact.rows)
    assert 0.6 < result["metrics"]["log_loss"] < 0.8
    assert models.Deployment.objects.get(ended_at=None).artifact == artifact
    job.refresh_from_db()
    assert (job.worker, job.progress["progress_percentage"], job.result["version"]) == ("the test's", 100.0, 1)
    assert results["strategy"].startswith("model")
    kept = models.Backtest.objects.get()
    assert (results["backtest_id"], results["model_version"], kept.spec["model_version"]) == (str(kept.pk), 1, 1)
    assert kept.result["final_equity"] == results["final_equity"]
    simulated_days = [message["progress"] for message in messages_of(backtest, "backtest_progress")][2:]
    assert {each["backtest_id"] for each in simulated_days} == {str(kept.pk)}
    assert (simulated_days[-1]["simulated_date"], kept.progress["simulated_date"]) == (results["end"],) * 2
    assert sum(len(each.get("new_trades", ())) for each in simulated_days) == results["trades"] > 0


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        (Failed(message="fewer bars than are needed"), "fewer bars"),
        (Failed(traceback="ZeroDivisionError: division"), "internal reason"),
        (Crashed("killed by signal 9"), "the computing process died (killed by signal 9)"),
        (Failed(message="long " * 100), "…"),
    ],
)
def test_a_failure_is_a_sentence_for_the_owner_and_its_traceback_is_for_the_log(server, user, job, outcome, error):
    with server.open(f"ai-studio/training/{job.pk}/", user) as client:
        client.until("training_progress")
        assert run(job, giving(outcome)) == "FAILED"
        told = client.until("training_failed")["error"]
    assert error in told
    assert "ZeroDivisionError" not in told
    job.refresh_from_db()
    assert (job.status, job.error) == ("FAILED", told)
    assert models.Model.objects.get().version == 0


def test_a_bug_outside_the_process_is_an_internal_reason_too(job, monkeypatch):
    monkeypatch.setattr(bar_store, "bars_for", lambda model, **_: 1 / 0)
    assert run(job, giving(DONE)) == "FAILED"
    job.refresh_from_db()
    assert job.error == ending.INTERNAL_FAILURE


def test_a_job_whose_end_fails_keeps_nothing_and_is_failed(job, monkeypatch):
    monkeypatch.setattr(models.Model, "save", lambda *args, **kwargs: 1 / 0)
    assert run(job, giving(DONE)) == "FAILED"
    assert not models.Artifact.objects.exists()
    job.refresh_from_db()
    assert job.progress["progress_percentage"] == 0.0, "it was not completed"


def test_a_cancelled_job_stops_at_the_next_look(server, user, job):
    clock = Seconds()

    def script(on_progress, should_stop):
        assert not should_stop()
        services.cancel(models.TrainingJob.objects.get())
        clock.now += running.LOOK_SECONDS
        assert should_stop()
        return Cancelled()

    with server.open(f"ai-studio/training/{job.pk}/", user) as client:
        client.until("training_progress")
        assert run(job, Computing(script), monotonic=clock) == "CANCELLED"
        client.until("training_cancelled")


def test_a_job_that_is_cancelled_while_its_bars_are_read_is_not_computed(job, monkeypatch):
    monkeypatch.setattr(bar_store, "bars_for", lambda model, **_: services.cancel(job) or {})
    compute = giving(DONE)
    assert run(job, compute) == "CANCELLED"
    assert not compute.works


def test_a_stopping_server_cancels_nothing_in_the_owners_name(job):
    stop = threading.Event()

    def script(on_progress, should_stop):
        stop.set()
        assert should_stop()
        return Cancelled()

    assert run(job, Computing(script), stop=stop) == "FAILED"
    job.refresh_from_db()
    assert job.error == ending.SERVER_STOPPED


def test_updates_come_twice_a_second_and_the_latest_counts(server, user, job):
    clock = Seconds()

    def script(on_progress, should_stop):
        for percentage in range(1, 17):
            clock.now += 0.125
            on_progress(trained(float(percentage), rows=900, eta_seconds=60.0, metrics={"auc": float("nan")}))
        clock.now += 0.5
        should_stop()  # nothing new: nothing to say
        return DONE

    with server.open(f"ai-studio/training/{job.pk}/", user) as client:
        client.until("training_progress")
        run(job, Computing(script), monotonic=clock)
        client.until("training_completed")
    updates = [message["progress"] for message in messages_of(client, "training_update")]
    assert [update["progress_percentage"] for update in updates] == [0.0, 4.0, 8.0, 12.0, 16.0]
    assert (updates[-1]["eta_minutes"], updates[-1]["memory_mb"], updates[-1]["metrics"]) == (1.0, 200.0, {})


def test_no_trade_is_lost_between_two_updates_or_at_the_end(server, user, model, no_bars):
    backtest = services.start_backtest(model, {"strategy": "trend"})
    clock = Seconds()

    def script(on_progress, should_stop):
        for percentage in range(1, 3):
            clock.now += 0.25
            on_progress(simulated(float(percentage), [TRADE]))
        on_progress(simulated(4.0, [TRADE] * 250))
        clock.now += 0.5
        should_stop()
        for percentage in range(5, 8):
            on_progress(simulated(float(percentage), [TRADE]))
        return Failed(message="enough")

    with server.open(f"ai-studio/backtest/{model.pk}/", user) as client:
        client.until("backtest_progress")
        run(backtest, Computing(script), monotonic=clock)
        assert client.until("backtest_failed")["backtest_id"] == str(backtest.pk)
    assert client.received[-2]["type"] == "backtest_progress", "the last report is said directly before the end"
    updates = [message["progress"] for message in messages_of(client, "backtest_progress")]
    assert [len(update.get("new_trades", ())) for update in updates[1:]] == [0, 2, 200, 3]
    assert updates[-1]["simulated_date"] == "2010-01-05"
    assert {(update["backtest_id"], update["status"]) for update in updates[1:]} == {(str(backtest.pk), "RUNNING")}
    backtest.refresh_from_db()
    assert backtest.progress["progress_percentage"] == 7.0


def test_what_was_reported_last_is_what_a_completed_job_shows(job):
    def script(on_progress, should_stop):
        on_progress(trained(99.0, rows=900, phase="final fit"))
        return DONE

    assert run(job, Computing(script), monotonic=Seconds()) == "COMPLETED"
    job.refresh_from_db()
    kept = job.progress
    assert (kept["progress_percentage"], kept["rows"], kept["phase"]) == (100.0, 900, "final fit")


def test_a_job_that_gives_signs_of_life_is_not_lost_and_one_that_does_not_is(server, user, job):
    clock = Seconds()
    in_a_while = timezone.now() + timedelta(seconds=watch.LOST_AFTER_SECONDS + 5)

    def script(on_progress, should_stop):
        models.TrainingJob.objects.update(heartbeat_at=in_a_while - timedelta(hours=1))
        clock.now += running.HEARTBEAT_SECONDS
        should_stop()
        assert watch.fail_lost_jobs() == 0
        assert watch.fail_lost_jobs(in_a_while) == 1
        on_progress(trained(50.0))
        clock.now += 1
        assert should_stop(), "whoever lost the job need not go on"
        on_progress(trained(60.0))
        return DONE

    with server.open(f"ai-studio/training/{job.pk}/", user) as client:
        client.until("training_progress")
        assert run(job, Computing(script), monotonic=clock) is None
        assert client.until("training_failed")["error"] == ending.WORKER_GONE
        client.answer("ping")
    types = [message["type"] for message in client.received]
    assert types.count("training_failed") == 1
    assert "training_completed" not in types
    assert types.count("training_update") == 1, "the one before it was lost"
    assert not models.Artifact.objects.exists()


def test_a_job_that_was_taken_at_its_very_end_completes_nothing(job):
    def script(on_progress, should_stop):
        models.TrainingJob.objects.update(status="FAILED")
        return DONE

    assert run(job, Computing(script)) is None
    assert models.Model.objects.get().version == 0


def test_a_job_that_is_delivered_twice_runs_once(job):
    compute = giving(DONE)
    assert [run(job, compute), run(job, compute)] == ["COMPLETED", None]
    assert len(compute.works) == 1


def test_a_scheduled_job_waits_for_its_time(job):
    models.TrainingJob.objects.update(not_before=timezone.now() + timedelta(hours=1))
    assert run(job, giving(DONE)) is None
    models.TrainingJob.objects.update(not_before=timezone.now())
    assert run(job, giving(DONE)) == "COMPLETED"


def test_a_spec_that_no_longer_fits_and_a_model_that_is_not_trained_are_said(model, no_bars):
    unknown = models.TrainingJob.objects.create(model=model, spec={"features": ["moon_phase"]})
    untrained = models.Backtest.objects.create(model=model, spec={"strategy": "model"})
    dropped = models.Backtest.objects.create(model=model, spec={"strategy": "model", "model_version": 3})
    odd = models.Backtest.objects.create(model=model, spec={"strategy": "luck"})
    sentences = ((unknown, "moon_phase"), (untrained, "train it first"), (dropped, "version 3"), (odd, "strategy"))
    for each, error in sentences:
        assert run(each, giving(DONE)) == "FAILED"
        each.refresh_from_db()
        assert error in each.error


def test_the_clock_keeps_one_job_of_each_kind_waiting(model, no_bars):
    models.Model.objects.update(rerun_seconds=30)
    for _ in range(3):
        watch.schedule_jobs()
    assert (models.TrainingJob.objects.count(), models.Backtest.objects.count()) == (1, 0), "nothing to backtest yet"
    run(models.TrainingJob.objects.get(), giving(DONE))
    for _ in range(3):
        watch.schedule_jobs()
    latest = models.TrainingJob.objects.first()
    assert (models.TrainingJob.objects.count(), models.Backtest.objects.count()) == (2, 1)
    assert (latest.seed, latest.spec["seed"]) == (2, 2)
    assert latest.not_before == models.TrainingJob.objects.last().finished_at + timedelta(seconds=30)
    wait_until(lambda: models.Backtest.objects.get().not_before <= timezone.now(), "the first run is at once")


def test_the_clock_asks_little_while_nothing_is_due_and_makes_no_second_job(
    model, other_user, django_assert_num_queries
):
    make_model(other_user, rerun_seconds=60, version=1)
    models.Model.objects.update(rerun_seconds=60)
    watch.schedule_jobs()
    for kind in kinds.KINDS:
        watch._schedule(kind, model.pk)  # as one that looked before the other's job was there
    assert models.TrainingJob.objects.filter(model=model).count() == 1
    with django_assert_num_queries(2):
        watch.schedule_jobs()


# Two at once


def test_a_backtest_waits_for_another_of_its_model_but_not_of_others(model, other_user, no_bars):
    make = models.Backtest.objects.create
    first, second = (make(model=model, spec={"strategy": "trend"}, sent_at=timezone.now()) for _ in range(2))
    others = make(model=make_model(other_user), spec={"strategy": "trend"})
    enough = giving(Failed(message="enough"))

    def script(on_progress, should_stop):
        assert run(second, enough) is None
        assert list(running.in_turn(kinds.BACKTEST)) == [others]
        assert run(others, enough) == "FAILED"
        return Failed(message="enough")

    assert run(first, Computing(script)) == "FAILED"
    second.refresh_from_db()
    assert (second.status, second.sent_at) == ("PENDING", None), "Celery is sent it again"
    assert run(second, enough) == "FAILED"


@pytest.mark.parametrize(("asked", "used"), [(None, 2), (1, 1)])
def test_a_backtest_is_of_the_version_that_was_asked_for(model, no_bars, asked, used):
    for version in (1, 2):
        content = f"version {version}".encode()
        models.Artifact.objects.create(
            model=model, version=version, digest="d", content=content, metrics={}, baseline={}, rows=1,
            data_from=timezone.now(), data_until=timezone.now(),
        )  # fmt: skip
    job = models.Backtest.objects.create(model=model, spec={"strategy": "model", "model_version": asked})
    work = kinds.BACKTEST.work(job, lambda: None)
    assert (work.artifact, job.spec["model_version"]) == (f"version {used}".encode(), used)


# The database


@pytest.fixture
def database(monkeypatch):
    """May be taken away from a job that runs: `errors` are raised, one by one, by the next questions of it."""
    ours, errors = JobRun._ours, []

    def asked(run):
        if errors:
            raise errors.pop(0)
        return ours(run)

    monkeypatch.setattr(JobRun, "_ours", asked)
    monkeypatch.setattr(running, "RETRY_SECONDS", 0.0)
    return errors


def test_a_job_bears_a_database_that_is_away_for_a_while(server, user, job, database):
    clock = Seconds()

    def script(on_progress, should_stop):
        database.extend([OperationalError("the server closed the connection"), InterfaceError("closed")])
        clock.now += 5.0
        on_progress(trained(50.0))
        assert not should_stop()
        assert not database
        clock.now += 9.0
        assert not should_stop()
        return DONE

    with server.open(f"ai-studio/training/{job.pk}/", user) as client:
        client.until("training_progress")
        assert run(job, Computing(script), monotonic=clock) == "COMPLETED"
        client.until("training_completed")
    percentages = [message["progress"]["progress_percentage"] for message in messages_of(client, "training_update")]
    assert percentages == [0.0, 50.0], "what could not be said is said later"


def test_a_job_whose_database_does_not_come_back_is_given_up(job, database):
    clock = Seconds()

    def script(on_progress, should_stop):
        database.extend([OperationalError("refused")] * 2)
        clock.now += running.PATIENCE_SECONDS - 1
        assert not should_stop()
        clock.now += 1
        should_stop()

    with pytest.raises(OperationalError):
        run(job, Computing(script), monotonic=clock)
    job.refresh_from_db()
    assert job.status == "RUNNING", "for whoever looks after lost jobs"


@pytest.mark.parametrize("is_committed", [False, True], ids=["before the commit", "before its answer"])
def test_an_end_that_lost_the_database_is_written_again_and_once(job, database, monkeypatch, is_committed):
    end, tries = JobRun._end, []

    def ending_once(run, outcome):
        tries.append(outcome)
        if len(tries) == 1:
            if is_committed:
                end(run, outcome)
            raise OperationalError("the server closed the connection")
        end(run, outcome)

    monkeypatch.setattr(JobRun, "_end", ending_once)
    assert run(job, giving(DONE)) == "COMPLETED"
    assert len(tries) == 2
    assert models.Artifact.objects.get().version == 1


def test_a_process_that_is_to_end_does_not_wait_for_the_database(job, database, monkeypatch):
    stop = threading.Event()

    def fail(run, outcome):
        stop.set()
        raise OperationalError("refused")

    monkeypatch.setattr(JobRun, "_end", fail)
    with pytest.raises(OperationalError):
        run(job, giving(DONE), stop=stop)


def test_a_job_lives_while_its_bars_are_read(job, monkeypatch):
    long_ago = timezone.now() - timedelta(hours=1)

    def read(model, **_):
        assert models.TrainingJob.objects.update(heartbeat_at=long_ago)
        return {}

    def script(on_progress, should_stop):
        assert models.TrainingJob.objects.get().heartbeat_at > long_ago
        return DONE

    monkeypatch.setattr(bar_store, "bars_for", read)
    assert run(job, Computing(script)) == "COMPLETED"
