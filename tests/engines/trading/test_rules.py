from datetime import timedelta
from decimal import Decimal

import pytest

from engines.trading.orders import OrderRejected
from tests.engines.trading.broker_desk import NOW, Desk, kinds, quote

D = Decimal
NAN = D("NaN")


@pytest.fixture
def desk():
    return Desk()


def rejection(events):
    [event] = events
    assert isinstance(event, OrderRejected)
    assert (event.order.status, event.order.reason, event.order.reason_code) == ("REJECTED", event.reason, event.code)
    assert event.order.leaves_quantity == event.order.quantity
    return event


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"symbol": "SBINN"}, "unknown_symbol", "SBINN is not known"),
        ({"symbol": "NIFTY"}, "not_tradable", "an index"),
        ({"quantity": 0}, "incorrect_quantity", "above 0"),
        ({"quantity": -5}, "incorrect_quantity", "is -5"),
        ({"symbol": "FUT", "quantity": 100}, "incorrect_quantity", "a multiple of the lot of 65"),
        ({"order_type": "LIMIT"}, "invalid_price", "needs a limit_price"),
        ({"order_type": "STOP"}, "invalid_price", "needs a stop_price"),
        ({"order_type": "STOP_LIMIT", "stop_price": D(100)}, "invalid_price", "needs a limit_price"),
        ({"limit_price": D(100)}, "invalid_price", "has no limit_price"),
        ({"order_type": "LIMIT", "limit_price": D(100), "stop_price": D(100)}, "invalid_price", "has no stop_price"),
        ({"limit": 0}, "invalid_price", "above 0"),
        ({"limit": -1}, "invalid_price", "above 0"),
        ({"limit": "NaN"}, "invalid_price", "NaN"),
        ({"limit": "Infinity"}, "invalid_price", "Infinity"),
        ({"limit": "100.03"}, "tick_size", "the tick of 0.05"),
        ({"stop": "100.03"}, "tick_size", "stop_price is 100.03"),
        ({"limit": "120.05"}, "price_exceeds_band", "80.00 to 120.00"),
        ({"stop": "79.95"}, "price_exceeds_band", "80.00 to 120.00"),
        ({"stop": 102, "limit_price": D(101)}, "invalid_price", "at or above stop_price"),
        ({"side": "SELL", "stop": 98, "limit_price": D(99)}, "invalid_price", "at or below stop_price"),
        ({"product": "NORMAL"}, "wrong_product", "DELIVERY or INTRADAY"),
        ({"symbol": "CALL", "quantity": 65, "product": "INTRADAY"}, "wrong_product", "must be NORMAL"),
        ({"stop": 102, "time_in_force": "IOC"}, "unsupported_order", "cannot be IOC"),
        ({"side": "SELL"}, "not_enough_holdings", "0 are free"),
    ],
)
def test_what_is_wrong_with_an_order_is_said(desk, fields, code, words):
    event = rejection(desk.send(**fields, market=quote()))
    assert event.code == code
    assert words in event.reason
    assert desk.broker.open_orders(1) == []


@pytest.mark.parametrize("limit", ["80", "120", "100.05"])
def test_the_edges_of_the_band_are_inside(desk, limit):
    assert kinds(desk.send(limit=limit))[0] == "Accepted"


def test_without_a_previous_close_there_is_no_band_and_an_option_has_a_wide_one(desk):
    assert kinds(desk.submit(desk.order(limit=500), close=None)) == ["Accepted"]
    assert kinds(desk.submit(desk.order(quantity=65, symbol="CALL", limit=400), close=D("0.05"))) == ["Accepted"]
    far = desk.order(quantity=65, symbol="CALL", limit=501)
    assert rejection(desk.submit(far, close=D("0.05"))).code == "price_exceeds_band"


@pytest.mark.parametrize(
    ("moment", "code"),
    [
        (NOW.replace(hour=9, minute=14, second=59), "exchange_closed"),
        (NOW.replace(hour=15, minute=30), "exchange_closed"),
        (NOW.replace(day=15), "exchange_closed"),  # a Sunday
        (NOW.replace(hour=9, minute=15), None),
        (NOW.replace(hour=15, minute=29, second=59), None),
    ],
)
def test_orders_are_taken_while_the_session_runs(desk, moment, code):
    events = desk.submit(desk.order(limit=99), now=moment)
    assert kinds(events) == ["Accepted"] if code is None else rejection(events).code == code


def test_a_contract_is_traded_until_its_last_session_ends(desk):
    last = NOW.replace(day=17, hour=15, minute=29)
    assert kinds(desk.submit(desk.order(quantity=65, symbol="CALL", limit=99), now=last)) == ["Accepted"]
    late = desk.order(quantity=65, symbol="CALL", limit=99)
    assert rejection(desk.submit(late, now=last + timedelta(minutes=1))).code == "instrument_expired"


# Holdings


def test_a_delivery_sale_needs_holdings_that_no_other_sale_has_promised(desk):
    held = {"SBIN": 100}
    assert kinds(desk.submit(desk.order("SELL", 60, limit=110), held=held)) == ["Accepted"]
    event = rejection(desk.submit(desk.order("SELL", 50, limit=110), held=held))
    assert event.code == "not_enough_holdings"
    assert "50 SBIN to deliver, but 40 are free" in event.reason
    assert kinds(desk.submit(desk.order("SELL", 40, limit=110), held=held)) == ["Accepted"]
    desk.broker.cancel("1", NOW)
    assert kinds(desk.submit(desk.order("SELL", 60), held=held)) == ["Accepted"]


def test_shares_are_sold_short_intraday_with_margin(desk):
    short = desk.order("SELL", 100, limit=100, product="INTRADAY")
    assert rejection(desk.submit(short, available=D(2_000))).code == "not_enough_funds"
    assert kinds(desk.submit(short, available=D(2_010))) == ["Accepted"]


# Funds


def test_the_worst_cost_must_be_there(desk):
    need = D("10011.88")
    event = rejection(desk.submit(desk.order(limit=100), available=need - D("0.01")))
    assert (event.code, event.fix_reason) == ("not_enough_funds", 3)
    assert "10,011.88 rupees of margin and charges, 10,011.87 are free" in event.reason
    assert kinds(desk.submit(desk.order(limit=100), available=need)) == ["Accepted"]


def test_what_open_orders_block_is_not_there_for_the_next(desk):
    assert kinds(desk.submit(desk.order(limit=100), available=D(15_000))) == ["Accepted"]
    assert rejection(desk.submit(desk.order(limit=100), available=D(15_000))).code == "not_enough_funds"
    other = desk.order(limit=100, account_id=2)
    assert kinds(desk.submit(other, available=D(15_000))) == ["Accepted"]
    desk.broker.cancel("1", NOW)
    assert kinds(desk.submit(desk.order(limit=100), available=D(15_000))) == ["Accepted"]


def test_a_market_order_needs_a_reserve(desk):
    # 100.05 and half the spread of 0.10, one percent on top, and charges
    assert rejection(desk.submit(desk.order(), quote(), available=D(10_120))).code == "not_enough_funds"
    assert kinds(desk.submit(desk.order(), quote(), available=D(10_130))) == ["Accepted", "Filled"]


@pytest.mark.parametrize(("side", "held"), [("SELL", 100), ("BUY", -100)])
def test_what_reduces_needs_no_funds(desk, side, held):
    reducing = desk.order(side, 100, product="INTRADAY")
    assert kinds(desk.submit(reducing, quote(sizes=(40, 40)), available=D(-500), held={"SBIN": held})) == [
        "Accepted",
        "Filled",
    ]
    assert desk.broker.blocked(1) == 0
    again = desk.order(side, 60, product="INTRADAY")  # 60 of the first are still open: this one would open 20
    left = {"SBIN": held - (40 if held > 0 else -40)}
    assert rejection(desk.submit(again, quote(), available=D(-500), held=left)).code == "not_enough_funds"


def test_only_the_part_that_opens_is_charged_to_the_funds(desk):
    flip = desk.order("SELL", 150, limit=100, product="INTRADAY")
    desk.submit(flip, held={"SBIN": 100})
    opens = Desk()
    opens.send("SELL", 50, limit=100, product="INTRADAY")
    assert desk.broker.blocked(1) == opens.broker.blocked(1) > 1_000


def test_a_written_option_needs_margin_and_a_bought_one_its_premium(desk):
    bought = desk.order("BUY", 65, symbol="CALL", limit=100)
    written = desk.order("SELL", 65, symbol="CALL", limit=100)
    assert kinds(desk.submit(bought, available=D(6_510))) == ["Accepted"]
    assert rejection(desk.submit(written, available=D(200_000))).code == "not_enough_funds"


def test_a_price_that_nobody_knows_is_no_basis_for_a_market_order(desk):
    assert rejection(desk.submit(desk.order(), close=None)).code == "no_price"
    assert kinds(desk.submit(desk.order(), close=D(100))) == ["Accepted"]
    assert kinds(desk.submit(desk.order(), quote(0, 0, last=100), close=None)) == ["Accepted"]
    assert kinds(desk.submit(desk.order("SELL"), close=None, held={"SBIN": 100})) == ["Accepted"]
