import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from engines.backtest.run import OPENING_CASH, BacktestCancelled, BacktestFailed, run_backtest
from engines.market.feeds.replay import load_bars
from engines.market.quotes import Bar

SHIPPED = Path(__file__).parents[3] / "data" / "daily_bars.csv"
START = datetime(2020, 1, 1, tzinfo=UTC)


def wave(days, symbol="X"):
    closes = [100 + 20 * math.sin(n / 25) for n in range(days)]
    return [Bar(symbol, START + timedelta(days=n), c, c + 1, c - 1, c) for n, c in enumerate(closes)]


def run(bars, report=lambda progress: None, cancelled=lambda: False):
    return run_backtest(bars, report=report, cancelled=cancelled)


def test_the_shipped_bars_give_the_same_honest_result_each_time():
    bars = load_bars(SHIPPED).bars
    progress = []
    result = run(bars, progress.append)
    assert result == run(bars)
    assert result.trades > 50
    assert -1 < result.total_return < 5
    assert result.final_equity == pytest.approx(float(OPENING_CASH) * (1 + result.total_return), rel=1e-5)
    assert len(result.equity_curve) == len(progress) == len({bar.time.date() for bar in bars})
    assert progress[-1].percentage == 100
    worst = max(p.drawdown for p in progress)
    assert result.max_drawdown == pytest.approx(worst, abs=1e-6)


def test_a_market_that_stands_still_earns_and_loses_nothing():
    flat = [Bar("X", START + timedelta(days=n), 100, 100, 100, 100) for n in range(100)]
    result = run(flat)
    assert (result.trades, result.total_return, result.sharpe, result.max_drawdown) == (0, 0, 0, 0)
    assert Decimal(result.final_equity) == OPENING_CASH


def test_it_trades_trends():
    result = run(wave(600))
    assert result.trades >= 3
    assert result.win_rate is not None


def test_too_few_days_and_cancelling():
    with pytest.raises(BacktestFailed, match="59 days"):
        run(wave(59))
    calls = iter(range(100))
    with pytest.raises(BacktestCancelled):
        run(wave(200), cancelled=lambda: next(calls) > 10)
