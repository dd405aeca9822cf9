import math
import statistics
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.trading.book import Book, Fill
from engines.trading.performance import Drawdown, TradeStats, cagr, calmar, max_drawdown, sharpe, sortino

D = Decimal

# 2 % up, 1 % down, 3 % up, 2 % down: mean 0.005; squared deviations sum to 17e-4; squared losses to 5e-4
VALUES = [100.0, 102.0, 100.98, 104.0094, 101.929212]


def stats_of(book, trades):
    stats = TradeStats()
    for quantity, price in trades:
        stats = stats.after(book.fill(Fill("X", quantity, D(price), D(1))))
    return stats


def test_closed_trades_are_counted():
    """Won 200 on 40, lost 300 on 60, even on 40; opening and adding are no trades."""
    stats = stats_of(Book(D(10_000)), [(50, 10), (50, 10), (-40, 15), (-100, 5), (40, 5)])
    assert stats == TradeStats(trades=3, wins=1, losses=1, gross_profit=D(200), gross_loss=D(300))
    assert stats.win_rate == pytest.approx(1 / 3)
    assert stats.profit_factor == pytest.approx(2 / 3)


def test_without_trades_or_losses_there_is_no_ratio():
    assert (TradeStats().win_rate, TradeStats().profit_factor) == (None, None)
    won = stats_of(Book(D(10_000)), [(50, 10), (-50, 11)])
    assert (won.win_rate, won.profit_factor) == (1.0, None)


@given(st.lists(st.tuples(st.integers(-99, 99).filter(bool), st.decimals(0, 999, places=4)), max_size=30))
def test_profit_less_loss_is_what_the_books_realised(trades):
    book = Book(D(10_000))
    stats = stats_of(book, trades)
    assert stats.gross_profit - stats.gross_loss == book.totals().realised_pnl


def test_sharpe_of_a_worked_example():
    assert sharpe(VALUES) == pytest.approx(0.005 / math.sqrt(17e-4 / 3) * math.sqrt(252))


def test_sortino_of_a_worked_example():
    assert sortino(VALUES) == pytest.approx(0.005 / math.sqrt(5e-4 / 4) * math.sqrt(252))


def test_growth_and_drawdown_of_a_worked_example():
    growth = 1.01929212 ** (252 / 4) - 1
    assert cagr(VALUES) == pytest.approx(growth)
    assert max_drawdown(VALUES) == pytest.approx(0.02)
    assert calmar(VALUES) == pytest.approx(growth / 0.02)
    doubled_in_two_years = [100 * 2 ** (day / 504) for day in range(505)]
    assert cagr(doubled_in_two_years) == pytest.approx(math.sqrt(2) - 1)


@given(st.lists(st.floats(1, 1e6), min_size=3, max_size=40))
def test_sharpe_agrees_with_the_standard_library(values):
    returns = [after / before - 1 for before, after in pairwise(values)]
    deviation = statistics.stdev(returns)
    found = sharpe(values)
    if deviation < 1e-9:
        return
    assert found == pytest.approx(statistics.fmean(returns) / deviation * math.sqrt(252), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("values", [[], [100.0], [100.0, 101.0], [100.0] * 5, [0.0, 1.0, 2.0], [100.0, -1.0, 50.0]])
def test_too_little_says_nothing(values):
    assert sharpe(values) is None
    assert sortino(values) is None


def test_a_steady_series_has_no_deviation_to_divide_by():
    steady = [100 * 1.01**day for day in range(50)]
    assert sharpe(steady) is None
    assert sortino(steady) is None
    assert calmar(steady) is None
    assert cagr(steady) == pytest.approx(1.01**252 - 1)


def test_ruin_and_excess():
    assert cagr([100.0, 0.0]) == -1
    assert cagr([100.0]) is None
    assert cagr([1.0, 1e6]) is None  # to the power of 252 it is no number
    assert max_drawdown([100.0, -20.0]) == pytest.approx(1.2)
    assert max_drawdown([]) == 0


def test_the_drawdown_follows_its_peak():
    drawdown = Drawdown(peak=100.0)
    seen = []
    for value in (90.0, 120.0, 90.0, 114.0):
        drawdown = drawdown.after(value)
        seen.append((drawdown.peak, drawdown.current, drawdown.maximum))
    assert seen == [(100, 0.1, 0.1), (120, 0, 0.1), (120, 0.25, 0.25), (120, 0.05, 0.25)]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_is_refused(bad):
    for figure in (sharpe, sortino, cagr, calmar, max_drawdown):
        with pytest.raises(ValueError, match=r"finite|no drawdown"):
            figure([100.0, bad, 100.0])
