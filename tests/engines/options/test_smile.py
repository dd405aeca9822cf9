"""What is read off a chain as a whole."""

import math

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import ndtr

from engines.options.smile import max_pain, ratio, smile_of

FORWARD, YEARS = 25_013.0, 0.05
STRIKES = 20_000.0 + 50.0 * np.arange(201)


def skewed(strike):
    return 0.14 - 0.3 * np.log(strike / FORWARD) + 1.5 * np.log(strike / FORWARD) ** 2


def strike_of(call_delta):
    def distance(strike):
        deviation = skewed(strike) * math.sqrt(YEARS)
        return ndtr(math.log(FORWARD / strike) / deviation + deviation / 2) - call_delta

    return brentq(distance, 20_000, 30_000)


def test_the_skew_is_that_of_the_curve():
    volatility = skewed(STRIKES)
    smile = smile_of(STRIKES, volatility, volatility, FORWARD, YEARS)
    call, put = skewed(strike_of(0.25)), skewed(strike_of(0.75))
    assert smile.at_the_money == pytest.approx(0.14, abs=1e-5)
    assert smile.risk_reversal == pytest.approx(call - put, abs=2e-5)
    assert smile.butterfly == pytest.approx((call + put) / 2 - 0.14, abs=2e-5)


def test_each_strike_has_its_out_of_the_money_option_s_volatility_else_the_other_s():
    strikes = np.array([90.0, 100.0, 110.0, 120.0])
    calls, puts = np.array([0.1, 0.2, np.nan, np.nan]), np.array([0.3, np.nan, 0.5, np.nan])
    smile = smile_of(strikes, calls, puts, 105.0, 0.1)
    assert smile.volatility.tolist()[:3] == [0.3, 0.2, 0.5]
    assert np.isnan(smile.volatility[3])
    assert smile.at_the_money == pytest.approx(0.35)


def test_nothing_is_drawn_beyond_what_is_quoted():
    near = np.abs(STRIKES - FORWARD) < 120
    volatility = np.where(near, 0.14, np.nan)
    smile = smile_of(STRIKES, volatility, volatility, FORWARD, YEARS)
    assert smile.at_the_money == pytest.approx(0.14)
    assert smile.risk_reversal is None
    assert smile.butterfly is None
    above = np.where(STRIKES > FORWARD, 0.14, np.nan)
    assert smile_of(STRIKES, above, above, FORWARD, YEARS).at_the_money is None
    nothing = np.full(len(STRIKES), np.nan)
    assert smile_of(STRIKES, nothing, nothing, FORWARD, YEARS).at_the_money is None


def test_max_pain_is_where_holders_get_least():
    strikes = np.array([100.0, 110.0, 120.0])
    calls, puts = np.array([10.0, 50.0, 20.0]), np.array([20.0, 40.0, 5.0])
    # paid at 100: puts 10*40 + 20*5 = 500; at 110: calls 10*10 + puts 10*5 = 150; at 120: calls 20*10 + 10*50 = 700
    assert max_pain(strikes, calls, puts) == 110.0
    assert max_pain(strikes, np.zeros(3), np.zeros(3)) is None


def test_a_ratio_needs_calls():
    assert ratio(30.0, 20.0) == 1.5
    assert ratio(30.0, 0.0) is None
