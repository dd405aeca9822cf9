"""Against an independent way to the same numbers: integration over the lognormal distribution, and differences."""

import math
from datetime import date, datetime, timedelta

import numpy as np
import pytest
from scipy.integrate import quad

from engines.market.calendar import IST
from engines.market.quotes import Bar
from engines.options.black76 import greeks
from engines.options.chain import RealisedVolatility, modelled_chain

FORWARD, YEARS, VOLATILITY, RATE = 25_000.0, 30 / 365, 0.14, 0.065
STRIKES = np.array([20_000.0, 24_000.0, 25_000.0, 26_000.0, 30_000.0])


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


@pytest.mark.parametrize("is_call", [True, False])
def test_prices_are_those_of_integration(is_call):
    prices = greeks(FORWARD, STRIKES, YEARS, VOLATILITY, RATE, is_call=is_call).price
    assert prices == pytest.approx([by_integration(k, is_call=is_call) for k in STRIKES], abs=1e-6)


def test_put_call_parity():
    calls = greeks(FORWARD, STRIKES, YEARS, VOLATILITY, RATE, is_call=True).price
    puts = greeks(FORWARD, STRIKES, YEARS, VOLATILITY, RATE, is_call=False).price
    assert calls - puts == pytest.approx(math.exp(-RATE * YEARS) * (FORWARD - STRIKES))


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


@pytest.mark.parametrize("bad", [{"years": 0.0}, {"volatility": 0.0}, {"forward": -1.0}])
def test_what_cannot_be_priced_is_refused(bad):
    arguments = {"forward": FORWARD, "strikes": STRIKES, "years": YEARS, "volatility": VOLATILITY, "rate": RATE, **bad}
    with pytest.raises(ValueError, match="positive"):
        greeks(**arguments, is_call=True)


@pytest.mark.parametrize("hour", [10, 15, 20])
def test_a_chain_has_no_nan_even_after_its_expiry(hour):
    now = datetime(2026, 1, 6, hour, 29, tzinfo=IST)
    chain = modelled_chain("NIFTY", 25_013.0, 0.05, now, date(2026, 1, 6))
    assert chain.strikes[10] == 25_000
    assert len(chain.strikes) == 21
    for side in (chain.calls, chain.puts):
        for name in side.__struct_fields__:
            assert np.all(np.isfinite(getattr(side, name)))


def test_realised_volatility_finds_what_was_put_in():
    rng = np.random.default_rng(1)
    measured = RealisedVolatility(60, decay=0.999)
    price = 100.0
    for day in range(60):
        price *= 1.03  # the gap over night does not count
        for minute in range(375):
            price *= math.exp(rng.normal(0, 0.20 / math.sqrt(252 * 375)))
            time = datetime(2026, 1, 5, 9, 15, tzinfo=IST) + timedelta(days=day, minutes=minute)
            measured.add(Bar("X", time, price, price, price, price))
    assert measured.annualised == pytest.approx(0.20, rel=0.1)
    assert RealisedVolatility(60).annualised == 0.05


def test_realised_volatility_of_daily_bars():
    rng = np.random.default_rng(1)
    measured = RealisedVolatility(86_400, decay=0.999)
    price = 100.0
    for day in range(5_000):
        price *= math.exp(rng.normal(0, 0.20 / math.sqrt(252)))
        measured.add(Bar("X", datetime(2000, 1, 1, tzinfo=IST) + timedelta(days=day), price, price, price, price))
    assert measured.annualised == pytest.approx(0.20, rel=0.1)
