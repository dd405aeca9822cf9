from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.trading.risk.limits import RiskLimits
from engines.trading.risk.monitor import RiskMonitor
from engines.trading.risk.numbers import AccountRisk
from engines.trading.risk.screen import LimitTable, RiskArrays, suspects

NOW = datetime(2026, 1, 5, 4, 0, tzinfo=UTC)
VAR = ("var_95", "var_99", "cvar_95", "cvar_99")
OFF = dict.fromkeys(RiskLimits.__struct_fields__)


def arrays(accounts, *, first_id=1):
    def column(name):
        return np.array([getattr(a, name) for a in accounts], dtype=float)

    def figures(name):
        return np.array([-np.inf if getattr(a, name) is None else getattr(a, name) for a in accounts])

    names = ("total_value", "day_start_value", "day_pnl", "peak_value", "gross_exposure", "margin_used")
    return RiskArrays(
        account_ids=np.arange(first_id, first_id + len(accounts)),
        largest_position=np.array([max((abs(v) for v in a.position_values.values()), default=0.0) for a in accounts]),
        **{name: column(name) for name in names},
        **{name: figures(name) for name in VAR},
    )


def account(total=100_000.0, **numbers):
    base = dict.fromkeys(("total_value", "day_start_value", "peak_value"), total)
    rest = {"day_pnl": 0.0, "gross_exposure": 0.0, "margin_used": 0.0, "position_values": {}}
    return AccountRisk(**(base | rest | numbers))


def table(limits, count, *, watching=False):
    result = LimitTable()
    for account_id in range(1, count + 1):
        result.put(account_id, limits, watching=watching)
    return result


def test_only_the_accounts_near_a_limit():
    calm = account()
    loud = [
        account(day_pnl=-1_450.0),
        account(peak_value=110_000.0),
        account(position_values={"X": 19_000.0}),
        account(gross_exposure=145_000.0),
        account(margin_used=58_000.0),
        account(var_95=2_200.0),
        account(day_pnl=750.0),
        account(day_pnl=float("nan")),
        account(var_95=float("nan")),
        account(total=0.0, margin_used=1.0),
    ]
    limits = RiskLimits(var_95=0.03, mtm_target=Decimal(1_000))
    accounts = [each for one in loud for each in (calm, one)] + [account(total=0.0)]
    found = suspects(arrays(accounts), table(limits, len(accounts)))
    assert found.tolist() == list(range(1, 2 * len(loud), 2))


def test_a_rule_that_is_off_and_a_figure_that_is_missing_make_no_suspect():
    numbers = arrays([account(day_pnl=-50_000.0, gross_exposure=1e9, var_99=None)])
    assert suspects(numbers, table(RiskLimits(**OFF), 1)).tolist() == []
    assert suspects(arrays([account()]), table(RiskLimits(var_99=0.01), 1)).tolist() == []


def test_who_is_watching_or_was_not_put_is_always_suspect():
    numbers = arrays([account()] * 3)
    limits = table(RiskLimits(), 3)
    assert suspects(numbers, limits).tolist() == []
    limits.put(2, RiskLimits(), watching=True)
    limits.drop(3)
    limits.drop(3)
    assert suspects(numbers, limits).tolist() == [1, 2]
    assert suspects(numbers, LimitTable()).tolist() == [0, 1, 2]
    limits.put(7, RiskLimits(), watching=False)  # takes the free place
    limits.put(2, RiskLimits(), watching=False)
    assert suspects(numbers, limits).tolist() == [2]
    assert len(limits) == 3


def test_columns_may_come_in_any_order_and_be_left_out():
    limits = LimitTable()
    for account_id in (900, 5, 77, *range(1_000, 1_200)):
        limits.put(account_id, RiskLimits(daily_loss=0.5 if account_id == 5 else 0.02), watching=False)
    three = np.full(3, 100_000.0)
    numbers = RiskArrays(np.array([5, 1_100, 900]), three, three, -three / 10, three, 0 * three, 0 * three)
    assert suspects(numbers, limits).tolist() == [1, 2]


def test_no_accounts():
    assert suspects(arrays([]), LimitTable()).tolist() == []


amounts = st.one_of(st.floats(-2e5, 2e5), st.sampled_from([0.0, 1e5, float("nan"), float("inf"), float("-inf")]))
figures = st.one_of(st.none(), amounts)
shares = st.one_of(st.none(), st.floats(0.001, 1.0))
money = st.one_of(st.none(), st.decimals(1, 10**5, places=2))
accounts = st.builds(
    AccountRisk,
    total_value=amounts,
    day_start_value=amounts,
    day_pnl=amounts,
    peak_value=amounts,
    gross_exposure=amounts,
    margin_used=amounts,
    position_values=st.dictionaries(st.sampled_from("AB"), amounts, max_size=1),
    **dict.fromkeys(VAR, figures),
)
all_limits = st.builds(
    RiskLimits,
    **dict.fromkeys(("daily_loss", "drawdown", "concentration", "gross_exposure", "margin_used", *VAR), shares),
    mtm_target=money,
    mtm_stop=money,
)


@settings(max_examples=200)
@given(all_limits, st.lists(accounts, min_size=1, max_size=6))
def test_what_is_not_suspect_has_nothing_to_tell(limits, many):
    found = set(suspects(arrays(many), table(limits, len(many))).tolist())
    for index, numbers in enumerate(many):
        monitor = RiskMonitor()
        events = monitor.check(limits, numbers, NOW)
        if index not in found:
            assert all(event.severity == "INFO" for event in events)  # of a figure that is missing
            assert not monitor.watching
            assert monitor.blocked_by == ()
