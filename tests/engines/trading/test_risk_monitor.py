import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.trading.risk import wording
from engines.trading.risk.limits import RiskLimits
from engines.trading.risk.monitor import KNOWN_FOR, RiskMonitor
from engines.trading.risk.numbers import WORTHLESS, AccountRisk, share_of

NOW = datetime(2026, 1, 5, 4, 0, tzinfo=UTC)
MONDAY = date(2026, 1, 5)
VALUE = 100_000.0
NAN = float("nan")
OFF = dict.fromkeys(RiskLimits.__struct_fields__)


def only(**limits):
    return RiskLimits(**(OFF | limits))


def account(value=VALUE, *, start=VALUE, peak=VALUE, positions=None, **numbers):
    positions = positions or {}
    return AccountRisk(
        **{
            "total_value": value,
            "day_start_value": start,
            "day_pnl": value - start,
            "peak_value": peak,
            "gross_exposure": sum(map(abs, positions.values())),
            "margin_used": 0.0,
            "position_values": positions,
        }
        | numbers
    )


def told(monitor, limits, numbers, now=NOW):
    return [(event.rule, event.severity) for event in monitor.check(limits, numbers, now)]


LOSS = only(daily_loss=0.02)


def test_levels_are_told_once_and_again_only_after_a_clear_recovery():
    monitor = RiskMonitor()
    assert told(monitor, LOSS, account(98_500)) == []
    assert told(monitor, LOSS, account(98_400)) == [("daily_loss", "WARNING")]
    for value in (98_399, 98_450, 98_399):
        assert told(monitor, LOSS, account(value)) == []
    assert told(monitor, LOSS, account(98_000)) == [("daily_loss", "CRITICAL")]
    assert told(monitor, LOSS, account(98_199)) == []
    assert told(monitor, LOSS, account(98_000)) == []
    assert told(monitor, LOSS, account(98_201)) == []
    assert told(monitor, LOSS, account(98_000)) == [("daily_loss", "CRITICAL")]
    assert told(monitor, LOSS, account(100_000)) == []
    assert told(monitor, LOSS, account(97_000)) == [("daily_loss", "WARNING"), ("daily_loss", "CRITICAL")]


def test_an_event_says_what_happened():
    warning, breach = RiskMonitor().check(LOSS, account(97_500), NOW)
    assert (warning.value, warning.limit, warning.blocks) == (0.025, 0.02, False)
    assert (breach.value, breach.limit, breach.blocks) == (0.025, 0.02, True)
    assert warning.message == "The day's loss is 2.50 % of the account, the limit is 2.00 % of the account"
    assert breach.message.endswith("; orders that open a position are refused until the next market day")


def test_concentration_counts_short_positions_and_closed_ones_rearm():
    limits, monitor = only(concentration=0.25), RiskMonitor()
    short = account(positions={"X": -30_000.0})
    assert told(monitor, limits, short) == [("concentration", "WARNING"), ("concentration", "CRITICAL")]
    assert told(monitor, limits, account()) == []
    assert not monitor.watching
    assert len(told(monitor, limits, short)) == 2
    assert monitor.blocked_by == ()  # each order is looked at instead


def test_concentration_is_per_position():
    limits, monitor = only(concentration=0.25), RiskMonitor()
    assert [e.symbol for e in monitor.check(limits, account(positions={"A": 21_000.0, "B": 1.0}), NOW)] == ["A"]
    assert [e.symbol for e in monitor.check(limits, account(positions={"A": 21_000.0, "B": 22_000.0}), NOW)] == ["B"]


def test_an_account_worth_nothing_is_all_concentration_and_its_loss_counts():
    events = RiskMonitor().check(RiskLimits(), account(0.0, start=0.0, positions={"X": 1.0}), NOW)
    assert ("concentration", "CRITICAL", WORTHLESS) in [(e.rule, e.severity, e.value) for e in events]
    assert ("daily_loss", "CRITICAL") in told(RiskMonitor(), LOSS, account(-5.0, start=0.0))
    assert told(RiskMonitor(), RiskLimits(), account(0.0, start=0.0, peak=0.0)) == []


@pytest.mark.parametrize(
    ("rule", "numbers", "block"),
    [
        ("drawdown", account(89_000.0), True),
        ("gross_exposure", account(gross_exposure=200_000.0), False),
        ("margin_used", account(margin_used=80_000.0), True),
        ("var_95", account(var_95=3_000.0), True),
        ("var_99", account(var_99=3_000.0), True),
        ("cvar_95", account(cvar_95=3_000.0), True),
        ("cvar_99", account(cvar_99=3_000.0), True),
        ("mtm_stop", account(99_000.0), True),
    ],
)
def test_each_rule(rule, numbers, block):
    limit = {"drawdown": 0.1, "gross_exposure": 2.0, "margin_used": 0.8, "mtm_stop": Decimal(1_000)}.get(rule, 0.03)
    monitor = RiskMonitor()
    events = monitor.check(only(**{rule: limit}), numbers, NOW)
    assert [(e.rule, e.severity, e.blocks) for e in events] == [(rule, "WARNING", False), (rule, "CRITICAL", block)]
    assert monitor.blocked_by == ((rule,) if block else ())
    assert told(RiskMonitor(), only(**{rule: limit}), account()) in ([], [(rule, "INFO")])


def test_a_breach_blocks_the_day_even_when_the_value_recovers():
    monitor = RiskMonitor()
    monitor.start_day(MONDAY)
    monitor.check(LOSS, account(97_000), NOW)
    assert told(monitor, LOSS, account(101_000)) == []
    assert told(monitor, only(), account(101_000)) == []
    assert monitor.start_day(MONDAY) == []
    assert monitor.blocked_by == ("daily_loss",)
    (event,) = monitor.start_day(MONDAY + timedelta(days=1))
    assert (event.rule, event.severity, event.blocks) == ("daily_loss", "INFO", False)
    assert monitor.blocked_by == ()
    assert told(monitor, LOSS, account(97_000)) == [("daily_loss", "WARNING"), ("daily_loss", "CRITICAL")]


def test_the_days_target_blocks_and_is_told_as_a_warning():
    limits, monitor = only(mtm_target=Decimal(5_000)), RiskMonitor()
    assert told(monitor, limits, account(104_999.0)) == []
    (event,) = monitor.check(limits, account(105_000.0), NOW)
    assert (event.severity, event.value, event.limit, event.blocks) == ("WARNING", 5_000.0, 5_000.0, True)
    monitor.check(limits, account(), NOW)
    assert monitor.blocked_by == ("mtm_target",)


def test_a_drawdown_blocks_until_a_reset_and_is_not_blocked_again_by_the_same_fall():
    limits, monitor = only(drawdown=0.1), RiskMonitor()
    monitor.check(limits, account(90_000.0), NOW)
    monitor.start_day(MONDAY)
    monitor.check(limits, account(), NOW)
    assert monitor.blocked_by == ("drawdown",)
    monitor.check(limits, account(90_000.0), NOW)
    (event,) = monitor.reset("Asha", NOW)
    assert (event.rule, event.severity) == ("drawdown", "INFO")
    assert "Asha" in event.message
    assert told(monitor, limits, account(89_000.0)) == []
    assert monitor.blocked_by == ()
    monitor.check(limits, account(), NOW)
    monitor.check(limits, account(89_000.0), NOW)
    assert monitor.blocked_by == ("drawdown",)


def test_margin_blocks_while_it_lasts_and_says_when_it_is_over():
    limits, monitor = only(margin_used=0.8), RiskMonitor()
    monitor.check(limits, account(margin_used=85_000.0), NOW)
    assert told(monitor, limits, account(margin_used=75_000.0)) == []
    assert monitor.blocked_by == ("margin_used",)
    (event,) = monitor.check(limits, account(margin_used=71_000.0), NOW)
    assert (event.rule, event.severity, event.value, event.blocks) == ("margin_used", "INFO", 0.71, False)
    assert monitor.blocked_by == ()


def test_switching_a_rule_off_lifts_what_only_lasts_while_it_is_breached():
    monitor = RiskMonitor()
    monitor.check(only(margin_used=0.8), account(margin_used=85_000.0), NOW)
    (event,) = monitor.check(only(), account(margin_used=85_000.0), NOW)
    assert "switched off" in event.message
    assert monitor.blocked_by == ()
    assert not monitor.watching


def test_the_kill_switch_is_engaged_once_and_reset_only_by_hand():
    monitor = RiskMonitor()
    (event,) = monitor.engage("the robot went mad", NOW)
    assert (event.rule, event.severity, event.blocks) == ("kill_switch", "CRITICAL", True)
    assert monitor.engage("again", NOW) == []
    monitor.check(RiskLimits(), account(), NOW)
    monitor.start_day(MONDAY)
    assert monitor.blocked_by == ("kill_switch",)
    assert monitor.kill_switch == "the robot went mad"
    assert monitor.reset("Asha", NOW, ("drawdown",)) == []
    assert [e.rule for e in monitor.reset("Asha", NOW)] == ["kill_switch"]
    assert monitor.reset("Asha", NOW) == []
    assert monitor.kill_switch is None
    with pytest.raises(ValueError, match="cannot reset daily_loss"):
        monitor.reset("Asha", NOW, ("daily_loss",))


def test_a_time_without_zone_is_refused():
    with pytest.raises(ValueError, match="time zone"):
        RiskMonitor().check(RiskLimits(), account(), NOW.replace(tzinfo=None))


# Unknown numbers


@pytest.mark.parametrize("unknown", [NAN, float("inf"), float("-inf")])
def test_an_unknown_value_breaks_every_rule_once(unknown):
    limits = RiskLimits(
        **{f"{kind}_{level}": 0.1 for kind in ("var", "cvar") for level in (95, 99)},
        mtm_target=Decimal(1),
        mtm_stop=Decimal(1),
    )
    numbers = account(
        unknown,
        positions={"A": 1.0, "B": 2.0},
        day_pnl=unknown,
        **{f"{kind}_{level}": 1.0 for kind in ("var", "cvar") for level in (95, 99)},
    )
    monitor = RiskMonitor()
    events = monitor.check(limits, numbers, NOW)
    rules = [name for name in RiskLimits.__struct_fields__ if name != "orders_per_minute"]
    assert sorted(e.rule for e in events) == sorted(rules)
    assert all(e.severity == "CRITICAL" and e.blocks and e.value is None and "unknown" in e.message for e in events)
    assert monitor.check(limits, numbers, NOW) == []
    assert set(monitor.blocked_by) == {f"{rule}_unknown" for rule in rules}
    msgspec.json.encode(events)


def test_an_unknown_number_blocks_until_it_was_known_for_a_minute():
    limits, monitor = only(concentration=0.25), RiskMonitor()
    good, bad = account(positions={"X": 10.0}), account(positions={"X": NAN})
    (event,) = monitor.check(limits, bad, NOW)
    assert (event.symbol, event.message.startswith("X: ")) == ("X", True)
    moment = NOW
    for numbers in (good, bad, good, bad):  # flickering
        moment += KNOWN_FOR - timedelta(seconds=1)
        assert told(monitor, limits, numbers, moment) == []
        assert monitor.blocked_by == ("concentration_unknown",)
    assert told(monitor, limits, good, moment) == []
    assert told(monitor, limits, good, moment + KNOWN_FOR) == [("concentration", "INFO")]
    assert monitor.blocked_by == ()
    assert len(monitor.check(limits, bad, moment + KNOWN_FOR)) == 1


def test_an_unknown_number_neither_rearms_nor_raises_a_level():
    limits, monitor = only(margin_used=0.8), RiskMonitor()
    monitor.check(limits, account(margin_used=90_000.0), NOW)
    monitor.check(limits, account(margin_used=NAN), NOW)
    assert monitor.blocked_by == ("margin_used", "margin_used_unknown")
    assert told(monitor, limits, account(margin_used=90_000.0)) == []


def test_an_unknown_account_keeps_what_was_told_of_positions():
    limits, monitor = only(concentration=0.25), RiskMonitor()
    monitor.check(limits, account(positions={"X": 30_000.0}), NOW)
    assert told(monitor, limits, account(NAN, positions={"X": 30_000.0})) == [("concentration", "CRITICAL")]
    assert told(monitor, limits, account(positions={"X": 30_000.0})) == []


def test_a_figure_without_history_is_told_once_a_day_and_never_lifts_a_block():
    limits, monitor = only(var_95=0.03), RiskMonitor()
    assert told(monitor, limits, account()) == [("var_95", "INFO")]
    assert told(monitor, limits, account()) == []
    assert not monitor.watching
    monitor.start_day(MONDAY)
    assert told(monitor, limits, account()) == [("var_95", "INFO")]
    monitor.check(limits, account(var_95=4_000.0), NOW)
    monitor.check(limits, account(), NOW)
    assert monitor.blocked_by == ("var_95",)


# Restarts


def test_a_restart_tells_nothing_twice_and_unblocks_nothing():
    monitor = RiskMonitor()
    limits = RiskLimits(var_95=0.05)
    numbers = account(88_000.0, positions={"X": 30_000.0, "Y": NAN}, margin_used=79_000.0)
    monitor.start_day(MONDAY)
    monitor.engage("test", NOW)
    monitor.check(limits, numbers, NOW)
    again = RiskMonitor()
    again.restore(msgspec.json.decode(msgspec.json.encode(monitor.state)))
    assert again.state == monitor.state
    assert again.blocked_by == monitor.blocked_by
    assert again.kill_switch == "test"
    assert again.start_day(MONDAY) == []
    assert again.check(limits, numbers, NOW) == []


def test_an_empty_state_is_a_fresh_start_and_rubbish_is_refused():
    monitor = RiskMonitor()
    monitor.engage("test", NOW)
    for rubbish in ({"raised": 1}, {"who": "knows"}, {"latched": ["no_such_rule"]}):
        with pytest.raises(ValueError, match="no state of a risk monitor"):
            monitor.restore(rubbish)
    assert monitor.kill_switch == "test"
    monitor.restore({})
    assert monitor.state == RiskMonitor().state


# Properties

losses = st.lists(st.floats(0.0, 0.05), max_size=30)


@given(losses, st.sampled_from([("WARNING", 0.8), ("CRITICAL", 1.0)]))
def test_between_two_events_of_a_level_the_value_was_below_90_per_cent_of_it(values, which):
    severity, share = which
    level, monitor, lowest = 0.02 * share, RiskMonitor(), -1.0
    for value in values:
        numbers = account(VALUE * (1 - value))
        loss = share_of(-numbers.day_pnl, VALUE)
        events = [e for e in monitor.check(LOSS, numbers, NOW) if e.severity == severity]
        assert len(events) == (loss >= level and lowest < 0.9 * level)  # never too often, and never left out
        lowest = loss if events else min(lowest, loss)


@given(st.lists(st.floats(0.0181, 0.03), min_size=1, max_size=50))
def test_a_value_that_trembles_around_the_limit_is_told_at_most_once(values):
    monitor = RiskMonitor()
    events = [e for value in values for e in monitor.check(LOSS, account(VALUE * (1 - value)), NOW)]
    assert len({e.severity for e in events}) == len(events)


@given(losses, st.floats(0.001, 0.05), st.floats(0.001, 0.05))
def test_raising_a_limit_never_adds_a_level_and_never_a_block(values, one, other):
    seen = []
    for limit in sorted((one, other)):
        monitor, levels = RiskMonitor(), set()
        for value in values:
            numbers = account(VALUE * (1 - value))
            levels |= set(told(monitor, only(daily_loss=limit, drawdown=limit), numbers))
        seen.append((levels, set(monitor.blocked_by)))
    (low, low_blocks), (high, high_blocks) = seen
    assert high <= low
    assert high_blocks <= low_blocks


floats = st.one_of(st.floats(-2e5, 2e5), st.just(NAN), st.just(float("inf")))


@settings(max_examples=150)
@given(st.lists(st.tuples(floats, floats, st.sampled_from("AB"), st.integers(0, 3)), max_size=12))
def test_a_restart_at_any_moment_changes_nothing_and_nothing_is_blocked_or_freed_in_silence(steps):
    limits = RiskLimits(var_95=0.05, mtm_target=Decimal(900), mtm_stop=Decimal(900))
    monitor, restarted, now = RiskMonitor(), RiskMonitor(), NOW
    for value, position, symbol, day in steps:
        now += timedelta(seconds=40)
        numbers = account(value, positions={symbol: position}, margin_used=abs(position), var_95=position)
        state = msgspec.json.decode(msgspec.json.encode(restarted.state))
        restarted = RiskMonitor()
        restarted.restore(state)
        before = set(monitor.blocked_by)
        events = monitor.start_day(MONDAY + timedelta(days=day)) + monitor.check(limits, numbers, now)
        assert events == restarted.start_day(MONDAY + timedelta(days=day)) + restarted.check(limits, numbers, now)
        assert monitor.state == restarted.state
        after = set(monitor.blocked_by)
        assert len(after - before) <= sum(event.blocks for event in events)
        assert len(before - after) <= sum(event.severity == "INFO" for event in events)
        assert all(len(wording.block_reason(block)) <= 200 for block in after)
        assert all(0 < len(event.message) <= 300 for event in events)
        msgspec.json.encode(events)


def test_shares():
    assert share_of(1, 4) == 0.25
    assert share_of(1e9, 1e-9) == WORTHLESS
    assert share_of(-1.0, 0.0) == 0.0
    assert math.isnan(share_of(NAN, 1.0))
    assert math.isnan(share_of(1.0, float("inf")))
