import math

import numpy as np
import pytest

from engines.options.chain import analyse
from engines.options.positions import portfolio_greeks
from tests.engines.options.samples import NOW, RATE, chain_of

MEASURES = ("price", "delta", "gamma", "theta", "vega", "rho")


def test_sums_are_units_times_the_measures_of_one():
    found = portfolio_greeks(
        [65, -130], price=[100, 50], delta=[0.5, -0.4], gamma=[0.001, 0.002], theta=[-5, -4], vega=[10, 9], rho=[1, -1]
    )
    assert found.value == 65 * 100 - 130 * 50
    assert found.delta == pytest.approx(65 * 0.5 + 130 * 0.4)
    assert found.vega == pytest.approx(65 * 10 - 130 * 9)
    assert found.left_out == 0


def test_a_short_straddle_of_a_chain():
    """A call and a put of one strike, sold: delta of the two together, gamma and vega negative, theta earned."""
    analysis = analyse(chain_of(0.14), NOW, RATE)
    per_unit = {name: [getattr(side, name)[20] for side in (analysis.calls, analysis.puts)] for name in MEASURES}
    held = portfolio_greeks(np.array([-65, -65]), **per_unit)
    assert held.gamma < 0 < held.theta
    assert held.vega == pytest.approx(-130 * analysis.calls.vega[20])
    assert held.delta == pytest.approx(-65 * (analysis.calls.delta[20] + analysis.puts.delta[20]))


@pytest.mark.parametrize("unknown", [None, math.nan, math.inf])
def test_a_position_without_greeks_is_left_out_and_counted(unknown):
    found = portfolio_greeks([65, 65], **{name: [1.0, 2.0 if name != "vega" else unknown] for name in MEASURES})
    assert found.delta == found.vega == 65.0
    assert found.left_out == 1


def test_nothing_held_is_nothing():
    assert portfolio_greeks([], **{name: [] for name in MEASURES}).delta == 0.0


def test_lengths_that_differ_are_refused():
    with pytest.raises(ValueError, match="one item per position"):
        portfolio_greeks([1, 2], **{name: [1.0] for name in MEASURES})
