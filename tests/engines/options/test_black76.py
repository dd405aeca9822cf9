"""Against independent ways to the same numbers: QuantLib, integration over the lognormal distribution, differences."""

import itertools
import math

import numpy as np
import pytest
import QuantLib as ql  # noqa: N813 - as its own documentation has it
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from engines.options.black76 import Greeks, greeks

FORWARD, YEARS, VOLATILITY, RATE = 25_000.0, 30 / 365, 0.14, 0.065
STRIKES = np.array([20_000.0, 24_000.0, 25_000.0, 26_000.0, 30_000.0])
MINUTE = 1 / 525_600
MONEYNESS = np.array([0.2, 0.5, 0.8, 0.95, 0.99, 0.999, 1.0, 1.001, 1.01, 1.05, 1.25, 2.0, 5.0])
GRID_YEARS = (MINUTE, 30 * MINUTE, 1 / 365, 7 / 365, 30 / 365, 1.0, 3.0)
GRID_VOLATILITY = (0.01, 0.05, 0.14, 0.4, 1.0, 3.0)


def by_integration(strike, *, is_call):
    """Discounted expectation of the payoff when ln(F_T/F) is normal."""
    deviation = VOLATILITY * math.sqrt(YEARS)

    def integrand(z):
        terminal = FORWARD * math.exp(deviation * z - deviation**2 / 2)
        payoff = max(terminal - strike, 0) if is_call else max(strike - terminal, 0)
        return payoff * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)

    kink = (math.log(strike / FORWARD) + deviation**2 / 2) / deviation
    value, _ = quad(integrand, -12, 12, points=[kink] if abs(kink) < 12 else None, limit=400, epsabs=1e-10)
    return math.exp(-RATE * YEARS) * value


def by_quantlib(strike, years, volatility, *, is_call):
    payoff = ql.PlainVanillaPayoff(ql.Option.Call if is_call else ql.Option.Put, strike)
    black = ql.BlackCalculator(payoff, FORWARD, volatility * math.sqrt(years), math.exp(-RATE * years))
    return Greeks(
        price=black.value(),
        delta=black.deltaForward(),
        gamma=black.gammaForward(),
        theta=black.theta(FORWARD, years) / 365,
        vega=black.vega(years) / 100,
        rho=(black.rho(years) + black.dividendRho(years)) / 100,  # the forward unchanged
    )


@pytest.mark.parametrize("years", GRID_YEARS)
def test_quantlib_has_the_same_numbers_to_a_millionth(years):
    """Relative 1e-6 of each number; what is under 1e-12 of its natural scale is compared absolutely at that, for
    QuantLib subtracts two terms of the size of the forward and has no digits left there."""
    strikes = FORWARD / MONEYNESS
    scale = {"price": FORWARD, "delta": 1.0, "theta": FORWARD / years / 365, "vega": FORWARD / 100, "rho": FORWARD}
    for volatility, is_call in itertools.product(GRID_VOLATILITY, (True, False)):
        ours = greeks(FORWARD, strikes, years, volatility, RATE, is_call=is_call)
        theirs = [by_quantlib(strike, years, volatility, is_call=is_call) for strike in strikes.tolist()]
        for name in Greeks.__struct_fields__:
            expected = np.array([getattr(row, name) for row in theirs])
            least = 1e-12 * scale.get(name, 1 / (FORWARD * volatility * math.sqrt(years)))
            np.testing.assert_allclose(getattr(ours, name), expected, rtol=1e-6, atol=least, err_msg=name)


@pytest.mark.parametrize("is_call", [True, False])
def test_prices_are_those_of_integration(is_call):
    prices = greeks(FORWARD, STRIKES, YEARS, VOLATILITY, RATE, is_call=is_call).price
    assert prices == pytest.approx([by_integration(k, is_call=is_call) for k in STRIKES], abs=1e-6)


def test_a_price_far_from_the_money_keeps_its_digits():
    """By the asymptotic series of the normal tail, thirty deviations out, where the two terms cancel to nothing."""
    deviation, strike = 0.01, math.exp(0.3)
    h, t = -30.0, 0.005
    upper, lower = (
        sum(term / y ** (2 * k + 1) for k, term in enumerate((1, -1, 3, -15, 105))) for y in (-h - t, -h + t)
    )
    expected = math.exp(0.15 - (h * h + t * t) / 2) / math.sqrt(2 * math.pi) * (upper - lower)
    found = greeks(1.0, np.array([strike]), 1.0, deviation, 0.0, is_call=True).price[0]
    assert found == pytest.approx(expected, rel=1e-6)
    assert 0 < found < 1e-190


def test_calls_and_puts_of_several_expiries_are_one_call():
    strikes, years = np.tile(STRIKES, 4), np.repeat([YEARS, 2 * YEARS], 10)
    is_call = np.tile(np.repeat([True, False], 5), 2)
    together = greeks(FORWARD, strikes, years, VOLATILITY, RATE, is_call=is_call)
    apart = [
        greeks(FORWARD, STRIKES, one, VOLATILITY, RATE, is_call=side)
        for one, side in itertools.product((YEARS, 2 * YEARS), (True, False))
    ]
    for name in Greeks.__struct_fields__:
        assert getattr(together, name) == pytest.approx(np.concatenate([getattr(one, name) for one in apart]))


@given(
    moneyness=st.floats(0.2, 5),
    years=st.floats(MINUTE, 3),
    volatility=st.floats(0.01, 3),
    rate=st.floats(-0.1, 0.2),
)
def test_parity_and_order_hold_everywhere(moneyness, years, volatility, rate):
    strikes = FORWARD / moneyness * np.array([1.0, 1.0 + 1e-3])
    calls = greeks(FORWARD, strikes, years, volatility, rate, is_call=True)
    puts = greeks(FORWARD, strikes, years, volatility, rate, is_call=False)
    discount = math.exp(-rate * years)
    assert calls.price - puts.price == pytest.approx(discount * (FORWARD - strikes), rel=1e-12, abs=1e-12 * FORWARD)
    assert calls.delta - puts.delta == pytest.approx(discount)
    assert calls.price[1] <= calls.price[0]
    assert puts.price[1] >= puts.price[0]
    dearer = greeks(FORWARD, strikes, years, volatility * 1.01, rate, is_call=True)
    assert np.all(dearer.price >= calls.price * (1 - 1e-12))
    for one in (calls, puts):
        assert np.all((one.gamma >= 0) & (one.vega >= 0) & (one.price >= 0))
        assert all(np.all(np.isfinite(getattr(one, name))) for name in Greeks.__struct_fields__)


@pytest.mark.parametrize("is_call", [True, False])
def test_greeks_are_differences_of_the_price(is_call):
    def price(forward=FORWARD, years=YEARS, volatility=VOLATILITY, rate=RATE):
        return greeks(forward, STRIKES, years, volatility, rate, is_call=is_call).price

    found = greeks(FORWARD, STRIKES, YEARS, VOLATILITY, RATE, is_call=is_call)
    h = 1.0
    assert found.delta == pytest.approx((price(FORWARD + h) - price(FORWARD - h)) / (2 * h), abs=1e-6)
    assert found.gamma == pytest.approx((price(FORWARD + h) - 2 * price() + price(FORWARD - h)) / h**2, abs=1e-6)
    day = 1e-4
    assert found.theta == pytest.approx(
        (price(years=YEARS - day) - price(years=YEARS + day)) / (2 * day) / 365, abs=1e-3
    )
    v = 1e-5
    vega = (price(volatility=VOLATILITY + v) - price(volatility=VOLATILITY - v)) / (2 * v) / 100
    assert found.vega == pytest.approx(vega, abs=1e-4)
    r = 1e-5
    assert found.rho == pytest.approx((price(rate=RATE + r) - price(rate=RATE - r)) / (2 * r) / 100, abs=1e-4)


@pytest.mark.parametrize(
    "bad", [{"years": 0.0}, {"volatility": 0.0}, {"forward": -1.0}, {"forward": math.nan}, {"volatility": math.inf}]
)
def test_what_cannot_be_priced_is_refused(bad):
    arguments = {"forward": FORWARD, "strikes": STRIKES, "years": YEARS, "volatility": VOLATILITY, "rate": RATE, **bad}
    with pytest.raises(ValueError, match="positive"):
        greeks(**arguments, is_call=True)
