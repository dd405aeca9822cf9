"""The numbers of a result, which bars are tested, and the picture."""

import xml.etree.ElementTree as ET
from datetime import timedelta

import numpy as np
import pytest

from engines.backtest.market import historical_market
from engines.backtest.picture import draw
from engines.backtest.results import _sharpes, sharpe_interval, stationary_indexes
from engines.backtest.run import BacktestCancelled, BacktestFailed
from engines.backtest.spec import BacktestSpec
from engines.market.calendar import is_session_day
from engines.market.history import history_of
from engines.market.quotes import Bar
from engines.trading.performance import sharpe
from tests.engines.backtest.markets import START, D, bars, chances, day, direction, filled_up, run, walks


def values_of(returns):
    return np.cumprod(np.concatenate(([1_000.0], 1 + returns))).tolist()


# Numbers


def test_exposure_turnover_and_trades_by_hand():
    """One trade of a share of 0.5 over 5 of 60 days, at a price that stands still."""
    history = history_of(filled_up(100.0))
    chance = np.array([0.9] * 5 + [0.1] * 55)
    result = run(history, chance={"X": chance}, position_share=0.5, slippage_basis_points=0.0)
    (trade,) = result.trade_list
    value = trade.quantity * D(100)
    assert trade.pnl == -trade.charges == -result.charges
    assert (result.win_rate, result.profit_factor) == (0.0, 0.0)
    assert result.exposure == pytest.approx(5 / 60 * 0.495, rel=0.01)
    assert result.turnover == pytest.approx(float(2 * value) / 1_000_000 / (60 / 252), rel=0.01)
    assert result.final_equity == 1_000_000 - result.charges


def test_the_same_input_gives_the_same_result():
    history = walks(2, length=120)
    chance = chances(history)
    first = run(history, chance=chance, label=direction(2))
    assert first == run(history, chance=chance, label=direction(2))
    other = run(history, chance=chance, label=direction(2), seed=2)
    assert (other.sharpe, other.equity_curve) == (first.sharpe, first.equity_curve)
    assert other.sharpe_low != first.sharpe_low


def test_the_order_of_the_symbols_does_not_matter():
    history = walks(3, length=120)
    turned = dict(reversed(history.items()))
    assert run(history, strategy="breakout") == run(turned, strategy="breakout", symbols=("S2", "S1", "S0"))


def test_a_market_that_stands_still_earns_and_loses_nothing():
    result = run(filled_up(100.0), strategy="trend")
    assert (result.trades, result.total_return, result.max_drawdown, result.exposure) == (0, 0.0, 0.0, 0.0)
    assert (result.sharpe, result.sharpe_low, result.sortino, result.calmar) == (None, None, None, None)
    assert result.final_equity == 1_000_000


def test_the_interval_of_independent_returns_is_as_wide_as_theory_says():
    """Standard error of a Sharpe ratio of n independent days: the root of 252 (1 + S^2 / 2) / n (Lo 2002)."""
    returns = np.random.default_rng(5).normal(0.0005, 0.01, 2_520)
    values = values_of(returns)
    low, high = sharpe_interval(values, seed=1)
    found = sharpe(values)
    assert low < found < high
    assert (high - low) / 2 == pytest.approx(1.96 * (252 / 2_520) ** 0.5, rel=0.15)
    assert sharpe_interval(values, seed=1) == (low, high) != sharpe_interval(values, seed=2)


def test_returns_that_follow_each_other_make_the_interval_wider():
    random = np.random.default_rng(5)
    shocks, returns = random.normal(0.0002, 0.01, 1_000), np.zeros(1_000)
    for n in range(1, 1_000):
        returns[n] = 0.6 * returns[n - 1] + shocks[n]
    low, high = sharpe_interval(values_of(returns), seed=1)
    alone_low, alone_high = sharpe_interval(values_of(random.permutation(returns)), seed=1)
    assert high - low > 1.4 * (alone_high - alone_low)


def test_too_little_history_has_no_interval():
    assert sharpe_interval(values_of(np.tile([0.01, -0.01], 29)), seed=1) == (None, None)
    assert sharpe_interval([1_000.0] * 100, seed=1) == (None, None)


def test_the_ratio_of_a_resample_is_that_of_live_trading():
    returns = np.random.default_rng(2).normal(0, 0.01, (3, 80))
    assert _sharpes(returns) == pytest.approx([sharpe(values_of(row)) for row in returns])


def test_blocks_have_the_mean_length_and_go_round():
    indexes = stationary_indexes(np.random.default_rng(1), 50, 400, mean_block=8.0)
    follows = np.diff(indexes, axis=1) % 400 == 1
    assert 1 / (1 - follows.mean()) == pytest.approx(8.0, rel=0.05)
    assert (indexes.min(), indexes.max()) == (0, 399)
    assert np.bincount(indexes.ravel()).min() > 0


# Which bars


def test_only_the_symbols_and_days_that_were_asked_for():
    history = walks(3)
    result = run(history, strategy="buy_and_hold", symbols=("S1",), start=day(20), end=day(99))
    assert (result.start, result.end, len(result.days)) == (day(20), day(99), 80)
    assert result.equity_curve[0] == pytest.approx(1_000_000, rel=0.1)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"symbols": ("S1", "NONE")}, r"no bars of NONE; there are of S0, S1, S2"),
        ({"start": day(150)}, r"50 trading times from 2024-05-30 until now, at least 60 are needed"),
        ({"start": day(500)}, r"0 trading times"),
        ({"symbols": ("S1",), "end": day(-1)}, r"S1 has no bars until 2023-12-31"),
    ],
)
def test_what_cannot_be_tested_is_said(spec, message):
    with pytest.raises(BacktestFailed, match=message):
        run(walks(3), strategy="trend", **spec)


@pytest.mark.parametrize("price", [0.0, -1.0, float("nan"), float("inf")])
def test_a_price_that_is_none_is_said(price):
    history = walks(1)
    history["S0"].low[5] = price
    with pytest.raises(BacktestFailed, match="the low of S0 at 2024-01-06 03:45 UTC is"):
        run(history, strategy="trend")


def test_no_bars_at_all():
    with pytest.raises(BacktestFailed, match="0 trading times"):
        run({}, strategy="trend")


def test_bars_of_minutes_make_days():
    sessions = [START + timedelta(days=n) for n in range(3) if is_session_day((START + timedelta(days=n)).date())]
    random = np.random.default_rng(4)
    history, price = [], 100.0
    for opening in sessions:
        for minute in range(100):
            close = price * float(np.exp(random.normal(0, 0.002)))
            row = (price, max(price, close) * 1.0005, min(price, close) * 0.9995, close)
            history.append(Bar("X", opening + timedelta(minutes=minute), *row, volume=float(random.lognormal(5, 1))))
            price = close
    assert historical_market(history_of(history), BacktestSpec()).bar_seconds == 60
    reports = []
    result = run(history, strategy="breakout", report=reports.append)
    assert result.days == tuple(opening.date() for opening in sessions)
    assert len(reports) == len(sessions)
    assert result.turnover > 0


def test_it_stops_when_asked():
    calls = iter(range(1_000))
    reports = []
    with pytest.raises(BacktestCancelled):
        run(filled_up(100.0), strategy="buy_and_hold", report=reports.append, cancelled=lambda: next(calls) >= 10)
    assert len(reports) == 10


def test_the_first_day_is_reported_before_any_other_is_simulated():
    """Also where the benchmark is simulated beside it: nobody waits for it."""
    seen, asked = [], []

    def cancelled():
        asked.append(len(seen))
        return False

    result = run(filled_up(100.0), strategy="trend", report=seen.append, cancelled=cancelled)
    assert asked == list(range(60))
    assert (seen[0].day, seen[0].percentage) == (day(0), pytest.approx(100 / 60))
    assert (len(result.benchmark_curve), result.equity_curve[-1]) == (60, 1_000_000)
    assert result.benchmark_curve[-1] < 1_000_000


def test_drawdown_is_reported_as_it_is():
    reports = []
    run(bars(*[100.0] * 58, 110.0, 55.0), strategy="buy_and_hold", report=reports.append)
    assert reports[-1].drawdown == pytest.approx(0.495, abs=0.01)
    assert reports[-2].drawdown == 0


# The picture


def test_a_picture_of_each_kind(tmp_path):
    drawn = {
        "title": "breakout",
        "opening_cash": 100_000.0,
        "days": [day(n) for n in range(60)],
        "equity": [100_000.0 + 50 * (n % 7) for n in range(60)],
        "benchmark": [100_000.0 - 20 * n for n in range(60)],
    }
    for name in ("equity.png", "equity.SVG", "again.svg"):
        draw(tmp_path / name, **drawn)
    png = (tmp_path / "equity.png").read_bytes()
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert int.from_bytes(png[16:20]) == 1_200
    svg = (tmp_path / "equity.SVG").read_text()
    assert ET.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
    assert svg == (tmp_path / "again.svg").read_text()
    with pytest.raises(ValueError, match=r"equity.pdf: a picture is written as .png or .svg"):
        draw(tmp_path / "equity.pdf", **drawn)
