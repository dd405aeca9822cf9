"""Named strategies: when their signals are traded, and at what price."""

from decimal import Decimal
from itertools import count
from pathlib import Path

import pytest

from engines.backtest.path import path_of, quote_at
from engines.market.feeds.replay import load_bars
from engines.market.quotes import DAY_SECONDS
from engines.trading.calibration import Calibration
from engines.trading.signals import SignalEngine
from engines.trading.strategies.base import all_strategies
from tests.engines.backtest.markets import D, bars, day, filled_up, run, simulate, walks

SHIPPED = Path(__file__).parents[3] / "data" / "daily_bars.csv"
BUY = {0: ("BUY", 10.0, 5.0)}  # at the close of the first bar, 100: target 110, stop 95


def only_trade(*prices, script=BUY, **spec):
    (trade,) = simulate(filled_up(*prices), script, **spec).account.trades
    return trade


@pytest.mark.parametrize(
    ("prices", "exit_price", "closed_on", "reason"),
    [
        ([100.0, (101, 102, 100, 101), (101, 101, 90, 92)], "95", 2, "stop"),
        ([100.0, (101, 102, 100, 101), (93, 120, 90, 92)], "93", 2, "stop"),  # a gap through the stop
        ([100.0, (101, 102, 100, 101), (101, 115, 90, 101)], "95", 2, "stop"),  # both in one bar
        ([100.0, (101, 115, 90, 101)], "95", 1, "stop"),  # both in the bar of the entry
        ([100.0, (101, 102, 100, 101), (101, 115, 100, 101)], "110", 2, "target"),
        ([100.0, (101, 102, 100, 101), (112, 115, 90, 101)], "112", 2, "target"),  # a gap beyond the target
        ([100.0, (101, 102, 100, 101), (101, 101, 95, 95)], "95", 2, "stop"),  # touched is reached
    ],
)
def test_a_signal_is_entered_at_the_next_opening_and_left_at_its_level(prices, exit_price, closed_on, reason):
    trade = only_trade(*prices)
    assert (trade.opened_on, trade.entry_price) == (day(1), D(101))
    assert (trade.closed_on, trade.exit_price, trade.reason) == (day(closed_on), D(exit_price), reason)


def test_slippage_is_on_both_sides():
    trade = only_trade(100.0, (101, 102, 100, 101), (101, 101, 90, 92), slippage_basis_points=10.0)
    assert (trade.entry_price, trade.exit_price) == (D("101.101"), D("94.905"))


def test_a_signal_that_its_first_opening_ends_is_not_entered():
    for opening in (94.0, 111.0):
        assert not simulate(filled_up(100.0, opening), BUY).account.traded_value


def test_an_opposite_signal_closes_at_the_next_opening_and_is_not_sold_short():
    script = {**BUY, 2: ("SELL", 10.0, 5.0)}
    simulation = simulate(filled_up(100.0, 101.0, 102.0, (103, 104, 80, 90), 90.0), script)
    (trade,) = simulation.account.trades
    assert (trade.closed_on, trade.exit_price, trade.reason) == (day(3), D(103), "opposite signal")
    assert not any(position.quantity for position in simulation.account.book.positions.values())


def test_a_signal_expires_after_sixty_sessions():
    trade = only_trade(100.0, *[101.0] * 100)
    assert (trade.reason, trade.exit_price) == ("expired", D(101))
    assert 80 < (trade.closed_on - trade.opened_on).days < 95


def test_the_size_is_a_share_of_the_equity_and_never_more_than_the_cash():
    simulation = simulate(
        [bar for symbol in "ABC" for bar in filled_up(100.0, symbol=symbol)],
        {0: ("BUY", 10.0, 5.0)},
        position_share=0.4,
    )
    held = {symbol: position.quantity for symbol, position in simulation.account.book.positions.items()}
    assert held["A"] == 3_955  # 400,000 by 101 with the broker's reserve, and charges
    assert held["B"] == 3_953  # the equity paid charges in between
    assert 0 < held["C"] < 2_100
    assert simulation.account.book.cash >= 0


def test_what_is_too_dear_is_refused_and_counted():
    dear = simulate(filled_up(90_000.0), {0: ("BUY", 10.0, 5.0)}, position_share=0.01)
    assert dear.account.refused == {"position_too_small": 1}
    poor = simulate(filled_up(90_000.0), {0: ("BUY", 10.0, 5.0)}, opening_cash=Decimal(5_000))
    assert poor.account.refused == {"not_enough_funds": 1}


def test_earlier_bars_warm_up_and_are_not_traded():
    simulation = simulate(filled_up(100.0, 100.0, 100.0, 100.0, length=80), {0: BUY[0], 6: BUY[0]}, start=day(5))
    (bought,) = simulation.account._holdings.values()
    assert bought.opened_on == day(7)


@pytest.mark.parametrize("strategy", ["trend", "mean_reversion"])
def test_the_path_ends_signals_as_the_signal_engine_says_of_a_bar_of_history(strategy):
    def engine():
        numbers = count()
        chosen = [found for found in all_strategies() if found.name == strategy]
        return SignalEngine(chosen, Calibration("none", DAY_SECONDS), new_id=lambda: str(next(numbers)))

    whole, stepwise, ours, theirs = engine(), engine(), [], []
    levels = None
    for bar in list(walks(1, length=900)["S0"].bars()):
        theirs += whole.on_history_bar(bar)
        events = []
        if levels is not None:
            prices = path_of(bar, levels[0], falls_first=levels[1])
            events += stepwise.on_quotes(quote_at(bar.symbol, bar.time, price) for price in prices)
        events += stepwise.on_bar(bar)
        for event in events:
            buys = event.direction == "BUY"
            levels = ((event.stop_loss, event.target_price), buys) if event.is_open else None
        ours += events
    assert ours == theirs
    assert {event.status for event in ours} >= {"NEW", "ACTIVE", "STOP_HIT", "TARGET_HIT"}


def test_a_path_visits_the_levels_on_its_way():
    (bar,) = bars((100, 112, 94, 105))
    assert path_of(bar, (95, 110), falls_first=True) == [100, 95, 94, 95, 110, 112, 110, 105]
    assert path_of(bar, (95, 110), falls_first=False) == [100, 110, 112, 110, 95, 94, 95, 105]
    assert path_of(bar, (), falls_first=True) == [100, 94, 112, 105]


def test_the_shipped_bars_give_an_honest_result():
    history = load_bars(SHIPPED).bars
    reports = []
    result = run(history, report=reports.append, strategy="trend", symbols=("AAPL",))
    assert result.strategy.startswith("trend: EMA 12/26")
    assert result.trades == len(result.trade_list) > 10
    assert result.final_equity == pytest.approx(
        Decimal(1_000_000) * Decimal(1 + result.total_return), rel=Decimal("1e-9")
    )
    assert len(result.equity_curve) == len(reports) == len(result.days) == len(result.benchmark_curve)
    assert [trade for progress in reports for trade in progress.new_trades] == list(result.trade_list)
    assert reports[-1].percentage == 100
    assert max(r.drawdown for r in reports) == result.max_drawdown
    assert result.sharpe_low < result.sharpe < result.sharpe_high
