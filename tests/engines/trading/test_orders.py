from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.trading.orders import ORD_REJ_REASONS, TRANSITIONS, IllegalTransition, Order, OrderRejected

D = Decimal
NOW = datetime(2026, 11, 25, 5, 0, tzinfo=UTC)
LATER = datetime(2026, 11, 25, 5, 1, tzinfo=UTC)


def make(**changes):
    fields = {"order_id": "1", "account_id": 7, "symbol": "SBIN", "side": "BUY", "quantity": 100}
    return Order(**(fields | {"created_at": NOW, "updated_at": NOW} | changes))


def in_status(status):
    return make(status=status, filled_quantity={"FILLED": 100, "PARTIALLY_FILLED": 40}.get(status, 0))


STEPS = {
    "NEW": lambda order: order.accept(D(0), LATER),
    "FILLED": lambda order: order.fill(order.leaves_quantity, D(10), D(0), LATER),
    "CANCELED": lambda order: order.cancel("no more", LATER),
    "EXPIRED": lambda order: order.expire("the day is over", LATER),
    "REJECTED": lambda order: order.reject("too dear", LATER, "not_enough_funds"),
}


@pytest.mark.parametrize("before", TRANSITIONS)
@pytest.mark.parametrize("after", STEPS)
def test_every_step_is_allowed_or_raises_as_the_table_says(before, after):
    order = in_status(before)
    if after in TRANSITIONS[before]:
        changed = STEPS[after](order)
        assert (changed.status, changed.updated_at) == (after, LATER)
        assert changed.quantity == changed.filled_quantity + changed.leaves_quantity
    else:
        with pytest.raises(IllegalTransition, match="order 1"):
            STEPS[after](order)


def test_states_that_have_ended_stay():
    assert {status for status, following in TRANSITIONS.items() if not following} == {
        "FILLED",
        "CANCELED",
        "REJECTED",
        "EXPIRED",
    }
    assert not any(in_status(status).is_open for status in ("FILLED", "CANCELED", "REJECTED", "EXPIRED"))


@given(st.integers(1, 500), st.lists(st.tuples(st.integers(1, 200), st.decimals(1, 999, places=2)), max_size=8))
def test_fills_add_up(quantity, fills):
    order = make(quantity=quantity).accept(D(1000), NOW)
    value = D(0)
    for units, price in fills:
        left = order.leaves_quantity
        if units > left:
            with pytest.raises(IllegalTransition):
                order.fill(units, price, D(1), NOW)
            continue
        order = order.fill(units, price, D(1), NOW)
        value += units * price
        assert order.filled_quantity + order.leaves_quantity == quantity
        assert order.filled_value == value
        assert order.status == ("PARTIALLY_FILLED" if order.leaves_quantity else "FILLED")
        assert abs(order.blocked - D(1000) * order.leaves_quantity / quantity) <= D("0.001")
        if not order.leaves_quantity:
            return


def test_what_was_never_filled_still_counts_when_an_order_has_ended():
    ended = make().accept(D(5), NOW).fill(40, D(10), D(0), NOW).cancel("enough", LATER)
    assert (ended.filled_quantity, ended.leaves_quantity, ended.average_price, ended.blocked) == (40, 60, 10, 0)


def test_a_stop_is_filled_only_after_its_trigger_and_triggered_once():
    stop = make(order_type="STOP", stop_price=D(11)).accept(D(0), NOW)
    with pytest.raises(IllegalTransition):
        stop.fill(1, D(11), D(0), NOW)
    triggered = stop.trigger(LATER)
    assert triggered.status == "NEW"
    assert triggered.triggered
    with pytest.raises(IllegalTransition):
        triggered.trigger(LATER)
    assert triggered.fill(100, D(11), D(0), LATER).status == "FILLED"


def test_rejections_speak_fix():
    order = make().reject("x" * 500, NOW, "tick_size")
    assert (len(order.reason), order.reason_code) == (200, "tick_size")
    assert OrderRejected(order, "tick_size", order.reason).fix_reason == 18
    assert OrderRejected(order, "kill_switch", "").fix_reason == 0
    assert ORD_REJ_REASONS["exchange_closed"] == 2
