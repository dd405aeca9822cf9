import re
from datetime import timedelta
from decimal import Decimal

import pytest

from engines.market.calendar import IST
from engines.trading.matching import Slippage
from engines.trading.orders import CancelRejected, OrderExpired
from tests.engines.trading.broker_desk import INSTRUMENTS, NOW, Desk, fills, kinds, quote

D = Decimal


@pytest.fixture
def desk():
    return Desk()


# Market orders


def test_a_market_order_is_filled_at_once_at_the_opposite_quote(desk):
    events = desk.send(market=quote(99.9, 100, sizes=(500, 1_000)))
    assert kinds(events) == ["Accepted", "Filled"]
    filled = events[1]
    assert (filled.order.status, filled.quantity, filled.price) == ("FILLED", 100, D("100.05"))  # a tick of slippage
    assert filled.charges.stt == D("10.01")
    assert desk.broker.open_orders(1) == []


def test_slippage_grows_with_the_share_of_the_quote_that_is_taken():
    wide = quote(99, 101, sizes=(1_000, 1_000))
    prices = [fills(Desk().send(side, n, product="INTRADAY", market=wide))[0][2] for side, n in QUANTITIES]
    assert prices == [101.1, 101.5, 102.0, 98.9, 98.0]
    plain = Desk(slippage=Slippage(D(0), D(0)))
    assert fills(plain.send(market=wide)) == [("1", 100, 101.0)]
    by_basis_points = Desk(slippage=Slippage(D(10), D(0)))
    assert fills(by_basis_points.send(market=wide)) == [("1", 100, 101.15)]  # 101.101, to the tick against the order


QUANTITIES = [("BUY", 100), ("BUY", 500), ("BUY", 1_000), ("SELL", 100), ("SELL", 1_000)]


def test_an_unknown_size_fills_all_for_half_the_spread(desk):
    assert fills(desk.send(quantity=10**6, market=quote(99, 101))) == [("1", 10**6, 102.0)]


def test_what_the_quote_cannot_fill_waits_for_the_next(desk):
    events = desk.send(quantity=100, market=quote(sizes=(50, 30)))
    assert [(e.order.status, e.order.leaves_quantity) for e in events] == [("NEW", 100), ("PARTIALLY_FILLED", 70)]
    assert fills(desk.quotes(quote(sizes=(50, 30)))) == []  # the same quote again
    assert fills(desk.quotes(quote(sizes=(50, 30), after=1)))[0][1] == 30
    events = desk.quotes(quote(after=2))
    assert (events[0].order.status, events[0].quantity, events[0].order.filled_quantity) == ("FILLED", 40, 100)


def test_without_a_quote_an_order_only_waits(desk):
    assert kinds(desk.send()) == ["Accepted"]
    assert kinds(desk.quotes(quote())) == ["Filled"]


@pytest.mark.parametrize(
    "market", [(0, 100.05), (99.95, 0), (0, 0), (100.1, 100), (float("nan"), 100), (99, float("inf"))]
)
def test_a_one_sided_empty_or_crossed_quote_fills_nothing(desk, market):
    assert kinds(desk.send(market=quote(*market, last=100))) == ["Accepted"]
    assert kinds(desk.send("BUY", 1, limit=110, market=quote(*market, last=100))) == ["Accepted"]


def test_contracts_are_filled_in_whole_lots(desk):
    future = quote(99.95, 100.05, symbol="FUT", sizes=(0, 100))
    assert [units for _, units, _ in fills(desk.send("BUY", 130, symbol="FUT", market=future))] == [65]
    assert fills(desk.quotes(quote(symbol="FUT", sizes=(0, 64), after=1))) == []
    assert [units for _, units, _ in fills(desk.quotes(quote(symbol="FUT", sizes=(0, 65), after=2)))] == [65]


# Limit orders


def test_a_limit_order_is_filled_at_its_limit_or_better(desk):
    assert fills(desk.send(limit="100.50", market=quote(99.9, 100))) == [("1", 100, 100.0)]
    assert kinds(desk.send(limit="99.50", market=quote(99.9, 100))) == ["Accepted"]
    assert fills(desk.quotes(quote(99.4, 99.55))) == []
    assert fills(desk.quotes(quote(99.3, 99.35))) == [("2", 100, 99.35)]
    assert kinds(desk.send("SELL", limit="100.50", product="INTRADAY")) == ["Accepted"]
    assert fills(desk.quotes(quote(100.4, 100.6))) == []
    assert fills(desk.quotes(quote(100.5, 100.6))) == [("3", 100, 100.5)]


def test_price_then_time_decides_who_is_filled(desk):
    for limit in ("100.00", "100.10", "100.00", "100.10"):
        desk.send(quantity=10, limit=limit, account_id=int(limit[-2]))
    desk.send(quantity=10)  # a market order comes before all
    filled = fills(desk.quotes(quote(99.8, 99.9, sizes=(0, 35))))
    assert [(order_id, units) for order_id, units, _ in filled] == [("5", 10), ("2", 10), ("4", 10), ("1", 5)]
    assert [(order_id, units) for order_id, units, _ in fills(desk.quotes(quote(99.8, 99.9)))] == [("1", 5), ("3", 10)]


def test_what_one_order_took_of_a_quote_is_gone_for_the_next(desk):
    now = quote(99.9, 100, sizes=(0, 150))
    assert fills(desk.send(limit=100, market=now)) == [("1", 100, 100.0)]
    assert fills(desk.send(limit=100, market=now, account_id=2)) == [("2", 50, 100.0)]
    assert fills(desk.send(limit=100, market=now)) == []


# IOC


def test_the_rest_of_an_ioc_order_is_canceled_at_once(desk):
    events = desk.send(limit=100, time_in_force="IOC", market=quote(99.9, 100, sizes=(0, 60)))
    assert kinds(events) == ["Accepted", "Filled", "Canceled"]
    assert (events[2].order.filled_quantity, events[2].order.leaves_quantity) == (60, 40)
    assert kinds(desk.send(time_in_force="IOC")) == ["Accepted", "Canceled"]
    assert kinds(desk.send(time_in_force="IOC", market=quote())) == ["Accepted", "Filled"]
    assert desk.broker.open_orders(1) == []


# Stops


def test_a_stop_becomes_a_market_order_when_the_last_price_reaches_it(desk):
    desk.send("SELL", stop=98, product="INTRADAY", market=quote())
    desk.send("BUY", stop=102)
    assert desk.quotes(quote(98.1, 98.2, last=98.05), quote(101.9, 102.1, last=101.95)) == []
    events = desk.quotes(quote(97.9, 98.1, last=98))
    assert kinds(events) == ["Triggered", "Filled"]
    assert events[0].order.triggered
    assert fills(events) == [("1", 100, 97.8)]
    assert fills(desk.quotes(quote(102, 102.1, last=103))) == [("2", 100, 102.15)]


def test_a_triggered_stop_limit_rests_at_its_limit(desk):
    desk.send("BUY", stop=102, limit_price=D("102.50"))
    assert kinds(desk.quotes(quote(102.6, 102.7, last=102.6))) == ["Triggered"]
    assert [order.status for order in desk.broker.open_orders(1)] == ["NEW"]
    assert fills(desk.quotes(quote(102.3, 102.4, last=101))) == [("1", 100, 102.4)]


def test_a_stop_that_is_reached_already_is_triggered_at_once(desk):
    assert kinds(desk.send("BUY", stop=99, market=quote())) == ["Accepted", "Triggered", "Filled"]


def test_a_quote_without_a_book_triggers_and_the_next_fills(desk):
    desk.send("BUY", stop=102)
    assert kinds(desk.quotes(quote(0, 0, last=102))) == ["Triggered"]
    assert kinds(desk.quotes(quote(100, 100.1))) == ["Filled"]


# The end of orders


def test_cancel(desk):
    desk.send(limit=99)
    assert [(e.order.status, e.order.reason) for e in desk.broker.cancel("1", NOW)] == [
        ("CANCELED", "canceled by its owner")
    ]
    assert desk.quotes(quote(98, 98.1)) == []


def test_a_cancel_that_comes_too_late_is_rejected_in_words(desk):
    filled = desk.send(market=quote())[-1].order
    [event] = desk.broker.cancel(filled, NOW)
    assert event == CancelRejected("1", "too_late", "The order is FILLED already", filled)
    [event] = desk.broker.cancel("1", NOW)
    assert (event.code, event.order) == ("unknown_order", None)
    assert "no open order 1" in event.reason


def test_orders_expire_with_the_session(desk):
    desk.send(limit=99)
    desk.send(quantity=100, market=quote(sizes=(0, 30)))
    desk.send("SELL", stop=90, product="INTRADAY", account_id=2)
    events = desk.broker.end_of_session(NOW + timedelta(hours=6))
    assert [(e.order.order_id, e.order.status, e.order.filled_quantity) for e in events] == [
        ("1", "EXPIRED", 0),
        ("2", "EXPIRED", 30),
        ("3", "EXPIRED", 0),
    ]
    assert desk.broker.end_of_session(NOW) == []


def test_orders_of_an_expired_contract_expire():
    desk = Desk(is_open=lambda _: True)
    desk.send("BUY", 65, symbol="CALL", limit=50)
    last = NOW.replace(day=17, hour=15, minute=29)
    assert desk.quotes(quote(60, 61, symbol="CALL"), now=last) == []
    events = desk.quotes(quote(40, 41, symbol="CALL"), now=last.replace(minute=30))
    assert [type(event) for event in events] == [OrderExpired]
    assert events[0].order.reason == "the contract expired"


def test_nothing_is_filled_while_the_exchange_is_closed(desk):
    desk.send(limit=100)
    closed = NOW.replace(hour=15, minute=30)
    assert desk.quotes(quote(98, 98.1), now=closed) == []
    assert kinds(desk.quotes(quote(98, 98.1), now=closed - timedelta(seconds=1))) == ["Filled"]


# The same order twice


def test_the_same_client_order_id_with_the_same_content_is_the_same_order(desk):
    desk.send(limit=99, client_order_id="a")
    again = desk.send(limit="99.00", client_order_id="a")
    assert kinds(again) == ["Accepted"]
    assert again[0].order.order_id == "1"
    assert len(desk.broker.open_orders(1)) == 1


def test_the_same_client_order_id_with_another_content_is_a_duplicate(desk):
    desk.send(limit=99, client_order_id="a")
    [event] = desk.send(limit=98, client_order_id="a")
    assert (event.code, event.fix_reason, event.order.status) == ("duplicate_order", 6, "REJECTED")
    assert re.search("'a' is taken by order 1", event.reason)
    assert kinds(desk.send(limit=98, client_order_id="a", account_id=2)) == ["Accepted"]
    desk.broker.cancel("1", NOW)
    assert kinds(desk.send(limit=98, client_order_id="a")) == ["Accepted"]


def test_an_order_id_sent_twice(desk):
    order = desk.order(limit=99)
    desk.submit(order)
    assert kinds(desk.submit(order)) == ["Accepted"]
    assert len(desk.broker.open_orders(1)) == 1
    with pytest.raises(ValueError, match="another content"):
        desk.submit(desk.order(limit=98, order_id="1"))
    with pytest.raises(ValueError, match="is NEW"):
        desk.submit(order.accept(D(0), NOW))


# Funds and charges over an order's life


def test_brokerage_is_capped_over_the_fills_of_an_order_also_after_a_restart():
    desk = Desk()
    events = desk.send(quantity=1_000, product="INTRADAY", brokerage_plan="DISCOUNT", market=quote(sizes=(0, 500)))
    assert events[1].charges.brokerage == D("15.02")
    other = Desk()
    other.broker.restore(desk.broker.open_orders(1))
    [event] = other.quotes(quote(after=1))
    assert event.charges.brokerage == D("4.98")
    assert event.order.brokerage == 20


def test_open_orders_block_funds_until_they_end(desk):
    desk.send(quantity=100, limit=100)
    first = desk.broker.blocked(1)
    assert first == D("10011.88")  # 10,000; STT 10, exchange 0.31, SEBI 0.01, stamp 1.50, GST 0.06: 11.88
    desk.quotes(quote(99.9, 100, sizes=(0, 25)))
    assert desk.broker.blocked(1) == first * 3 / 4
    desk.broker.cancel("1", NOW)
    assert desk.broker.blocked(1) == 0
    assert desk.broker.blocked(2) == 0


def test_restored_orders_whose_block_is_not_known_block_as_if_all_of_them_opened(desk):
    order = desk.order(limit=100).accept(None, NOW)
    desk.broker.restore([order])
    other = Desk()
    other.send(limit=100)
    assert desk.broker.blocked(1) == other.broker.blocked(1) > 10_000


def test_only_working_orders_are_restored_and_each_once(desk):
    working = desk.order(limit=99).accept(D(0), NOW)
    for bad in (desk.order(), working.cancel("", NOW), working):
        with pytest.raises(ValueError, match="order"):
            desk.broker.restore([working, bad])
        assert desk.broker.open_orders(1) == []


# Instruments change


def test_instruments_may_change_while_it_runs(desk):
    desk.send(limit=100)
    desk.broker.set_instruments({})
    assert desk.quotes(quote(98, 98.1)) == []
    assert desk.send(symbol="SBIN")[0].code == "unknown_symbol"
    desk.broker.set_instruments(INSTRUMENTS)
    assert kinds(desk.quotes(quote(98, 98.1))) == ["Filled"]


def test_times_of_events_are_the_markets(desk):
    later = NOW + timedelta(minutes=5)
    desk.send(limit=100)
    [event] = desk.quotes(quote(98, 98.1), now=later.astimezone(IST))
    assert (event.order.created_at, event.order.updated_at) == (NOW, later)
