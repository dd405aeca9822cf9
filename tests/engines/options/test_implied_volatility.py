"""Prices made from a volatility give it back, as far as a double can carry it; QuantLib finds the same."""

import itertools
import math

import numpy as np
import pytest
import QuantLib as ql  # noqa: N813 - as its own documentation has it
from hypothesis import example, given
from hypothesis import strategies as st

from engines.options.black76 import greeks
from engines.options.implied_volatility import REASONS, implied_volatility

FORWARD, RATE = 25_000.0, 0.065
MINUTE = 1 / 525_600
MONEYNESS = np.array([0.2, 0.5, 0.8, 0.95, 0.99, 0.999, 1.0, 1.001, 1.01, 1.05, 1.25, 2.0, 5.0])
GRID = list(
    itertools.product((MINUTE, 30 * MINUTE, 1 / 365, 7 / 365, 30 / 365, 1.0, 3.0), (0.01, 0.05, 0.14, 0.4, 1.0, 3.0))
)


def carries_the_volatility(found, forward, strikes, volatility):
    """A double knows a price to `eps * (F + K)` (in the money) or relatively to eps (out of it). It carries the
    volatility where that, divided by vega, is under 1e-7 of a volatility of one."""
    with np.errstate(divide="ignore"):
        lost = 4 * np.finfo(float).eps * (forward + strikes) / (found.vega * 100)
    return lost < 1e-7 * min(1.0, volatility)


def test_the_grid_gives_back_the_volatility_that_was_put_in():
    """Out of the money always, down to prices of 1e-290; in the money where the price carries it."""
    strikes = FORWARD / MONEYNESS
    for years, volatility in GRID:
        for is_call in (True, False):
            found = greeks(FORWARD, strikes, years, volatility, RATE, is_call=is_call)
            implied = implied_volatility(found.price, FORWARD, strikes, years, RATE, is_call=is_call)
            outside = strikes >= FORWARD if is_call else strikes <= FORWARD
            expected = np.where(
                outside, found.price > 1e-290, carries_the_volatility(found, FORWARD, strikes, volatility)
            )
            assert np.all(implied.reason[expected] == 0)
            np.testing.assert_allclose(implied.volatility[expected], volatility, rtol=1e-6)
            assert np.all(np.isnan(implied.volatility) == (implied.reason > 0))


def test_quantlib_finds_the_same():
    strikes = FORWARD / MONEYNESS
    compared = 0
    for years, volatility in GRID:
        discount = math.exp(-RATE * years)
        for is_call in (True, False):
            found = greeks(FORWARD, strikes, years, volatility, RATE, is_call=is_call)
            ours = implied_volatility(found.price, FORWARD, strikes, years, RATE, is_call=is_call).volatility
            for index in np.flatnonzero(carries_the_volatility(found, FORWARD, strikes, volatility)).tolist():
                deviation = ql.blackFormulaImpliedStdDev(
                    ql.Option.Call if is_call else ql.Option.Put,
                    float(strikes[index]),
                    FORWARD,
                    float(found.price[index]),
                    discount,
                    0.0,
                    volatility * math.sqrt(years) * 1.2,
                    1e-13,
                    500,
                )
                assert ours[index] == pytest.approx(deviation / math.sqrt(years), rel=1e-6)
                compared += 1
    assert compared > 400


@given(
    log_moneyness=st.floats(-1.6, 1.6),
    years=st.floats(MINUTE, 3),
    volatility=st.floats(0.01, 3),
    rate=st.floats(-0.1, 0.2),
    is_call=st.booleans(),
)
def test_price_to_volatility_to_price(log_moneyness, years, volatility, rate, is_call):
    strikes = np.array([FORWARD * math.exp(log_moneyness)])
    price = greeks(FORWARD, strikes, years, volatility, rate, is_call=is_call).price
    implied = implied_volatility(price, FORWARD, strikes, years, rate, is_call=is_call)
    if implied.reason[0] == 0:
        again = greeks(FORWARD, strikes, years, implied.volatility, rate, is_call=is_call).price
        scale = math.exp(-rate * years) * math.sqrt(FORWARD * strikes[0])
        assert abs(again[0] - price[0]) <= 1e-10 * scale
    else:
        assert REASONS[implied.reason[0]] in {"no_time_value", "below_intrinsic", "no_price"}
        assert math.isnan(implied.volatility[0])


@given(st.floats(1e-6, 0.999), st.floats(1e-6, 0.999), st.floats(-1.6, 1.6))
def test_a_higher_price_is_a_higher_volatility(one, other, log_moneyness):
    strikes = np.full(2, FORWARD * math.exp(log_moneyness))
    prices = np.sort([one, other]) * min(FORWARD, strikes[0])
    implied = implied_volatility(prices, FORWARD, strikes, 0.1, 0.0, is_call=strikes[0] >= FORWARD)
    assert np.all(implied.reason == 0)
    assert implied.volatility[0] <= implied.volatility[1] * (1 + 1e-12)


@pytest.mark.parametrize(
    ("price", "strike", "is_call", "reason"),
    [
        (0.0, 25_000.0, True, "no_price"),
        (-5.0, 25_000.0, True, "no_price"),
        (math.nan, 25_000.0, False, "no_price"),
        (math.inf, 25_000.0, True, "no_price"),
        (1_999.0, 23_000.0, True, "below_intrinsic"),
        (1_999.0, 27_000.0, False, "below_intrinsic"),
        (2_000.0, 23_000.0, True, "no_time_value"),
        (2_000.0, 27_000.0, False, "no_time_value"),
        (25_000.0, 26_000.0, True, "above_bound"),
        (26_000.0, 26_000.0, False, "above_bound"),
        (1e300, 26_000.0, False, "above_bound"),
        (24_999.0, 26_000.0, True, None),
        (0.05, 30_000.0, True, None),
    ],
)
def test_what_has_no_volatility_has_a_reason(price, strike, is_call, reason):
    implied = implied_volatility(np.array([price]), FORWARD, np.array([strike]), 0.02, 0.0, is_call=is_call)
    assert REASONS[implied.reason[0]] == reason
    assert math.isnan(implied.volatility[0]) == (reason is not None)


@pytest.mark.parametrize("years", [0.0, -1.0])
def test_after_the_expiry_every_option_is_expired(years):
    implied = implied_volatility(np.ones(3), FORWARD, np.full(3, FORWARD), years, RATE, is_call=True)
    assert [REASONS[code] for code in implied.reason] == ["expired"] * 3


@example([1.7e305], 1.0, 1.0, False)  # overflowed once
@given(st.lists(st.floats(), min_size=1, max_size=20), st.floats(1e-6, 1e12), st.floats(1e-9, 30), st.booleans())
def test_any_number_gives_a_finite_volatility_or_a_reason(prices, forward, years, is_call):
    strikes = np.geomspace(1e-6, 1e12, len(prices))
    implied = implied_volatility(np.array(prices), forward, strikes, years, 0.05, is_call=is_call)
    assert np.all(np.where(implied.reason == 0, np.isfinite(implied.volatility), np.isnan(implied.volatility)))
    assert np.all(implied.volatility[implied.reason == 0] > 0)


@pytest.mark.parametrize("bad", [0.0, math.nan, math.inf])
def test_a_forward_that_is_none_is_refused(bad):
    with pytest.raises(ValueError, match="positive"):
        implied_volatility(np.ones(1), bad, np.ones(1), 1.0, 0.0, is_call=True)
