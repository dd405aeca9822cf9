"""The seven trading streams: content, commands, access."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from uuid import uuid4

import msgspec
import pytest
from django.utils import timezone

from apps.streaming.runtime import runtime
from apps.trading import accounts, bookkeeping, controls, models, services, websocket_utils
from apps.trading.option_board import OptionBoard
from apps.trading.signal_room import SignalRoom
from engines.market.calendar import IST, expiries
from engines.market.instruments import option_instruments
from engines.market.quotes import QuoteTick
from engines.options.black76 import greeks
from engines.trading.sentiment.model import SentimentModel
from engines.trading.signals import SignalEvent
from tests.apps.trading.desk_market import DeskMarket

OPENED = datetime(2026, 11, 23, 5, 0, tzinfo=UTC)
EVENT = SignalEvent(
    signal_id=str(uuid4()),
    strategy="trend",
    symbol="RELIANCE",
    direction="BUY",
    status="NEW",
    confidence=0.4,
    entry_price=1_400.0,
    target_price=1_420.0,
    stop_loss=1_390.0,
    opened_at=OPENED,
    valid_until=OPENED + timedelta(hours=1),
    rationale="EMA 12 crossed above EMA 26",
)


def changed(**fields):
    return msgspec.structs.replace(EVENT, **fields)


@pytest.fixture
def account(user, instruments):
    services.set_watchlist(str(user.pk), ["RELIANCE", "TCS"])
    return models.Account.objects.create(user=user, auto_trade=True)


@pytest.fixture
def market(account, monkeypatch):
    market = DeskMarket(monkeypatch)
    market.quote("RELIANCE", 1_400.0)
    market.quote("TCS", 3_000.0)
    return market


def test_signals_of_the_watchlist_come_without_asking(server, user, account):
    with server.open("trading/signals/", user) as client:
        topics = [s["topic"] for s in client.next()["subscriptions"]]
        assert topics == [
            f"trading.signals.user.{user.pk}",
            "trading.signals.symbol.RELIANCE",
            "trading.signals.symbol.TCS",
        ]
        client.until("recent_signals")
        bookkeeping.record_signal(EVENT, simulated=True)
        new = client.next()["signal"]
        assert (new["id"], new["status"], new["target_price"]) == (EVENT.signal_id, "NEW", 1_420.0)
        assert bookkeeping.open_signals() == [EVENT]
        ended = changed(status="TARGET_HIT", exit_price=1_421.0, mfe_r=2.1, mae_r=0.5, realised_r=2.1)
        bookkeeping.record_signal(ended, simulated=True)
        update = client.next()
        assert (update["type"], update["signal"]["status"]) == ("signal_update", "TARGET_HIT")
        assert update["signal"]["metadata"]["realised_r"] == 2.1
        assert client.answer("request_signals")["signals"] == [update["signal"]]
        assert bookkeeping.open_signals() == []


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


def test_an_order_is_seen_as_a_fill_a_position_and_profit(server, user, market):
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
        market.desk.watch({user.pk})
        market.place(user, "RELIANCE", "BUY", 70, product="INTRADAY")
        states = []
        while not states or states[-1]["status"] != "FILLED":
            message = executions.next()
            states += [message["order"]] if message["type"] == "order_update" else []
        assert [state["status"] for state in states] == ["PENDING_NEW", "NEW", "FILLED"]
        assert all(s["quantity"] == s["filled_quantity"] + s["leaves_quantity"] for s in states)
        assert portfolio.until("position_update")["position"]["quantity"] == 70
        market.quote("RELIANCE", 1_420.0)
        market.place(user, "RELIANCE", "SELL", 70, product="INTRADAY")
        while portfolio.received[-1].get("update", {}).get("position_count") != 0:
            portfolio.next()
        while pnl.received[-1]["pnl"].get("trade_count") != 1:
            pnl.next()
        result = pnl.received[-1]["pnl"]
        assert result["win_rate"] == 1.0
        assert result["total_pnl"] == pytest.approx(result["realised_pnl"] - result["charges"], abs=1e-6)
        answer = executions.answer("request_executions")
        assert answer["count"] == 2
        assert answer["executions"][0]["realised_pnl"] == result["realised_pnl"]
        summary = portfolio.answer("request_portfolio")["portfolio"]
        assert summary["positions"] == []
        assert summary["cash"] == summary["total_value"]


def test_who_begins_to_watch_gets_what_changed_before_anybody_published(server, user, market):
    market.place(user, "TCS", "BUY", 10)
    with server.open("trading/portfolio/", user) as client:
        assert client.until("portfolio_summary")["portfolio"]["positions"][0]["quantity"] == 10
        market.place(user, "TCS", "BUY", 5)  # after the snapshot, before the engine knows that somebody looks
        market.desk.watch({user.pk})
        while (position := client.until("position_update")["position"])["quantity"] != 15:
            pass
        assert position["symbol"] == "TCS"
        market.desk.watch(())
    with server.open("trading/portfolio/", user) as client:
        assert [client.next()["type"] for _ in range(2)] == ["welcome", "portfolio_summary"]
        assert client.answer("ping")["type"] == "pong"  # and no old news after it
        assert [m["type"] for m in client.received] == ["welcome", "portfolio_summary", "pong"]


def test_risk_alerts_are_raised_once_and_acknowledged_on_every_device(server, user, other_user, market):
    controls.set_limits(str(user.pk), {"concentration": 0.05})
    market.take_requests()
    market.place(user, "RELIANCE", "BUY", 34, product="INTRADAY")
    with server.open("trading/risk-alerts/", user) as one, server.open("trading/risk-alerts/", user) as two:
        for client in (one, two):
            assert [a["severity"] for a in client.until("active_alerts")["alerts"]] == ["WARNING"]
        for price in (1_520.0, 1_521.0, 1_519.0):
            market.quote("RELIANCE", price)
            market.desk.check_risk()
        alert = one.next()
        assert (alert["severity"], alert["alert"]["rule"]) == ("CRITICAL", "concentration")
        alert_id = alert["alert"]["id"]
        assert one.answer("acknowledge_alert", alert_id=alert_id)["alert"]["acknowledged_at"]
        assert two.until("alert_acknowledged")["alert"]["id"] == alert_id
        for wrong in (str(uuid4()), "x"):
            assert one.answer("acknowledge_alert", alert_id=wrong)["error_code"] == "unknown_alert"
    with server.open("trading/risk-alerts/", user) as client:
        assert client.until("active_alerts")["count"] == 1
    with server.open("trading/risk-alerts/", other_user) as client:
        assert client.until("active_alerts")["count"] == 0
        assert client.answer("acknowledge_alert", alert_id=alert_id)["error_code"] == "unknown_alert"


def test_sentiment(server, user, instruments):
    shares = [i for i in DeskMarket.INSTRUMENTS if i.symbol in ("TCS", "INFY")]
    found = SentimentModel(shares).assess(
        timezone.now(), previous_close={"TCS": 100.0, "INFY": 100.0}, last={"TCS": 101.0, "INFY": 102.0}
    )
    bookkeeping.save_sentiments(found)
    with server.open("trading/sentiment/", user) as client:
        snapshot = {s["scope"]: s for s in client.until("current_sentiment")["sentiments"]}
        assert snapshot["MARKET"]["label"] == "BULLISH"
        assert sum(snapshot["MARKET"]["weights"].values()) == pytest.approx(1)
        assert (
            snapshot["MARKET"]["weights"].keys() == snapshot["MARKET"]["components"].keys() == {"breadth", "momentum"}
        )
        values = [client.next()["sentiment"]["scope"] for _ in range(3)]
        assert sorted(values) == ["INFY", "MARKET", "TCS"]


NOW = datetime(2026, 1, 5, 10, 0, tzinfo=IST)
STRIKES = [24_900, 24_950, 25_000, 25_050, 25_100]


@pytest.fixture
def board(transactional_db):
    """A board over two expiries of NIFTY, quoted at 14 %."""
    quotes = {"NIFTY": QuoteTick("NIFTY", NOW, 25_000.0, 24_999.0, 25_001.0)}
    instruments = []
    for expiry in expiries("NIFTY", NOW.date(), 2):
        years = (datetime(expiry.year, expiry.month, expiry.day, 15, 30, tzinfo=IST) - NOW).total_seconds() / 31_536_000
        for option in option_instruments("NIFTY", expiry, STRIKES, NOW.date()):
            is_call = option.option_type == "CE"
            strike = float(option.strike)
            price = float(greeks(25_000.0, strike, years, 0.14, 0.065, is_call=is_call).price)
            quotes[option.symbol] = QuoteTick(
                option.symbol, NOW, round(price, 2), round(price - 0.5, 2), round(price + 0.5, 2), open_interest=650
            )
            instruments.append(option)
    services.register_instruments(instruments, models.Instrument.Source.SIMULATED)
    feed = SimpleNamespace(bar_seconds=60, simulated=True)
    board = OptionBoard(SimpleNamespace(quotes=quotes, feed=feed))
    board.set_instruments(instruments)
    return board


def test_options(server, user, other_user, account, board):
    board.publish(NOW)
    option = models.Instrument.objects.filter(kind="option", strike=25_000, option_type="CE").order_by("expiry")[0]
    account.positions.create(symbol=option.symbol, quantity=65)
    board.watched = frozenset({user.pk})
    board.publish(NOW)
    with server.open("trading/fno/", user) as client:
        chains = [client.until("option_chain_update")["data"] for _ in range(3)]
        assert [c["expiry"] for c in chains if c["underlying"] == "NIFTY"] == ["2026-01-06", "2026-01-13"]
        assert all(row["iv"] == pytest.approx(0.14, abs=0.02) for row in chains[1]["rows"])
        mine = client.until("portfolio_greeks")["data"]
        assert (mine["position_count"], mine["unvalued"]) == (1, 0)
        assert mine["delta"] == pytest.approx(65 * 0.5, rel=0.1)
        assert mine["gamma"] > 0 > mine["theta"]
        live = [client.next() for _ in range(7)]
        assert {m["type"] for m in live} == {
            "option_chain_update",
            "greeks_update",
            "volatility_update",
            "portfolio_greeks",
        }
        volatility = next(m["data"] for m in live if m["type"] == "volatility_update")
        assert volatility["pcr_open_interest"] == 1.0
        assert volatility["iv_rank"] is None  # too few days to say
        assert client.answer("request_option_chain", symbol="NIFTY", expiry="2026-01-06")["data"]["spot"] == 25_000.0
        assert (
            client.answer("request_option_chain", symbol="NIFTY", expiry="2026-01-20")["error_code"] == "unknown_expiry"
        )
        assert client.answer("subscribe_symbol", symbol="TCS")["error_code"] == "unknown_symbol"
        assert client.answer("subscribe_symbol", symbol="NIFTY", expiry="soon")["error_code"] == "invalid_command"
        assert client.answer("unsubscribe_symbol", symbol="NIFTY")["type"] == "subscription_cancelled"
        assert client.answer("subscribe_symbol", symbol="NIFTY")["type"] == "subscription_confirmed"
    with server.open("trading/fno/", other_user) as client:
        assert client.until("portfolio_greeks")["data"]["position_count"] == 0


def test_an_expiry_that_is_over_is_forgotten(server, user, account, board):
    board.publish(NOW)
    later = [
        i for e in expiries("NIFTY", NOW.date(), 2)[1:] for i in option_instruments("NIFTY", e, STRIKES, NOW.date())
    ]
    board.set_instruments(later)
    assert services.expiries("NIFTY") == [later[0].expiry]
    assert set(board.deltas) <= {i.symbol for i in later}


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


@pytest.fixture
def room(market):
    feed = SimpleNamespace(simulated=True, bar_seconds=60)
    room = SignalRoom(SimpleNamespace(feed=feed), market.desk)
    room.follow(DeskMarket.INSTRUMENTS)
    return room


def test_a_signal_is_followed_once_and_an_index_never(user, market, room):
    for _ in range(2):
        room.record(EVENT, market.now)
    order = models.Order.objects.get()
    assert (order.quantity, order.status) == (71, "FILLED")
    services.set_watchlist(str(user.pk), ["RELIANCE", "TCS", "NIFTY"])
    room.record(changed(symbol="NIFTY", signal_id=str(uuid4())), market.now)
    room.record(changed(status="ACTIVE"), market.now)
    assert models.Order.objects.count() == 1
    room.record(changed(status="STOP_HIT"), market.now)
    assert models.Position.objects.get().quantity == 0


def test_a_signal_to_buy_never_makes_an_account_sell(user, market, room):
    controls.set_limits(str(user.pk), {"concentration": None})
    market.take_requests()
    market.place(user, "RELIANCE", "BUY", 500, product="INTRADAY")
    room.record(EVENT, market.now)
    assert models.Order.objects.count() == 1
    room.record(changed(direction="SELL"), market.now)
    assert models.Order.objects.filter(side="SELL").get().quantity == 571


def test_reading_makes_no_account(transactional_db, user):
    assert accounts.portfolio(str(user.pk)).cash == 1_000_000
    assert accounts.pnl(str(user.pk)).total_pnl == 0
    assert not models.Account.objects.exists()


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
