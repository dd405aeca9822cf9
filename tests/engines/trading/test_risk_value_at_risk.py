from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from engines.trading.risk.value_at_risk import (
    KEPT_DAYS,
    MIN_DAYS,
    ReturnHistory,
    tail_figures,
    value_at_risk,
    values_at_risk,
)

START = date(2025, 1, 1)


def day(number):
    return START + timedelta(days=number)


def history(**returns):
    """Closes that have these returns, from 100."""
    result = ReturnHistory()
    for symbol, changes in returns.items():
        closes = 100 * np.cumprod([1.0, *(1 + np.array(changes))])
        for number, close in enumerate(closes):
            result.add_close(symbol, day(number), float(close))
    return result


def random_returns(days, seed, scale=0.02):
    return np.random.default_rng(seed).standard_t(4, days) * scale


def test_a_worked_example():
    """100 days, of which the ten worst lose 10 %, 9 %, … 1 %: VaR 95 % is the 6th worst, CVaR 95 % the mean of five,
    VaR 99 % the 2nd worst, CVaR 99 % the worst."""
    changes = [-0.01 * (k + 1) if k < 10 else 0.001 for k in range(100)]
    np.random.default_rng(3).shuffle(changes)
    risk = value_at_risk({"X": 1_000.0}, history(X=changes).returns())
    assert (risk.days, risk.coverage) == (100, 1.0)
    assert risk.var_95 == pytest.approx(50.0)
    assert risk.cvar_95 == pytest.approx((100 + 90 + 80 + 70 + 60) / 5)
    assert risk.var_99 == pytest.approx(90.0)
    assert risk.cvar_99 == pytest.approx(100.0)


def test_part_of_a_day_counts_in_part():
    """250 days at 99 %: the worst 2.5 days, so half of the third; VaR is the third."""
    pnl = np.arange(-250.0, 0.0)[None, ::-1]
    var, cvar = tail_figures(pnl)[99]
    assert var[0] == 248.0
    assert cvar[0] == pytest.approx((250 + 249 + 0.5 * 248) / 2.5)


@pytest.mark.parametrize("days", [100, 137, 250, 499])
@pytest.mark.parametrize("level", [95, 99])
def test_agrees_with_numpys_quantiles(days, level):
    losses = random_returns(days, days)
    var, cvar = (figure[0] for figure in tail_figures(-losses[None, :])[level])
    # The confidence a hair lower, so that the float 0.95 * 100 is not rounded up to the next day.
    assert var == np.quantile(losses, level / 100 - 1e-12, method="inverted_cdf")
    fine = np.quantile(
        losses, level / 100 + (1 - level / 100) * (np.arange(50_000) + 0.5) / 50_000, method="inverted_cdf"
    )
    assert cvar == pytest.approx(fine.mean(), rel=1e-3)


def test_a_normal_market_gives_the_normal_figures():
    """sigma 1 % a day: VaR 95 % is 1.645 sigma, CVaR 2.063 sigma (McNeil, Frey, Embrechts), within sampling error."""
    pnl = np.random.default_rng(11).normal(0.0, 10_000.0, (200, 500))
    figures = tail_figures(pnl)
    assert figures[95][0].mean() == pytest.approx(16_449, rel=0.02)
    assert figures[95][1].mean() == pytest.approx(20_627, rel=0.02)
    assert figures[99][0].mean() == pytest.approx(23_263, rel=0.04)
    assert figures[99][1].mean() == pytest.approx(26_652, rel=0.04)


def test_a_hedge_and_a_short_position():
    returns = history(A=random_returns(200, 1), B=random_returns(200, 2)).returns()
    long, short = (value_at_risk({"A": size}, returns) for size in (1e5, -1e5))
    assert long.var_95 != short.var_95
    hedged = value_at_risk({"A": 1e5, "B": 0.0}, returns)
    assert hedged.cvar_99 == pytest.approx(long.cvar_99)
    nothing = value_at_risk({}, returns)
    assert (nothing.var_99, nothing.cvar_99, nothing.coverage) == (0.0, 0.0, 1.0)


def test_too_little_history_gives_no_figure():
    assert value_at_risk({"X": 1.0}, history(X=[0.01] * (MIN_DAYS - 1)).returns()) is None
    assert value_at_risk({"X": 1.0}, history(X=[0.01] * MIN_DAYS).returns()) is not None
    assert value_at_risk({"X": 1.0}, ReturnHistory().returns()) is None


def test_what_has_no_history_moves_as_the_mean_and_is_not_covered():
    a, b = random_returns(150, 1), random_returns(150, 2)
    known = history(A=a, B=b)
    returns = known.returns()
    new = value_at_risk({"NEW": 1_000.0, "A": 3_000.0}, returns)
    mean = tail_figures((1_000 * (a + b) / 2 + 3_000 * a)[None, :])
    assert new.var_95 == pytest.approx(mean[95][0][0])
    assert new.cvar_99 == pytest.approx(mean[99][1][0])
    assert new.coverage == pytest.approx(0.75)
    for number in range(100, 151):  # listed 50 returns ago
        known.add_close("NEW", day(number), 100.0)
    mixed = known.returns()
    column = mixed.symbols.index("NEW")
    assert mixed.own[column] == 50
    assert mixed.matrix[:100, column] == pytest.approx((a + b)[:100] / 2)
    assert not mixed.matrix[100:, column].any()
    assert value_at_risk({"NEW": 1.0}, mixed).coverage == 0.0


def test_a_gap_is_not_one_days_move():
    closes = history(A=[0.0] * 150)
    for number in range(151):
        if number != 75:
            closes.add_close("B", day(number), 100.0 if number < 75 else 50.0)
    returns = closes.returns()
    assert returns.matrix.min() == 0.0
    assert dict(zip(returns.symbols, returns.own.tolist(), strict=True)) == {"A": 150, "B": 148}


def test_history_keeps_the_last_days_in_any_order_of_arrival():
    closes = ReturnHistory()
    numbers = list(range(KEPT_DAYS + 30))
    np.random.default_rng(5).shuffle(numbers)
    for number in numbers:
        closes.add_close("X", day(number), 1.0 + number)
    assert list(closes.closes("X")) == [day(number) for number in range(30, KEPT_DAYS + 30)]
    closes.add_close("X", day(KEPT_DAYS + 29), 7.0)
    assert closes.closes("X")[day(KEPT_DAYS + 29)] == 7.0
    assert len(closes.returns().days) == KEPT_DAYS - 1
    assert closes.closes("nobody") == {}
    closes.forget(["X"])
    assert closes.symbols == ()
    assert closes.closes("X") == {}


@pytest.mark.parametrize("close", [0.0, -1.0, float("nan"), float("inf")])
def test_a_close_is_above_nothing(close):
    with pytest.raises(ValueError, match="above 0"):
        ReturnHistory().add_close("X", START, close)


def test_many_accounts_at_once_equal_one_by_one():
    rng = np.random.default_rng(8)
    symbols = tuple(f"S{i}" for i in range(7))
    returns = history(**{s: random_returns(180, i) for i, s in enumerate(symbols)}).returns()
    factors = (*symbols, "NEW")
    dense = rng.normal(0, 1e5, (2_345, 8)) * (rng.random((2_345, 8)) < 0.3)
    many = values_at_risk(sparse.csr_array(dense), factors, returns)
    for index in (0, 1_999, 2_000, 2_344):
        one = value_at_risk(dict(zip(factors, dense[index].tolist(), strict=True)), returns)
        for name in ("var_95", "var_99", "cvar_95", "cvar_99", "coverage"):
            assert getattr(many, name)[index] == pytest.approx(getattr(one, name))


@pytest.mark.parametrize("unknown", [float("nan"), float("inf")])
def test_an_unknown_exposure_makes_only_its_own_account_unknown(unknown):
    returns = history(A=random_returns(120, 1)).returns()
    many = values_at_risk(sparse.csr_array(np.array([[1.0], [unknown], [2.0]])), ("A",), returns)
    for name in ("var_95", "var_99", "cvar_95", "cvar_99", "coverage"):
        assert np.isnan(getattr(many, name)).tolist() == [False, True, False]


def test_columns_and_factors_must_agree():
    returns = history(A=random_returns(120, 1)).returns()
    with pytest.raises(ValueError, match="accounts x 2 factors"):
        values_at_risk(sparse.csr_array(np.ones((3, 1))), ("A", "B"), returns)


results = st.lists(st.floats(-1e6, 1e6), min_size=MIN_DAYS, max_size=MIN_DAYS)


@settings(max_examples=60)
@given(results, results, st.floats(0.1, 10.0))
def test_shortfall_is_coherent(one, other, scale):
    a, b = np.array(one), np.array(other)
    for level in (95, 99):
        (var_a, cvar_a), (_, cvar_b), (_, cvar_sum), (var_scaled, cvar_scaled), (_, cvar_moved) = (
            (figure[0] for figure in tail_figures(pnl[None, :])[level]) for pnl in (a, b, a + b, scale * a, a + 7.0)
        )
        assert cvar_a >= var_a - 1e-6
        assert cvar_sum <= cvar_a + cvar_b + 1e-6
        assert (var_scaled, cvar_scaled) == (pytest.approx(scale * var_a), pytest.approx(scale * cvar_a, abs=1e-6))
        assert cvar_moved == pytest.approx(cvar_a - 7.0, abs=1e-6)
