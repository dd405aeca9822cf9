"""The desk: memory, the database and what was published say the same, whatever happens."""

import random
from datetime import date, timedelta
from decimal import Decimal
from uuid import uuid4

import msgspec
import pytest
from django.core.exceptions import ValidationError
from django.db import DatabaseError

from apps.trading import accounts, bookkeeping, controls, models, orders
from apps.trading.desk.fence import TermOver
from engines.market.instruments import NSE_UNIVERSE, Instrument
from tests.apps.trading.desk_market import DeskMarket

pytestmark = pytest.mark.django_db(transaction=True)

SYMBOLS = {"RELIANCE": 1_400.0, "TCS": 3_000.0, "ITC": 400.0, "SBIN": 900.0}
ORDERS = 5_000
WALKS = 4  # which can run side by side


@pytest.fixture
def market(transactional_db, monkeypatch):
    market = DeskMarket(monkeypatch)
    for symbol, price in SYMBOLS.items():
        market.quote(symbol, price)
    return market


def plain(payload):
    return msgspec.to_builtins(payload)


class Client:
    """Keeps the account as a client does: a snapshot, then updates."""

    def __init__(self, market, user):
        self._market, self._user = market, user
        self.portfolio = plain(accounts.portfolio(str(user.pk)))
        self.positions = {p["symbol"]: p for p in self.portfolio.pop("positions")}
        self.pnl = plain(accounts.pnl(str(user.pk)))
        self.held = {}
        self._read = {"portfolio": 0, "pnl": 0, "executions": 0}

    def read(self):
        for stream in self._read:
            messages = self._market.published[f"trading.{stream}.{self._user.pk}"]
            for message in messages[self._read[stream] :]:
                match message["type"]:
                    case "portfolio_update":
                        self.portfolio = message["update"]
                    case "position_update":
                        self.positions[message["position"]["symbol"]] = message["position"]
                    case "pnl_update":
                        self.pnl = message["pnl"]
                    case "trade_executed":
                        fill = message["execution"]
                        sign = 1 if fill["side"] == "BUY" else -1
                        self.held[fill["symbol"]] = self.held.get(fill["symbol"], 0) + sign * fill["quantity"]
            self._read[stream] = len(messages)

    def agrees_with_the_database(self):
        snapshot = plain(accounts.portfolio(str(self._user.pk)))
        positions = {p["symbol"]: p for p in snapshot.pop("positions")}
        assert {s: p for s, p in self.positions.items() if p["quantity"]} == positions
        assert self.portfolio == snapshot
        assert self.pnl == plain(accounts.pnl(str(self._user.pk)))
        assert {s: q for s, q in self.held.items() if q} == {s: p["quantity"] for s, p in positions.items()}


def random_order(rng, market):
    symbol = rng.choice(list(SYMBOLS))
    last = market.quotes[symbol].last
    kind = rng.choice(["MARKET", "MARKET", "LIMIT", "LIMIT", "STOP", "STOP_LIMIT"])
    price = Decimal(str(round(round(last * rng.uniform(0.985, 1.015) / 0.05) * 0.05, 2)))
    return {
        "symbol": symbol,
        "side": rng.choice(["BUY", "SELL"]),
        "quantity": rng.randint(1, 40),
        "order_type": kind,
        "limit_price": price if "LIMIT" in kind else None,
        "stop_price": price if "STOP" in kind else None,
        "time_in_force": rng.choice(["DAY", "DAY", "IOC"]),
        "product": "INTRADAY",
    }


@pytest.mark.parametrize("seed", range(WALKS))
def test_everything_agrees_after_each_of_many_random_orders(market, user, seed):
    rng = random.Random(seed)
    controls.set_limits(str(user.pk), {"orders_per_minute": None, "concentration": None, "gross_exposure": None})
    market.take_requests()
    market.desk.watch({user.pk})
    client = Client(market, user)
    for number in range(ORDERS // WALKS):
        order = random_order(rng, market)
        market.place(user, **order)
        client.read()
        client.agrees_with_the_database()
        if number % 3 == 0:
            last = market.quotes[order["symbol"]].last
            moved = max(1.0, round(round(last * rng.uniform(0.997, 1.003) / 0.05) * 0.05, 2))
            market.quote(order["symbol"], moved, size=rng.choice([0, 5, 50]), seconds=0.2)
            client.read()
            client.agrees_with_the_database()
        if number % 50 == 49:
            waiting = models.Order.objects.filter(status__in=models.Order.OPEN)
            waiting.filter(pk__in=list(waiting.values_list("pk", flat=True)[:40])).update(cancel_requested=True)
            market.take_requests()
            client.read()
            client.agrees_with_the_database()
    statuses = set(models.Order.objects.values_list("status", flat=True))
    assert {"FILLED", "CANCELED", "REJECTED"} <= statuses
    for row in models.Order.objects.all():
        assert row.filled_quantity == sum(e.quantity for e in row.executions.exclude(price=None))
    assert accounts.load_book(models.Account.objects.get(user=user)).imbalance == 0


EXPIRY = date(2026, 11, 24)
CALL = Instrument(
    "NIFTY26NOV25000CE",
    "NIFTY",
    "option",
    exchange="NFO",
    lot_size=65,
    underlying="NIFTY",
    expiry=EXPIRY,
    strike=Decimal(25_000),
    option_type="CE",
)


def test_a_restart_goes_on_from_the_database(market, user):
    market.place(user, "TCS", "BUY", 10)
    resting = market.place(user, "TCS", "BUY", 5, order_type="LIMIT", limit_price=Decimal(2_950))
    controls.set_kill_switch(str(user.pk), engaged=True, reason="enough")
    market.take_requests()
    before = plain(accounts.portfolio(str(user.pk)))
    market.desk = market.new_desk()
    assert plain(accounts.portfolio(str(user.pk))) == before
    market.quote("TCS", 2_940.0)
    resting.refresh_from_db()
    assert (resting.status, resting.filled_quantity) == ("FILLED", 5)
    assert models.Position.objects.get(symbol="TCS").quantity == 15
    assert market.place(user, "TCS", "BUY", 1).reason_code == "kill_switch"
    assert market.place(user, "TCS", "SELL", 15).status == "FILLED"  # whoever is in must be able to get out


def test_the_older_of_two_engines_writes_nothing(market, user):
    older = market.desk
    market.desk = market.new_desk()
    market.quote("TCS", 3_000.0)
    row = market.place(user, "TCS", "BUY", 10)
    assert (row.status, row.filled_quantity) == ("FILLED", 10)
    published = len(market.of(f"trading.executions.{user.pk}", "trade_executed"))
    models.Order.objects.create(
        account=row.account, symbol="TCS", side="BUY", quantity=1, created_at=row.created_at, updated_at=row.updated_at
    )
    with pytest.raises(TermOver, match="another process runs the engines"):
        older.take_requests(market.now)
    assert models.Position.objects.get().quantity == 10
    assert len(market.of(f"trading.executions.{user.pk}", "trade_executed")) == published


class Failing:
    """Stands for a manager's `create`; fails so many times, then works."""

    def __init__(self, monkeypatch, manager, times):
        self.times = times
        real = manager.create

        def create(**fields):
            self.times -= 1
            if self.times >= 0:
                raise DatabaseError("disk full")
            return real(**fields)

        monkeypatch.setattr(manager, "create", create)


def test_a_write_that_fails_leaves_no_trace(market, user, monkeypatch):
    market.place(user, "TCS", "BUY", 10)
    failing = Failing(monkeypatch, models.Execution.objects, 1)
    with pytest.raises(DatabaseError):
        market.place(user, "TCS", "BUY", 7)
    row = models.Order.objects.get(quantity=7)
    assert row.status == "PENDING_NEW"
    assert models.Position.objects.get().quantity == 10
    market.take_requests()
    row.refresh_from_db()
    assert (row.status, failing.times) == ("FILLED", -1)
    assert models.Position.objects.get().quantity == 17
    assert accounts.load_book(row.account).imbalance == 0
    fills = market.of(f"trading.executions.{user.pk}", "trade_executed")
    assert [fill["execution"]["quantity"] for fill in fills] == [10, 7]


def test_a_write_that_fails_among_many_fills_nothing_twice(market, user, other_user, monkeypatch):
    for each in (user, other_user):
        market.place(each, "TCS", "BUY", 10, order_type="LIMIT", limit_price=Decimal(2_950))
    Failing(monkeypatch, models.Execution.objects, 1)
    with pytest.raises(DatabaseError):
        market.quote("TCS", 2_940.0, size=14)
    market.quote("TCS", 2_940.0)
    for row in models.Order.objects.all():
        assert (row.status, sum(e.quantity for e in row.executions.all())) == ("FILLED", 10)
    assert set(models.Position.objects.values_list("quantity", flat=True)) == {10}


def test_memory_that_cannot_be_read_again_is_not_used(market, user, monkeypatch):
    market.place(user, "TCS", "BUY", 10, order_type="LIMIT", limit_price=Decimal(2_950))
    Failing(monkeypatch, models.Execution.objects, 1)
    with pytest.raises(DatabaseError):
        market.quote("TCS", 2_940.0)
    with monkeypatch.context() as away:
        away.setattr(accounts, "last_prices", lambda: (_ for _ in ()).throw(DatabaseError("away")))
        for _ in range(2):
            with pytest.raises(DatabaseError, match="away"):
                market.quote("TCS", 2_940.0)
    market.quote("TCS", 2_940.0)
    assert sum(e.quantity for e in models.Execution.objects.all()) == 10
    assert models.Position.objects.get().quantity == 10


def test_an_order_that_is_a_puzzle_holds_up_nobody(market, user, other_user, monkeypatch):
    real = market.desk._risk.refusal

    def refusal(state, order, *others):
        if order.quantity == 13:
            raise ValueError("13")
        return real(state, order, *others)

    monkeypatch.setattr(type(market.desk._risk), "refusal", lambda desk, *arguments: refusal(*arguments))
    assert market.place(user, "TCS", "BUY", 13).reason_code == "internal_error"
    assert market.place(other_user, "TCS", "BUY", 10).status == "FILLED"


def test_limits_that_make_no_sense_stop_only_their_own_account(market, user, other_user):
    controls.set_limits(str(user.pk), {"daily_loss": 0.5})
    models.RiskLimits.objects.update(daily_loss=5)  # somebody thought in per cent, and went past the forms
    with pytest.raises(ValidationError, match="daily_loss is 5"):
        models.RiskLimits.objects.get().full_clean()
    market.take_requests()
    assert market.place(other_user, "TCS", "BUY", 10).status == "FILLED"
    market.desk = market.new_desk()
    market.quote("TCS", 3_000.0)
    assert market.place(user, "TCS", "BUY", 1).reason_code == "kill_switch"
    assert market.place(other_user, "TCS", "SELL", 10).status == "FILLED"


def test_an_order_cancelled_before_it_was_taken_is_not_filled(market, user):
    identity = str(uuid4())
    row, _ = orders.place(str(user.pk), orders.NewOrder(symbol="TCS", side="BUY", quantity=1, client_order_id=identity))
    assert orders.request_cancel(str(user.pk), identity).pk == row.pk
    market.take_requests()
    row.refresh_from_db()
    assert (row.status, row.filled_quantity) == ("CANCELED", 0)


def test_a_day_begins_once_and_daily_profit_counts_from_the_close(market, user):
    market.place(user, "TCS", "BUY", 10)
    market.desk.start_day(market.now.date(), market.now)
    market.quote("TCS", 3_100.0)
    assert accounts.pnl(str(user.pk)).daily_pnl == pytest.approx(1_000)
    market.desk.watch({user.pk})
    resting = market.place(user, "TCS", "BUY", 1, order_type="LIMIT", limit_price=Decimal(2_900))
    market.previous_close["TCS"] = 3_100.0
    tomorrow = market.now + timedelta(days=2)  # the day between is a holiday
    market.desk.start_day(tomorrow.date(), tomorrow)
    resting.refresh_from_db()
    assert resting.status == "EXPIRED"
    assert accounts.pnl(str(user.pk)).daily_pnl == 0
    assert models.DailyValue.objects.count() == 1
    told = market.of(f"trading.portfolio.{user.pk}", "position_update")[-1]["position"]
    assert told == plain(accounts.positions(str(user.pk))[0])
    market.now = tomorrow
    market.quote("TCS", 3_090.0)
    assert accounts.pnl(str(user.pk)).daily_pnl == pytest.approx(-100)
    resting = market.place(user, "TCS", "BUY", 1, order_type="LIMIT", limit_price=Decimal(2_900))
    market.desk = market.new_desk()  # a restart within the day
    market.desk.start_day(tomorrow.date(), market.now)
    resting.refresh_from_db()
    assert resting.status == "NEW"
    assert accounts.pnl(str(user.pk)).daily_pnl == pytest.approx(-100)
    assert models.DailyValue.objects.count() == 1


def test_options_are_settled_in_cash_when_they_expire(transactional_db, monkeypatch, user):
    market = DeskMarket(monkeypatch, (*NSE_UNIVERSE, CALL))
    market.quote("NIFTY", 25_100.0)
    market.quote(CALL.symbol, 120.0)
    row = market.place(user, CALL.symbol, "BUY", 65)
    assert (row.status, row.product) == ("FILLED", "NORMAL")
    market.quote("NIFTY", 25_160.0)
    market.instruments = NSE_UNIVERSE  # after a restart the feed lists it no more
    market.desk = market.new_desk()
    morning_after = market.now + timedelta(days=2)
    market.desk.start_day(morning_after.date(), morning_after)
    held = models.Position.objects.get(symbol=CALL.symbol)
    assert held.quantity == 0
    settled = models.Execution.objects.filter(order__reason="settled in cash at expiry").get()
    assert (settled.price, settled.quantity) == (160, 65)
    assert settled.charges["stt"] > 0
    assert accounts.load_book(row.account).imbalance == 0


def test_old_quotes_fill_nothing(market, user):
    market.desk.paused = True
    row = market.place(user, "TCS", "BUY", 10)
    assert (row.status, row.reason) == ("NEW", "")
    market.desk.paused = False
    market.quote("TCS", 3_005.0)
    row.refresh_from_db()
    assert row.status == "FILLED"


def test_another_market_lets_automatic_accounts_start_anew(market, user, other_user):
    models.Account.objects.create(user=user, auto_trade=True)
    for each in (user, other_user):
        market.place(each, "TCS", "BUY", 10)
    controls.set_kill_switch(str(user.pk), engaged=True, reason="enough")
    assert market.desk.begin("a market of the tests")
    assert models.LastPrice.objects.exists()
    assert not market.desk.begin("another market")
    assert not models.LastPrice.objects.exists()
    assert accounts.portfolio(str(user.pk)).cash == 1_000_000
    assert accounts.portfolio(str(user.pk)).position_count == 0
    assert accounts.portfolio(str(other_user.pk)).position_count == 1
    assert bookkeeping.where_it_stopped() == ({}, None)
    assert models.Account.objects.get(user=user).kill_switch


def test_value_at_risk_is_told_when_there_are_days_enough(market, user):
    controls.set_limits(str(user.pk), {"var_95": 0.001, "concentration": None})
    market.take_requests()
    market.place(user, "TCS", "BUY", 100)
    market.desk.value_risk({})
    market.desk.check_risk()
    assert models.RiskAlert.objects.get(rule="var_95").severity == "INFO"
    rng = random.Random(5)
    day, close = date(2026, 1, 1), 3_000.0
    for _ in range(150):
        day += timedelta(days=1)
        close *= 1 + rng.gauss(0, 0.02)
        bookkeeping.save_closes({"TCS": Decimal(str(round(close, 2)))}, day)
    market.desk = market.new_desk()
    market.quote("TCS", 3_000.0)
    market.desk.value_risk({})
    market.desk.check_risk()
    alert = models.RiskAlert.objects.get(rule="var_95", severity="CRITICAL")
    assert alert.value == pytest.approx(0.3 * 1.645 * 0.02, rel=0.3)
    assert market.place(user, "ITC", "BUY", 1).reason_code == "blocked"
