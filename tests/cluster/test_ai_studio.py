"""A user's way through AI Studio, over REST and the seven streams, in processes as they run for real: with the embedded
worker, and with Celery and Redis."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.cluster.conftest import SETTINGS
from tests.cluster.shifted_market import SYMBOLS, write_bars
from tests.processes import Served, start

ROOT = Path(__file__).parents[2]
SPEED = 22_500 * 40  # forty days per second
TRAINING = {"folds": 2, "boosting": {"iterations": 40, "early_stopping_iterations": 0}}
XSS = "<b>good</b><script>alert(1)</script>"


class Person:
    """Somebody with a token."""

    def __init__(self, served: Served, token: str) -> None:
        self._served = served
        self._token = token

    def call(self, method: str, path: str, body: object = None) -> object:
        return self._served.call(method, f"/api/ai{path}", body, self._token)

    def watch(self, stack: ExitStack, path: str):
        return stack.enter_context(self._served.open(f"ai-studio/{path}", self._token))


@pytest.fixture(params=["embedded", "celery"])
def place(request, tmp_path, django_db_setup):
    """A running system on a market that turns wild, and two people."""
    variables = {**SETTINGS, "DATABASE_URL": f"sqlite:///{tmp_path}/db.sqlite3"}
    worker = None
    if request.param == "celery":
        redis = request.getfixturevalue("own_redis")
        redis.start()
        variables |= {"REDIS_URL": redis.url, "CELERY_BROKER_URL": redis.url.replace("/0", "/1")}
    seeding = start(sys.executable, "-m", "tests.cluster.seed", 2, tmp_path=tmp_path, **variables)
    out, err = seeding.communicate(timeout=60)
    assert seeding.returncode == 0, err
    bars = tmp_path / "bars.csv"
    write_bars(ROOT / "data" / "daily_bars.csv", bars, calm_days=200, wild_days=1_500)
    if request.param == "celery":
        command = (sys.executable, "-m", "celery", "-A", "config.celery", "worker", "--concurrency", "1")
        worker = start(*command, "--loglevel", "warning", tmp_path=tmp_path, **variables)
    served = Served("--data", bars, "--speed", SPEED, tmp_path=tmp_path, **variables)
    try:
        owner, lessee = (Person(served, token) for token in json.loads(out).values())
        yield request.param, owner, lessee
    finally:
        code, _, err = served.stop()
        stopped = _stop(worker) if worker else ""
    assert code == 0, err
    assert "Traceback" not in err + stopped, err + stopped


def _stop(worker: subprocess.Popen[str]) -> str:
    worker.send_signal(signal.SIGTERM)
    _, err = worker.communicate(timeout=20)
    return err


@pytest.mark.timeout(120)
def test_from_a_definition_to_a_reviewed_lease(place):
    where, owner, lessee = place
    with ExitStack() as stack:
        dashboard, marketplace, system = (
            owner.watch(stack, f"{name}/") for name in ("dashboard", "marketplace", "system")
        )
        assert dashboard.until("dashboard_data")["data"]["model_count"] == 0
        marketplace.until("recent_notifications")

        # Define and train.
        definition = {"name": "Mine", "data_source": "shipped", "bar_seconds": 86_400, "symbols": SYMBOLS}
        model = owner.call("POST", "/models/", {**definition, "training": TRAINING})["id"]
        job = owner.call("POST", f"/models/{model}/training-jobs/")["id"]
        training = owner.watch(stack, f"training/{job}/")
        assert training.until("training_progress")["progress"]["status"] in {"PENDING", "RUNNING", "COMPLETED"}
        result = training.until("training_completed", timeout=40)["result"]
        assert result["version"] == 1
        assert 0.6 < result["metrics"]["log_loss"] < 0.8
        assert 0.6 < result["baseline"]["log_loss"] < 0.8
        assert owner.call("GET", f"/models/{model}/versions/")["items"][0]["digest"] == result["digest"]
        workers = system.until("worker_status_update")["workers"]
        while not any(worker["done"] for worker in workers):
            workers = system.until("worker_status_update", timeout=15)["workers"]
        assert {worker["kind"] for worker in workers} == {where}

        # Deploy, predict, drift.
        assert owner.call("PUT", f"/models/{model}/deployment/", {})["version"] == 1
        predictions, monitoring = (
            owner.watch(stack, f"predictions/{model}/"),
            owner.watch(stack, f"monitoring/{model}/"),
        )
        made = predictions.until("new_prediction", timeout=15)["prediction"]
        assert made["symbol"] in SYMBOLS
        assert made["probability"] >= 0.5
        outcome = predictions.until("prediction_outcome", timeout=15)["prediction"]
        assert outcome["correct"] in {True, False}
        monitoring.until("model_status")

        # Backtest, while the market goes on.
        backtests = owner.watch(stack, f"backtest/{model}/")
        backtests.until("backtest_progress")
        backtest = owner.call("POST", f"/models/{model}/backtests/", {"strategy": "model"})["id"]
        results = backtests.until("backtest_completed", timeout=40)["results"]
        assert results["equity_curve"][-1]["equity"] == pytest.approx(results["final_equity"], abs=0.01)
        assert results["benchmark"]["max_drawdown"] > 0
        assert owner.call("GET", f"/backtests/{backtest}/")["result"]["final_equity"] == results["final_equity"]

        # Offer, lease, review.
        offer = {"title": "Mine, daily", "price_per_month": "500.00"}
        listing = owner.call("PUT", f"/models/{model}/listing/", offer)["id"]
        assert marketplace.until("listing_published")["listing"]["id"] == listing
        lessee.call("POST", f"/listings/{listing}/leases/", {"months": 1, "price_per_month": "500.00"})
        assert marketplace.until("model_leased")["lease"]["price"] == 500.0
        lessee.call("PUT", f"/listings/{listing}/review/", {"rating": 4, "text": XSS})
        assert marketplace.until("model_review")["review"]["text"] == "<b>good</b>"
        theirs = lessee.watch(stack, f"predictions/{model}/")
        theirs.until("new_prediction", timeout=15)

        alert = monitoring.until("performance_alert", timeout=60)
        while not alert["alert"].get("feature"):
            alert = monitoring.until("performance_alert", timeout=60)
        assert alert["alert"]["value"] >= alert["alert"]["limit"]
        assert alert["alert"]["feature"] in alert["alert"]["message"]
        seen: dict[str, object] = {}
        while seen.get("active_leases") != 1:
            seen |= dashboard.until("dashboard_update", timeout=15)["update"]
        assert (seen["model_count"], seen["deployed_count"], seen["listing_count"]) == (1, 1, 1)
