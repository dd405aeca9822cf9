"""Nothing that comes later changes what happened before."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from engines.market.history import BarSeries
from tests.engines.backtest.markets import chances, day, direction, run, walks

STRATEGIES = ("model", "trend", "breakout", "mean_reversion", "volatility", "buy_and_hold")
LENGTH = 200
HISTORY = walks(2, seed=31, length=LENGTH)  # on which every strategy trades
CHANCES = chances(HISTORY)


@cache
def as_it_was(strategy):
    result = run(HISTORY, strategy=strategy, chance=CHANCES, label=direction(3))
    assert result.turnover > 0
    return result


def changed_after(number, seed):
    """The same bars and probabilities up to the bar `number`, others after it."""
    random = np.random.default_rng(seed)
    history, chance = {}, {}
    for symbol, bars in HISTORY.items():
        factor = np.ones(LENGTH)
        factor[number + 1 :] = np.exp(np.cumsum(random.normal(0, 0.05, LENGTH - number - 1)))
        prices = [np.round(column * factor, 2) for column in (bars.open, bars.high, bars.low, bars.close)]
        history[symbol] = BarSeries(symbol, bars.times, *prices, bars.volume * factor)
        chance[symbol] = CHANCES[symbol].copy()
        chance[symbol][number + 1 :] = random.uniform(0.3, 0.7, LENGTH - number - 1)
    return history, chance


@pytest.mark.parametrize("strategy", STRATEGIES)
@settings(max_examples=2, deadline=None, derandomize=True)
@given(number=some.integers(60, LENGTH - 2), seed=some.integers(0, 1_000))
def test_what_comes_later_changes_nothing(strategy, number, seed):
    known = as_it_was(strategy)
    history, chance = changed_after(number, seed)
    changed = run(history, strategy=strategy, chance=chance, label=direction(3))
    days = sum(found <= day(number) for found in known.days)
    assert changed.equity_curve[:days] == known.equity_curve[:days]
    assert changed.benchmark_curve[:days] == known.benchmark_curve[:days]
    assert changed.benchmark_curve != known.benchmark_curve
    before = [[t for t in result.trade_list if t.closed_on <= day(number)] for result in (changed, known)]
    assert before[0] == before[1]
