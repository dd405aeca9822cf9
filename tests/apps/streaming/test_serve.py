"""`manage.py serve` and `test_websockets`, as a person runs them."""

from __future__ import annotations

import re
import signal
import socket
import urllib.request

import pytest

from tests.conftest import wait_until
from tests.processes import DEMO, Served, run

LIVE = {
    "trading/signals/": {"new_signal", "signal_update"},
    "trading/portfolio/": {"portfolio_update"},
    "trading/executions/": {"trade_executed"},
    "trading/sentiment/": {"sentiment_update"},
    "trading/risk-alerts/": {"risk_alert"},
    "trading/pnl/": {"pnl_update"},
    "trading/fno/": {"greeks_update", "volatility_update"},
    "ai-studio/training/{job}/": {"training_update", "training_completed"},
    "ai-studio/monitoring/{model}/": {"model_update"},
    "ai-studio/dashboard/": {"dashboard_update"},
    "ai-studio/marketplace/": {"earnings_update"},
    "ai-studio/predictions/{model}/": {"new_prediction"},
    "ai-studio/backtest/{model}/": {"backtest_progress", "backtest_completed"},
    "ai-studio/system/": {"system_status_update"},
}


@pytest.mark.timeout(120)
def test_a_newcomer_sees_live_messages_of_all_fourteen_streams(tmp_path, django_db_setup):
    served = Served("--speed", "600", tmp_path=tmp_path)
    try:
        token = served.sign_in()
        model = served.get("/api/ai/models/", token)["items"][0]["id"]
        wait_until(lambda: _unfinished(served, token), "no training job was scheduled")
        job = _unfinished(served, token)[0]["id"]
        clients = {path: served.open(path.format(model=model, job=job), token) for path in LIVE}
        for path, types in LIVE.items():
            client = clients[path]
            welcome = client.next()
            assert welcome["market"] == "simulated NSE-like market"
            while "topic" not in client.until(*types, timeout=45):
                pass  # a snapshot of the same type
    finally:
        code, _, err = served.stop()
    assert code == 0, err
    assert "Traceback" not in err, err


def _unfinished(served, token):
    """Training jobs that have messages to come, those that have not begun first."""
    jobs = served.get("/api/ai/training-jobs/", token)["items"]
    return sorted((job for job in jobs if job["finished_at"] is None), key=lambda job: job["status"])


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_stopping_asks_clients_to_reconnect_and_closes_with_1012_within_five_seconds(tmp_path, how, django_db_setup):
    served = Served(tmp_path=tmp_path)
    client = served.open("trading/pnl/", served.sign_in())
    client.until("current_pnl")
    code, out, err = served.stop(how)
    assert client.close_code() == 1012
    (reconnect,) = [message for message in client.received if message["type"] == "reconnect"]
    assert 0 <= reconnect["after_ms"] <= 2_000
    assert code == 0, err
    assert "Stopped." in out


def test_a_second_start_finds_everything_and_debug_off_has_no_demo(tmp_path, django_db_setup):
    for _ in range(2):
        served = Served("--feed", "replay", tmp_path=tmp_path)
        token = served.sign_in()
        assert served.get("/api/ai/models/", token)["count"] == 1
        code, out, err = served.stop()
        assert code == 0, err
        assert "Read 7404 bars of 5 instruments" in out
        assert _counts(tmp_path)["outbox"] == 0  # the demo's first orders were published, and it knows
    production = {"DEBUG": "0", "SECRET_KEY": "s" * 50, "ALLOWED_HOSTS": "127.0.0.1"}
    (tmp_path / "production").mkdir()
    served = Served("--no-engines", tmp_path=tmp_path / "production", **production)
    with pytest.raises(urllib.error.HTTPError, match="401"):
        served.sign_in()
    page = urllib.request.urlopen(f"http://127.0.0.1:{served.port}/").read().decode()
    assert "demo@sharewise.local" not in page
    assert served.stop()[0] == 0


def test_bad_options_say_what_to_do(tmp_path, django_db_setup):
    bars = tmp_path / "bars.csv"
    bars.write_text("date,open,high,low,close\n2020-01-01,1,2,0.5,nan\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for arguments, says in (
            (["--port", str(port)], "choose another with --port"),
            (["--port", "0", "--speed", "-1"], "--speed must be above 0"),
            (["--port", "0", "--data", str(bars)], "bars.csv:2: close is 'nan'"),
            (["--port", "0", "--data", str(tmp_path / "none.csv")], "none.csv"),
            (["--port", "0", "--feed", "simulated", "--data", str(bars)], "--feed replay"),
        ):
            code, _, err = run("serve", *arguments, tmp_path=tmp_path)
            assert code == 1
            assert says in err
            assert "Traceback" not in err


def test_test_websockets_on_a_server_of_its_own(tmp_path, django_db_setup):
    code, out, err = run("test_websockets", tmp_path=tmp_path)
    assert code == 0, out + err
    assert "14 of 14 streams work" in out
    assert re.search(r"trading\.fno .* yes .* yes .* yes .* ms", out)
    assert "Broker: memory, ok" in out
    assert "Redis: not configured" in out
    assert _counts(tmp_path) == {"models": 0, "jobs": 0, "logins": 0, "accounts": 0, "users": 0, "outbox": 0}


def test_test_websockets_on_a_running_server(tmp_path, django_db_setup):
    served = Served(tmp_path=tmp_path)
    before = _counts(tmp_path)
    code, out, err = run(
        "test_websockets", "--url", f"ws://127.0.0.1:{served.port}", "--user-email", DEMO["email"], tmp_path=tmp_path
    )
    assert code == 0, out + err
    assert "14 of 14 streams work" in out
    for name in ("models", "logins", "accounts", "users"):
        assert _counts(tmp_path)[name] == before[name]
    assert served.stop()[0] == 0
    code, out, err = run("test_websockets", "--url", f"ws://127.0.0.1:{served.port}", tmp_path=tmp_path)
    assert code == 1
    assert "Connect" in out


def test_test_websockets_refuses_an_unknown_user(tmp_path, django_db_setup):
    code, _, err = run("test_websockets", "--user-email", "nobody@example.com", tmp_path=tmp_path)
    assert code == 1
    assert "there is no user with the e-mail 'nobody@example.com'" in err
    code, _, err = run("test_websockets", "--url", "localhost:8000", tmp_path=tmp_path)
    assert code == 1
    assert "ws://" in err


def _counts(tmp_path):
    import sqlite3

    tables = {
        "models": "ai_studio_model",
        "jobs": "ai_studio_trainingjob",
        "logins": "accounts_tokenfamily",
        "accounts": "trading_account",
        "users": "accounts_user",
        "outbox": "streaming_outboxentry",
    }
    with sqlite3.connect(tmp_path / "db.sqlite3") as database:
        return {name: database.execute(f"select count(*) from {table}").fetchone()[0] for name, table in tables.items()}
