from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.trading.risk.limits import LARGEST_RATE, RiskLimits
from engines.trading.risk.numbers import AccountRisk
from engines.trading.risk.order_checks import WINDOW, OrderEstimate, OrderRate, check_order, reduces

NOW = datetime(2026, 1, 5, 4, 0, tzinfo=UTC)
LIMITS = RiskLimits(concentration=0.25, gross_exposure=2.0, orders_per_minute=3)
NAN = float("nan")


def account(total=100_000.0, **positions):
    return AccountRisk(
        total_value=total,
        day_start_value=total,
        day_pnl=0.0,
        peak_value=total,
        gross_exposure=sum(map(abs, positions.values())),
        margin_used=0.0,
        position_values=positions,
    )


def verdict(numbers, quantity, price=100.0, *, limits=LIMITS, symbol="X", multiplier=1, exits=False, **more):
    order = OrderEstimate(symbol=symbol, quantity=quantity, price=price, multiplier=multiplier, reduces=exits)
    rejection = check_order(limits, numbers, order, **({"rate": OrderRate(), "now": NOW} | more))
    assert rejection is None or 0 < len(rejection.reason) <= 200
    return rejection and rejection.code


def test_a_position_may_reach_its_limit_but_not_pass_it():
    assert verdict(account(), 250) is None
    assert verdict(account(), 251) == "concentration"
    assert verdict(account(), -251) == "concentration"
    assert verdict(account(X=20_000.0), 51) == "concentration"
    assert verdict(account(X=-20_000.0), -51) == "concentration"
    assert verdict(account(), 3, multiplier=100) == "concentration"
    assert verdict(account(X=20_000.0), 250, symbol="Y") is None


def test_the_reason_is_in_words():
    order = OrderEstimate(symbol="X", quantity=300, price=100.0)
    rejection = check_order(LIMITS, account(), order, rate=OrderRate(), now=NOW)
    assert rejection.reason == "X would be 30.00 % of the account, the limit is 25.00 % of the account"


def test_all_positions_together():
    full = {f"S{i}": (-1) ** i * 24_000.0 for i in range(8)}
    assert verdict(account(**full), 80) is None
    assert verdict(account(**full), 81) == "gross_exposure"


def test_open_orders_count_as_if_they_were_filled():
    assert verdict(account(), 100, pending={"X": 15_000.0}) is None
    assert verdict(account(), 101, pending={"X": 15_000.0}) == "concentration"
    assert verdict(account(), 201, pending={"Y": 180_000.0}) == "gross_exposure"


def test_turning_a_position_that_is_too_large_into_a_smaller_one_is_allowed():
    assert verdict(account(X=40_000.0), -700) is None
    assert verdict(account(X=40_000.0), -801) == "concentration"


def test_blocks_refuse_what_opens_and_name_the_reason():
    assert verdict(account(), 1, blocked_by=("daily_loss",)) == "blocked"
    assert verdict(account(), 1, blocked_by=("concentration_unknown",)) == "blocked"
    assert verdict(account(), 1, blocked_by=("drawdown", "kill_switch")) == "kill_switch"


def test_an_exit_is_always_allowed():
    rate = OrderRate()
    for _ in range(10):
        rate.add(NOW)
    numbers = account(NAN, X=NAN)
    assert verdict(numbers, -5, NAN, exits=True, rate=rate, blocked_by=("kill_switch", "daily_loss")) is None


@pytest.mark.parametrize("numbers", [account(NAN), account(X=NAN), account(float("inf"))])
@pytest.mark.parametrize("rule", ["concentration", "gross_exposure"])
def test_an_unknown_number_never_lets_an_order_through(numbers, rule):
    limits = RiskLimits(**(dict.fromkeys(RiskLimits.__struct_fields__) | {rule: 1.0}))
    assert verdict(numbers, 1, limits=limits) == "unknown_value"


@pytest.mark.parametrize("price", [NAN, 0.0, -1.0, float("inf")])
def test_an_unknown_price_neither(price):
    assert verdict(account(), 1, price) == "unknown_value"


def test_an_account_worth_nothing_opens_nothing():
    assert verdict(account(0.0), 1) == "concentration"


def test_without_limits_all_is_allowed():
    off = RiskLimits(**dict.fromkeys(RiskLimits.__struct_fields__))
    rate = OrderRate()
    for _ in range(100):
        rate.add(NOW)
    assert verdict(account(0.0), 10**6, limits=off, rate=rate) is None


def test_the_rate_is_of_the_last_minute():
    rate = OrderRate()
    for second in (0, 1, 2):
        assert verdict(account(), 1, rate=rate, now=NOW + timedelta(seconds=second)) is None
        rate.add(NOW + timedelta(seconds=second))
    assert verdict(account(), 1, rate=rate, now=NOW + timedelta(seconds=59.999)) == "order_rate"
    assert verdict(account(), 1, rate=rate, now=NOW + timedelta(seconds=60)) is None
    rate.add(NOW + timedelta(seconds=60))
    assert verdict(account(), 1, rate=rate, now=NOW + timedelta(seconds=60.5)) == "order_rate"
    assert rate.count(NOW + timedelta(days=1)) == 0


@given(st.lists(st.integers(0, 40), max_size=60), st.integers(1, 5))
def test_never_more_than_the_limit_within_any_minute(gaps, limit):
    rate, now, passed = OrderRate(), NOW, []
    limits = RiskLimits(orders_per_minute=limit)
    for gap in gaps:
        now += timedelta(seconds=gap)
        if verdict(account(), 1, limits=limits, rate=rate, now=now) is None:
            rate.add(now)
            passed.append(now)
    for end in passed:
        assert sum(end - WINDOW < moment <= end for moment in passed) <= limit


def test_the_rate_is_bounded():
    rate = OrderRate()
    for _ in range(LARGEST_RATE + 10):
        rate.add(NOW)
    assert rate.count(NOW) == LARGEST_RATE


@pytest.mark.parametrize(
    ("held", "quantity", "working", "expected"),
    [
        (100, -100, 0, True),
        (100, -101, 0, False),
        (-100, 40, 60, True),
        (-100, 40, 61, False),
        (100, 1, 0, False),
        (0, -1, 0, False),
        (100, -40, -60, True),
        (100, -40, -61, False),
        (100, -40, 60, False),
    ],
)
def test_what_reduces(held, quantity, working, expected):
    assert reduces(held, quantity, working) is expected


@given(st.integers(-50, 50), st.lists(st.integers(-50, 50), max_size=6))
def test_orders_that_reduce_never_turn_a_position(held, quantities):
    working = 0
    for quantity in quantities:
        if quantity and reduces(held, quantity, working):
            working += quantity
    assert abs(held + working) <= abs(held)
    assert held * (held + working) >= 0


sizes = st.floats(-3e5, 3e5)


@given(sizes, sizes, st.integers(-4000, 4000), st.floats(0.05, 1.0), st.floats(0.05, 1.0))
def test_a_higher_limit_refuses_nothing_more(one, other, quantity, share, another):
    numbers = account(X=one, Y=other)
    low, high = (
        verdict(numbers, quantity, limits=RiskLimits(concentration=c, gross_exposure=10 * c))
        for c in sorted((share, another))
    )
    assert low is not None or high is None
