"""Deployed models are measured; their owners hear of it, and of what goes wrong."""

from datetime import UTC, datetime
from functools import partial

import msgspec
import numpy as np
import pytest

from apps.accounts.models import User
from apps.ai_studio import deployments, models, monitoring_room, present
from apps.ai_studio.monitoring_room import SILENCE_SECONDS, STATE_SECONDS, Outcome, Seen
from engines.learning.features import feature_matrix
from engines.learning.monitoring import ModelMonitor
from engines.learning.spec import LabelSpec
from engines.market.quotes import DAY_SECONDS
from tests.apps.ai_studio.studio_market import FEATURES, HISTORY, StudioMarket, artifact_of, deploy

pytestmark = pytest.mark.django_db

USUAL = feature_matrix(HISTORY["AAPL"], FEATURES)[-400:]


@pytest.fixture
def owner(db):
    return User.objects.create_user("asha@example.com")  # without a password, whose hash takes a second


@pytest.fixture
def model(owner):
    return models.Model.objects.create(owner=owner, name="momentum", bar_seconds=DAY_SECONDS, symbols=["IBM"])


@pytest.fixture
def market(model, monkeypatch, django_capture_on_commit_callbacks):
    return StudioMarket(monkeypatch, partial(django_capture_on_commit_callbacks, execute=True))


def outcome(probability_up, *, went_up):
    return Outcome(probability_up, went_up, datetime(2026, 1, 5, 4, tzinfo=UTC))


def see(market, deployment, features=USUAL, outcomes=()):
    market.rooms.predictions.refresh()
    market.rooms.monitoring.note(deployment.pk, Seen(np.asarray(features), outcomes, 5.0, market.clock.now()))


def test_what_was_predicted_and_what_came_of_it_is_measured(market, model):
    deployment = deploy(model, artifact_of(label=LabelSpec(horizon_bars=1)))
    market.day(4)
    market.rooms.measure()
    (message,) = market.taken("model_update")
    update = message["update"]
    rows = models.Prediction.objects.exclude(correct=None)
    assert update["model_id"] == str(model.pk)
    assert update["outcomes"] == rows.count() == 3
    assert update["accuracy"] == pytest.approx(rows.filter(correct=True).count() / 3)
    likelihoods = [row.probability if row.correct else 1 - row.probability for row in rows]
    assert update["log_loss"] == pytest.approx(-np.mean(np.log(likelihoods)), rel=1e-6)
    assert (update["validation_accuracy"], update["validation_log_loss"]) == (0.52, 0.69)
    deployment.refresh_from_db()
    assert deployment.monitoring == {**update, "active_alerts": []}
    status = present.model_status(model)
    assert (status.outcomes, status.accuracy) == (3, update["accuracy"])


def test_only_what_changed_is_told_and_every_minute_all(market, model):
    deployment = deploy(model, artifact_of())
    room = market.rooms
    room.measure()
    assert len(market.taken("model_update")) == 1
    room.measure()
    assert not market.taken("model_update")
    see(market, deployment, outcomes=[outcome(0.6, went_up=True)])
    room.measure()
    assert market.taken("model_update")[0]["update"]["outcomes"] == 1
    market.clock.seconds += SILENCE_SECONDS
    room.measure()
    room.measure()
    assert len(market.taken("model_update")) == 1


def test_a_market_unlike_that_of_training_is_told_once_with_the_feature(market, model):
    deployment = deploy(model, artifact_of())
    shifted = USUAL + np.array([0.2, 0.0])
    for _ in range(3):
        see(market, deployment, shifted)
        market.rooms.measure()
    (message,) = market.taken("performance_alert")
    alert = message["alert"]
    assert (message["severity"], alert["metric"], alert["feature"]) == ("CRITICAL", "psi", "return_1")
    assert alert["state"] == "raised"
    assert alert["value"] > alert["limit"]
    assert present.model_status(model).active_alerts == ["psi:return_1"]

    market.restarted()
    market.rooms.measure()
    assert not market.taken("performance_alert"), "told before the restart"
    for _ in range(3):
        see(market, deployment)
    market.rooms.measure()
    (message,) = market.taken("performance_alert")
    assert (message["severity"], message["alert"]["state"]) == ("INFO", "cleared")
    assert present.model_status(model).active_alerts == []


def test_an_alert_that_could_not_be_written_is_told_the_next_time(market, model, monkeypatch, caplog):
    deployment = deploy(model, artifact_of())
    see(market, deployment, USUAL + 50.0)
    with monkeypatch.context() as broken:
        broken.setattr("apps.ai_studio.websocket_utils.notify_model_update", lambda *args: 1 / 0)
        market.rooms.measure()
    assert "could not be measured" in caplog.text
    assert not market.taken("performance_alert")
    deployment.refresh_from_db()
    assert deployment.monitor_state == {}
    market.rooms.measure()
    market.rooms.measure()
    assert [m["alert"]["feature"] for m in market.taken("performance_alert")] == ["return_1", "rsi_14"]


def test_what_a_monitor_saw_survives_a_restart(market, model):
    deployment = deploy(model, artifact_of())
    see(market, deployment, outcomes=[outcome(0.9, went_up=False)] * 3)
    market.rooms.monitoring.save()
    market.rooms.monitoring.save()
    market.restarted()
    market.rooms.measure()
    assert market.taken("model_update")[0]["update"]["outcomes"] == 3


def test_it_is_saved_every_minute_while_something_happens(market, model):
    deployment = deploy(model, artifact_of())
    market.rooms.measure()
    market.clock.seconds += STATE_SECONDS
    market.rooms.measure()
    deployment.refresh_from_db()
    assert deployment.monitor_state == {}, "nothing happened"
    see(market, deployment, outcomes=[outcome(0.9, went_up=True)])
    market.clock.seconds += STATE_SECONDS
    market.rooms.measure()
    deployment.refresh_from_db()
    assert deployment.monitor_state


def test_a_state_that_is_none_begins_anew(market, model, caplog):
    deployment = deploy(model, artifact_of())
    models.Deployment.objects.update(monitor_state={"rows": "nonsense"})
    see(market, deployment, outcomes=[outcome(0.6, went_up=True)])
    market.rooms.measure()
    assert "begins anew" in caplog.text
    assert market.taken("model_update")[0]["update"]["outcomes"] == 1


def test_of_a_withdrawn_model_nothing_is_told(market, model):
    deployment = deploy(model, artifact_of())
    market.rooms.measure()
    see(market, deployment, USUAL + 50.0)
    deployments.withdraw(model)
    market.taken("model_update")
    market.rooms.measure()
    see(market, deployment, USUAL + 50.0)
    assert not market.published
    deployment.refresh_from_db()
    assert deployment.monitor_state == {}


def test_one_that_ends_while_it_is_measured_is_not_written_to(market, model, monkeypatch):
    deployment = deploy(model, artifact_of())
    see(market, deployment)
    monkeypatch.setattr(market.rooms.deployed, "refresh", lambda: None)
    deployments.withdraw(model)
    market.rooms.measure()
    deployment.refresh_from_db()
    assert (deployment.monitoring, market.taken("model_update")) == ({}, [])


def test_a_new_version_is_measured_from_its_beginning(market, model):
    see(market, deploy(model, artifact_of()), outcomes=[outcome(0.6, went_up=True)])
    deploy(model, artifact_of(weight=0.1))
    market.rooms.measure()
    assert market.taken("model_update")[0]["update"]["outcomes"] == 0


def test_a_monitor_knows_how_far_its_model_looks_ahead(market, model, monkeypatch):
    made = []
    monkeypatch.setattr(
        monitoring_room, "ModelMonitor", lambda *args, **options: made.append(options) or ModelMonitor(*args, **options)
    )
    deploy(model, artifact_of(label=LabelSpec(horizon_bars=7)))
    market.rooms.measure()
    assert made == [{"horizon_bars": 7}]


def test_one_that_is_deleted_before_it_is_watched_is_left_out(market, owner, model, monkeypatch):
    doomed = models.Model.objects.create(owner=owner, name="doomed", bar_seconds=DAY_SECONDS)
    gone = deploy(doomed, artifact_of())
    deploy(model, artifact_of())
    begin = market.rooms.monitoring._begin

    def begin_late(deployed):
        if deployed.model_id == doomed.pk:
            models.Deployment.objects.filter(pk=gone.pk).delete()
        return begin(deployed)

    monkeypatch.setattr(market.rooms.monitoring, "_begin", begin_late)
    for _ in range(2):
        market.rooms.measure()
    assert {message["update"]["model_id"] for message in market.taken("model_update")} == {str(model.pk)}


def test_outcomes_count_for_the_version_that_runs_again(market, model):
    deploy(model, artifact_of(label=LabelSpec(horizon_bars=2)))
    market.day()
    deployments.withdraw(model)
    market.day()
    deployments.deploy(model)
    market.day()
    market.rooms.measure()
    assert market.taken("model_update")[0]["update"]["outcomes"] == 1


def test_the_owner_hears_once_of_a_model_that_cannot_be_measured(market, model, monkeypatch, caplog):
    deploy(model, artifact_of(metrics={}))
    with monkeypatch.context() as broken:
        broken.setattr("apps.ai_studio.websocket_utils.notify_performance_alert", lambda *args: 1 / 0)
        market.rooms.measure()
    assert "could not be measured" in caplog.text
    assert present.model_status(model).active_alerts is msgspec.UNSET
    for _ in range(2):
        market.rooms.measure()
    market.restarted()
    market.rooms.measure()
    (message,) = market.taken("performance_alert")
    assert (message["severity"], message["alert"]["metric"]) == ("WARNING", "not_measured")
    assert "log_loss" in message["alert"]["message"]
    status = present.model_status(model)
    assert (status.active_alerts, status.outcomes) == (["not_measured"], 0)


def test_one_models_trouble_keeps_no_other_from_being_measured(market, owner, model, caplog):
    silent = models.Model.objects.create(owner=owner, name="silent", bar_seconds=DAY_SECONDS)
    deploy(silent, artifact_of(metrics={}))
    deploy(model, artifact_of())
    market.day()
    for _ in range(2):
        market.rooms.measure()
    assert {message["update"]["model_id"] for message in market.taken("model_update")} == {str(model.pk)}
    assert models.Prediction.objects.filter(model=silent).exists()
    assert caplog.text.count("is not measured") == 1
