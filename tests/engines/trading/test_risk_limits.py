from decimal import Decimal

import pytest

from engines.trading.risk.limits import SHARES, RiskLimits


def test_the_documented_defaults():
    limits = RiskLimits()
    assert (limits.daily_loss, limits.drawdown, limits.concentration) == (0.02, 0.10, 0.25)
    assert (limits.gross_exposure, limits.margin_used, limits.orders_per_minute) == (2.0, 0.80, 60)
    assert [getattr(limits, name) for name in ("var_95", "var_99", "cvar_95", "cvar_99")] == [None] * 4
    assert limits.mtm_target is limits.mtm_stop is None


def test_every_rule_can_be_off():
    RiskLimits(**dict.fromkeys(RiskLimits.__struct_fields__))


@pytest.mark.parametrize("name", SHARES)
@pytest.mark.parametrize("value", [0, -0.1, 1.0001, float("nan"), float("inf"), "0.1", True, Decimal("0.1")])
def test_a_share_is_above_nothing_and_at_most_one(name, value):
    with pytest.raises(ValueError, match=f"{name} is .*above 0 and at most 1, or None"):
        RiskLimits(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gross_exposure", 0.0),
        ("gross_exposure", 101.0),
        ("gross_exposure", float("nan")),
        ("orders_per_minute", 0),
        ("orders_per_minute", 2.5),
        ("orders_per_minute", True),
        ("orders_per_minute", 10_001),
        ("mtm_target", Decimal(-1)),
        ("mtm_target", Decimal("NaN")),
        ("mtm_stop", Decimal(0)),
        ("mtm_stop", Decimal("Infinity")),
        ("mtm_stop", 500.0),
    ],
)
def test_other_limits_that_make_no_sense(name, value):
    with pytest.raises(ValueError, match=f"{name} is "):
        RiskLimits(**{name: value})


def test_the_largest_that_is_allowed():
    RiskLimits(daily_loss=1, gross_exposure=100.0, orders_per_minute=10_000, mtm_stop=Decimal(10**12))
