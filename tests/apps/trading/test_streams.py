"""The seven trading streams: content, commands, access."""

from decimal import Decimal
from uuid import uuid4

import msgspec
import pytest
from django.db import transaction
from django.utils import timezone

from apps.streaming.runtime import runtime
from apps.trading import bookkeeping, models, services, websocket_utils
from engines.trading.signals import SignalEvent

EVENT = SignalEvent(1, "RELIANCE", "BUY", "NEW", 0.5, 1_400.0, 1_420.0, 1_390.0)


@pytest.fixture
def account(user, instruments):
    services.set_watchlist(str(user.pk), ["RELIANCE", "TCS"])
    account = models.Account(user=user)
    account.auto_trade = True
    account.save()
    return account


def test_signals_of_the_watchlist_come_without_asking(server, user, account):
    with server.open("trading/signals/", user) as client:
        topics = [s["topic"] for s in client.next()["subscriptions"]]
        assert topics == [
            f"trading.signals.user.{user.pk}",
            "trading.signals.symbol.RELIANCE",
            "trading.signals.symbol.TCS",
        ]
        client.until("recent_signals")
        row = bookkeeping.open_signal(EVENT, timezone.now(), simulated=True)
        new = client.next()["signal"]
        assert (new["id"], new["status"], new["target_price"]) == (str(row.pk), "NEW", 1_420.0)
        bookkeeping.change_signal(row, SignalEvent(**{**_fields(EVENT), "status": "TARGET_HIT", "exit_price": 1_421.0}))
        update = client.next()
        assert (update["type"], update["signal"]["status"]) == ("signal_update", "TARGET_HIT")
        assert client.answer("request_signals")["signals"] == [update["signal"]]


def _fields(event):
    return {name: getattr(event, name) for name in event.__struct_fields__}


def test_subscribing_to_symbols(server, user):
    with server.open("trading/signals/", user) as client:
        client.until("recent_signals")
        refused = client.answer("subscribe_symbol", symbol="NIFTTY")
        assert (refused["error"], refused["error_code"]) == ("Unknown symbol 'NIFTTY'", "unknown_symbol")
        for _ in range(2):
            confirmed = client.answer("subscribe_symbol", symbol="M&M")
            assert [s["topic"] for s in confirmed["subscriptions"]][1:] == ["trading.signals.symbol.M_26M"]
        websocket_utils.broadcast_signal(
            {"id": "1", "symbol": "M&M", "signal_type": "BUY", "confidence_score": 1.0, "entry_price": 1.0}
        )
        assert client.next()["signal"]["symbol"] == "M&M"
        cancelled = client.answer("unsubscribe_symbol", symbol="M&M")
        assert cancelled["type"] == "subscription_cancelled"
        assert len(cancelled["subscriptions"]) == 1


def test_a_signal_is_followed_to_a_fill_a_position_and_back(server, user, account):
    with (
        server.open("trading/executions/", user) as executions,
        server.open("trading/portfolio/", user) as portfolio,
        server.open("trading/pnl/", user) as pnl,
    ):
        for client, snapshot in (
            (executions, "recent_executions"),
            (portfolio, "portfolio_summary"),
            (pnl, "current_pnl"),
        ):
            client.until(snapshot)
        bookkeeping.trade_on_signal(EVENT, 1_400.0)
        assert executions.next()["order"]["status"] == "NEW"
        execution = executions.next()["execution"]
        assert (execution["side"], execution["quantity"], execution["price"]) == ("BUY", 71, 1_400.0)
        order = executions.next()["order"]
        assert (order["status"], order["filled_quantity"], order["leaves_quantity"]) == ("FILLED", 71, 0)
        assert portfolio.until("position_update")["position"]["quantity"] == 71
        closed = SignalEvent(**{**_fields(EVENT), "status": "TARGET_HIT", "exit_price": 1_420.0})
        bookkeeping.trade_on_signal(closed, 1_420.0)
        assert portfolio.until("portfolio_update")["update"]["position_count"] in {0, 1}
        while portfolio.received[-1].get("update", {}).get("position_count") != 0:
            portfolio.next()
        while pnl.received[-1]["pnl"]["realised_pnl"] != 71 * 20.0:
            pnl.next()
        assert executions.answer("request_executions")["count"] == 2
        summary = portfolio.answer("request_portfolio")["portfolio"]
        assert summary["positions"] == []
        assert summary["cash"] == summary["total_value"] == 1_000_000 + 71 * 20.0


def test_snapshot_plus_updates_is_a_fresh_snapshot(server, user, account):
    marker = bookkeeping.Marker()
    with server.open("trading/portfolio/", user) as client:
        state = client.until("portfolio_summary")["portfolio"]
        bookkeeping.trade_on_signal(EVENT, 1_400.0)
        bookkeeping.trade_on_signal(SignalEvent(2, "TCS", "SELL", "NEW", 0.5, 3_000.0, 2_900.0, 3_050.0), 3_000.0)
        for price in (1_405.0, 1_398.5, 1_412.25):
            marker.mark({"RELIANCE": price, "TCS": price * 2})
        last = client.answer("request_portfolio")["portfolio"]
        positions = {p["symbol"]: p for p in state["positions"]}
        for message in client.received:
            if message["type"] == "portfolio_update":
                state = {**state, **message["update"]}
            elif message["type"] == "position_update":
                positions[message["position"]["symbol"]] = message["position"]
        # The window may still hold the last update; the snapshot is never behind what was sent.
        while {**state, "positions": [p for p in positions.values() if p["quantity"]]} != last:
            message = client.until("portfolio_update", "position_update")
            if message["type"] == "portfolio_update":
                state = {**state, **message["update"]}
            else:
                positions[message["position"]["symbol"]] = message["position"]


def test_an_order_without_cash_is_rejected_and_said_to_be(server, user, account):
    with server.open("trading/executions/", user) as client:
        client.until("recent_executions")
        with transaction.atomic():
            bookkeeping.execute(account, services.load_book(account), "TCS", 1_000, Decimal(3_000))
        assert client.next()["order"]["status"] == "NEW"
        failed = client.next()
        assert failed["type"] == "trade_failed"
        assert "3000000.00 are needed" in failed["error"]
        assert client.next()["order"]["status"] == "REJECTED"
        assert models.Account.objects.get().cash == 1_000_000


def test_risk_alerts_are_raised_once_and_acknowledged_on_every_device(server, user, other_user, account):
    account.concentration_limit = 0.05
    account.save()
    bookkeeping.trade_on_signal(EVENT, 1_400.0)
    marker = bookkeeping.Marker()
    with server.open("trading/risk-alerts/", user) as one, server.open("trading/risk-alerts/", user) as two:
        for client in (one, two):
            assert client.until("active_alerts")["count"] == 0
        for _ in range(3):
            marker.mark({"RELIANCE": 1_400.0})
        alerts = [one.next() for _ in range(2)]
        assert [a["severity"] for a in alerts] == ["WARNING", "CRITICAL"]
        alert_id = alerts[1]["alert"]["id"]
        assert one.answer("acknowledge_alert", alert_id=alert_id)["alert"]["acknowledged_at"]
        assert two.until("alert_acknowledged")["alert"]["id"] == alert_id
        for wrong in (str(uuid4()), "x"):
            assert one.answer("acknowledge_alert", alert_id=wrong)["error_code"] == "unknown_alert"
    with server.open("trading/risk-alerts/", user) as client:
        assert client.until("active_alerts")["count"] == 1
    with server.open("trading/risk-alerts/", other_user) as client:
        assert client.until("active_alerts")["count"] == 0
        assert client.answer("acknowledge_alert", alert_id=alert_id)["error_code"] == "unknown_alert"


def test_sentiment(server, user):
    from engines.trading.sentiment import sentiments

    bookkeeping.save_sentiments(sentiments({"TCS": 100.0, "INFY": 100.0}, {"TCS": 101.0, "INFY": 102.0}))
    with server.open("trading/sentiment/", user) as client:
        snapshot = {s["scope"]: s for s in client.until("current_sentiment")["sentiments"]}
        assert snapshot["MARKET"]["label"] == "BULLISH"
        values = [client.next()["sentiment"]["scope"] for _ in range(3)]
        assert sorted(values) == ["INFY", "MARKET", "TCS"]


def test_options(server, user, other_user, account):
    from datetime import datetime

    from apps.trading import option_board
    from engines.market.calendar import IST

    now = datetime(2026, 1, 5, 10, 0, tzinfo=IST)
    option_board.publish({"NIFTY": 25_000.0, "BANKNIFTY": 56_000.0}, {"NIFTY": 0.12, "BANKNIFTY": 0.14}, now)
    with server.open("trading/fno/", user) as client:
        chains = [client.until("option_chain_update")["data"] for _ in range(2)]
        assert {c["underlying"]: c["expiry"] for c in chains} == {"NIFTY": "2026-01-06", "BANKNIFTY": "2026-01-27"}
        greeks = client.until("portfolio_greeks")["data"]
        assert greeks["position_count"] == 4
        assert greeks["gamma"] > 0 > greeks["theta"]
        types = {client.next()["type"] for _ in range(7)}
        assert types == {"option_chain_update", "greeks_update", "volatility_update", "portfolio_greeks"}
        assert client.answer("request_option_chain", symbol="NIFTY", expiry="2026-01-06")["data"]["spot"] == 25_000.0
        assert (
            client.answer("request_option_chain", symbol="NIFTY", expiry="2026-01-13")["error_code"] == "unknown_expiry"
        )
        assert client.answer("subscribe_symbol", symbol="TCS")["error_code"] == "unknown_symbol"
        assert client.answer("subscribe_symbol", symbol="NIFTY", expiry="soon")["error_code"] == "invalid_command"
        assert client.answer("unsubscribe_symbol", symbol="NIFTY")["type"] == "subscription_cancelled"
        assert client.answer("subscribe_symbol", symbol="NIFTY")["type"] == "subscription_confirmed"
    with server.open("trading/fno/", other_user) as client:
        assert client.until("portfolio_greeks")["data"]["position_count"] == 0


def test_an_empty_database_has_snapshots_too(server, user):
    for path, snapshot in {
        "signals": "recent_signals",
        "portfolio": "portfolio_summary",
        "executions": "recent_executions",
        "sentiment": "current_sentiment",
        "risk-alerts": "active_alerts",
        "pnl": "current_pnl",
        "fno": "option_chain_update",
    }.items():
        with server.open(f"trading/{path}/", user) as client:
            assert [client.next()["type"] for _ in range(2)] == ["welcome", snapshot]


def test_a_signal_is_followed_once_and_an_index_never(transactional_db, user, account):
    bookkeeping.trade_on_signal(EVENT, 1_400.0)
    assert models.Order.objects.count() == 1
    services.set_watchlist(str(user.pk), ["RELIANCE", "TCS", "NIFTY"])
    index = SignalEvent(3, "NIFTY", "BUY", "NEW", 0.5, 25_000.0, 25_100.0, 24_900.0)
    bookkeeping.trade_on_signal(index, 25_000.0)
    assert models.Order.objects.count() == 1


def test_a_signal_to_buy_never_makes_an_account_sell(transactional_db, account):
    account.save()
    account.positions.create(symbol="RELIANCE", quantity=500, average_price=1_400, last_price=1_400)
    bookkeeping.trade_on_signal(EVENT, 1_400.0)
    assert not models.Order.objects.exists()
    bookkeeping.trade_on_signal(SignalEvent(**{**_fields(EVENT), "direction": "SELL"}), 1_400.0)
    assert models.Order.objects.get().quantity == 571


def test_reading_makes_no_account(transactional_db, user):
    assert services.portfolio(str(user.pk)).cash == 1_000_000
    assert services.pnl(str(user.pk)).total_pnl == 0
    assert not models.Account.objects.exists()


def test_one_account_that_cannot_be_marked_holds_no_other_up(transactional_db, user, other_user, account, monkeypatch):
    bookkeeping.trade_on_signal(EVENT, 1_400.0)
    broken = models.Account.objects.create(user=other_user)
    broken.positions.create(symbol="RELIANCE", quantity=1, average_price=1_400, last_price=1_400)
    marked = []
    save_book = bookkeeping.save_book

    def save(saved, book):
        if saved.pk == broken.pk:
            raise ValueError("broken")
        marked.append(saved.pk)
        save_book(saved, book)

    monkeypatch.setattr(bookkeeping, "save_book", save)
    bookkeeping.Marker().mark({"RELIANCE": 1_500.0})
    assert marked == [account.pk]


def test_held_options_outside_the_listed_strikes_count(transactional_db, account):
    from datetime import date, datetime

    from apps.trading import option_board
    from engines.market.calendar import IST

    account.auto_trade = False
    account.save()
    held = {"underlying": "NIFTY", "expiry": date(2026, 1, 6), "option_type": "CE", "quantity": 65}
    account.option_positions.create(strike=20_000, **held)
    option_board.publish({"NIFTY": 25_000.0}, {"NIFTY": 0.12}, datetime(2026, 1, 5, 10, 0, tzinfo=IST))
    assert services.portfolio_greeks(str(account.user_id)).delta == pytest.approx(65, rel=0.01)


def test_a_refused_subscription_is_not_answered_for(server, user, instruments, monkeypatch):
    limits = msgspec.structs.replace(runtime().limits, subscriptions_per_connection=1)
    monkeypatch.setattr(runtime(), "limits", limits)
    models.Signal.objects.create(
        symbol="TCS", signal_type="BUY", confidence_score=0.5, entry_price=1, created_at=timezone.now()
    )
    with server.open("trading/signals/", user) as client:
        client.until("recent_signals")
        assert client.answer("subscribe_symbol", symbol="TCS")["error_code"] == "too_many_subscriptions"
        assert client.answer("request_signals")["signals"] == []
