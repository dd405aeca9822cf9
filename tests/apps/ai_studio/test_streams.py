"""The seven AI Studio streams: content, access, commands."""

from uuid import uuid4

import msgspec
import pytest
from django.utils import timezone

from apps.ai_studio import dashboard, marketplace, models, services, websocket_utils
from tests.conftest import make_user


def studio(user):
    """A trained and deployed model with a running job, for `user`; the ids by stream."""
    now = timezone.now()
    model = models.Model.objects.create(owner=user, name="momentum", version=2)
    artifact = models.Artifact.objects.create(
        model=model, version=2, digest="", content=b"", metrics={}, baseline={}, rows=0, data_from=now, data_until=now
    )
    models.Deployment.objects.create(model=model, artifact=artifact)
    job = models.TrainingJob.objects.create(model=model, status="RUNNING")
    model_id = str(model.pk)
    return {
        "ai-studio.training": str(job.pk),
        **{f"ai-studio.{name}": model_id for name in ("monitoring", "predictions", "backtest")},
    }


OBJECT_STREAMS = ("training", "monitoring", "predictions", "backtest")


@pytest.mark.parametrize("name", OBJECT_STREAMS)
def test_another_users_object_is_4003_and_a_missing_one_4004(server, user, other_user, name):
    object_id = studio(user)[f"ai-studio.{name}"]
    with server.open(f"ai-studio/{name}/{object_id}/", user) as client:
        assert client.next()["type"] == "welcome"
    with server.open(f"ai-studio/{name}/{object_id}/", other_user) as client:
        assert client.next()["error_code"] == "access_denied"
        assert client.close_code() == 4003
    for missing in (str(uuid4()), "not-a-uuid"):
        with server.open(f"ai-studio/{name}/{missing}/", user) as client:
            assert client.next()["error_code"] == "not_found"
            assert client.close_code() == 4004


def test_a_lessee_sees_predictions_while_the_lease_runs_and_nothing_else(server, user, other_user):
    model_id = studio(user)["ai-studio.predictions"]
    listing = marketplace.publish_listing(models.Model.objects.get(), title="Momentum", price_per_month=100)
    lease = marketplace.lease_model(other_user, str(listing.pk))
    with server.open(f"ai-studio/predictions/{model_id}/", other_user) as client:
        assert client.next()["type"] == "welcome"
    with server.open(f"ai-studio/monitoring/{model_id}/", other_user) as client:
        assert client.close_code() == 4003
    lease.ends_at = timezone.now()
    lease.save()
    with server.open(f"ai-studio/predictions/{model_id}/", other_user) as client:
        assert client.close_code() == 4003


def test_training_from_progress_to_the_end(server, user):
    job_id = studio(user)["ai-studio.training"]
    with server.open(f"ai-studio/training/{job_id}/", user) as client:
        assert client.until("training_progress")["progress"]["status"] == "RUNNING"
        websocket_utils.notify_training_completed(job_id, {"model_id": "m", "metrics": {"accuracy": 0.5}})
        assert client.next()["result"]["metrics"] == {"accuracy": 0.5}
        websocket_utils.notify_training_failed(job_id, "no rows")
        assert client.next()["error"] == "no rows"
        websocket_utils.notify_training_cancelled(job_id)
        assert client.next()["type"] == "training_cancelled"
        assert client.answer("request_progress")["type"] == "training_progress"


def test_cancelling_training(server, user):
    job_id = studio(user)["ai-studio.training"]
    with server.open(f"ai-studio/training/{job_id}/", user) as client:
        client.until("training_progress")
        assert client.answer("cancel_training")["type"] == "training_progress"
        assert models.TrainingJob.objects.get().cancel_requested
        models.TrainingJob.objects.update(status="PENDING")
        client.send("cancel_training", request_id="2")
        assert {client.next()["type"] for _ in range(2)} == {"training_cancelled", "training_progress"}
        assert client.answer("cancel_training")["error_code"] == "not_running"


def test_backtests_progress_and_cancel(server, user):
    model_id = studio(user)["ai-studio.backtest"]
    with server.open(f"ai-studio/backtest/{model_id}/", user) as client:
        assert client.until("backtest_progress")["progress"] == {"progress_percentage": 0.0}
        assert client.answer("cancel_backtest")["error_code"] == "not_running"
        services.start_backtest(models.Model.objects.get())
        client.send("cancel_backtest", request_id="1")
        assert {client.next()["type"] for _ in range(2)} == {"backtest_cancelled", "backtest_progress"}
        websocket_utils.notify_backtest_failed(model_id, "too few bars")
        assert client.next()["error"] == "too few bars"


def test_monitoring(server, user):
    model_id = studio(user)["ai-studio.monitoring"]
    with server.open(f"ai-studio/monitoring/{model_id}/", user) as client:
        status = client.until("model_status")["status"]
        assert (status["name"], status["version"], status["accuracy"]) == ("momentum", 2, None)
        alert = {"model_id": model_id, "metric": "log_loss", "value": 0.8, "limit": 0.75, "message": "worse"}
        websocket_utils.notify_performance_alert(model_id, alert, "WARNING")
        assert client.next()["severity"] == "WARNING"
        assert client.answer("request_status")["type"] == "model_status"


def test_dashboard_snapshot_plus_updates_is_a_fresh_snapshot(server, user):
    with server.open("ai-studio/dashboard/", user) as client:
        seen = client.until("dashboard_data")["data"]
        assert seen["model_count"] == 0
        studio(user)
        fresh = dashboard.dashboard(str(user.pk))
        websocket_utils.notify_dashboard_update(user.pk, msgspec.to_builtins(fresh))
        for _ in range(len(fresh.__struct_fields__)):
            seen |= client.until("dashboard_update")["update"]
        assert seen == client.answer("request_dashboard")["data"]


def test_the_marketplace_tells_the_owner_and_everyone(server, user, other_user):
    studio(user)
    model = models.Model.objects.get()
    with (
        server.open("ai-studio/marketplace/", user) as owner,
        server.open("ai-studio/marketplace/", other_user) as lessee,
    ):
        assert owner.until("recent_notifications")["earnings"]["active_leases"] == 0
        lessee.until("recent_notifications")
        listing = marketplace.publish_listing(model, title="Momentum", price_per_month=100)
        for client in (owner, lessee):
            assert client.next()["listing"]["title"] == "Momentum"
        marketplace.lease_model(other_user, str(listing.pk))
        assert owner.next()["lease"]["price"] == 100.0
        assert owner.next()["earnings"]["contracted"] == 100.0
        marketplace.review_model(other_user, str(listing.pk), 5, "good")
        assert owner.next()["review"]["rating"] == 5
        assert lessee.answer("ping")["type"] == "pong"
        assert {m["type"] for m in lessee.received} == {"welcome", "recent_notifications", "listing_published", "pong"}


def test_system_detail_is_for_staff(server, user):
    staff = make_user("staff@example.com", is_staff=True)
    with server.open("ai-studio/system/", user) as everyone, server.open("ai-studio/system/", staff) as operator:
        public = everyone.until("system_status_update")["status"]
        assert not {"host", "connections"} & set(public)
        assert everyone.until("worker_status_update")["workers"] == [], "no engines run here"
        detail = operator.until("system_status_update")["status"]
        assert detail["host"]["process_memory_mb"] > 1
        operator.until("worker_status_update")
        for client in (everyone, operator):
            client.answer("ping")
        status = {"status": "ok", "broker": "memory", "redis": "x", "database": "ok", "host": {"cpu_percent": 1.0}}
        websocket_utils.notify_system_status(status)
        assert "host" not in everyone.until("system_status_update")["status"]
        assert operator.until("system_status_update")["status"]["host"] == {"cpu_percent": 1.0}
        worker = {"name": "w", "busy": True, "done": 1, "failed": 0, "queued": 0, "job": "training of x"}
        websocket_utils.notify_worker_status([worker])
        assert "job" not in everyone.until("worker_status_update")["workers"][0]
        assert operator.until("worker_status_update")["workers"][0]["job"] == "training of x"
    with server.open("ai-studio/system/", user, since="ai.system.detail:abc:0") as nosy:
        assert nosy.until("error")["error_code"] == "access_denied"


def test_predictions(server, user):
    model_id = studio(user)["ai-studio.predictions"]
    prediction = {"id": "p", "symbol": "NIFTY", "direction": "UP", "probability": 0.6, "price": 1.0}
    with server.open(f"ai-studio/predictions/{model_id}/", user) as client:
        assert client.until("recent_predictions")["count"] == 0
        websocket_utils.notify_new_prediction(model_id, prediction)
        assert client.next()["prediction"] == prediction
        websocket_utils.notify_prediction_outcome(model_id, {**prediction, "outcome_price": 2.0, "correct": True})
        assert client.next()["prediction"]["correct"] is True
