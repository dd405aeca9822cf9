"""Risk limits in a backtest: what they refuse, and for how long."""

from decimal import Decimal
from itertools import groupby
from operator import itemgetter

import numpy as np
import pytest

from engines.backtest import daily
from engines.backtest.market import historical_market
from engines.backtest.spec import BacktestLimits, BacktestSpec
from engines.market.history import BarSeries, history_of
from engines.trading.risk import value_at_risk
from engines.trading.risk.numbers import VAR_RULES
from engines.trading.risk.value_at_risk import ReturnHistory
from tests.engines.backtest.markets import day, filled_up, run, simulate, walk, walks

BUY = ("BUY", 50.0, 50.0)


def test_a_position_over_the_limit_of_concentration_is_refused():
    refused = simulate(
        filled_up(100.0), {0: BUY}, position_share=0.5, limits=BacktestLimits(concentration=0.25)
    ).account
    assert (refused.refused, refused.traded_value) == ({"concentration": 1}, 0)
    assert simulate(
        filled_up(100.0), {0: BUY}, position_share=0.2, limits=BacktestLimits(concentration=0.25)
    ).account.traded_value


def test_a_drawdown_ends_all_buying_and_sales_go_on():
    script = {0: BUY, 4: ("SELL", 5.0, 5.0), 6: BUY, 20: BUY}
    prices = [100.0, 100.0, 70.0, 70.0, 70.0, 70.0]
    free = simulate(filled_up(*prices), script, position_share=0.9).account
    limited = simulate(filled_up(*prices), script, position_share=0.9, limits=BacktestLimits(drawdown=0.2)).account
    assert len(limited.trades) == 1
    assert limited.refused == {"blocked": 1}
    assert free.traded_value > limited.traded_value


def test_a_loss_of_the_day_blocks_until_the_next():
    """A's fall at an opening blocks B's purchase at it; the one of the next day goes through."""
    falls = filled_up(100.0, 100.0, 100.0, (60, 60, 60, 60), symbol="A")
    other = filled_up(50.0, symbol="B")

    def run_with(at):
        chance = {"A": np.full(60, 0.9), "B": np.where(np.arange(60) == at, 0.9, 0.1)}
        result = run(
            history_of([*falls, *other]),
            chance=chance,
            position_share=0.4,
            limits=BacktestLimits(daily_loss=0.05),
        )
        return len(result.trade_list), result.refused_orders

    assert run_with(2) == (0, {"blocked": 1})
    assert run_with(3) == (1, {})


def test_orders_of_one_minute_are_counted():
    history = [bar for symbol in "ABC" for bar in filled_up(100.0, symbol=symbol)]
    assert simulate(history, {0: BUY}, limits=BacktestLimits(orders_per_minute=2)).account.refused == {"order_rate": 1}


def test_the_largest_loss_in_rupees():
    script = {0: BUY, 3: ("SELL", 5.0, 5.0)}
    account = simulate(filled_up(100.0, 100.0, 60.0), script, limits=BacktestLimits(mtm_stop=Decimal(1_000))).account
    assert len(account.trades) == 1


@pytest.mark.parametrize(("limit", "refuses"), [(0.001, True), (1.0, False)])
def test_value_at_risk_is_valued_at_each_close(limit, refuses):
    history = walks(2, length=125)
    chance = {"S0": np.full(125, 0.9), "S1": np.where(np.arange(125) == 120, 0.9, 0.1)}
    result = run(history, chance=chance, limits=BacktestLimits(var_95=limit))
    assert result.refused_orders == ({"blocked": 1} if refuses else {})


def test_limits_that_are_never_reached_change_nothing():
    history = walks(2, length=120)
    wide = BacktestLimits(daily_loss=1.0, drawdown=1.0, concentration=1.0, gross_exposure=100.0, margin_used=1.0)
    assert run(history, strategy="breakout", limits=wide) == run(history, strategy="breakout")


def test_value_at_risk_of_each_day_is_that_of_live_accounts(monkeypatch):
    """Of 30 kept days: S1 begins late, and ends early; of some days in between nothing has a return."""
    for module in (daily, value_at_risk):
        monkeypatch.setattr(module, "KEPT_DAYS", 30)
        monkeypatch.setattr(module, "MIN_DAYS", 20)
    whole = walks(2, length=130)
    history = {"S0": whole["S0"], "S1": whole["S1"].part(40, 90), "S2": walk("S2", 5, length=130)}
    known = np.delete(np.arange(130), [50, 51, 70])
    for symbol in ("S0", "S2"):
        series = history[symbol]
        columns = (getattr(series, name)[known] for name in ("times", "open", "high", "low", "close", "volume"))
        history[symbol] = BarSeries(symbol, *columns)
    found, live = daily.DailyRisk(historical_market(history, BacktestSpec(start=day(20)))), ReturnHistory()
    held = {"S0": 5_000.0, "S1": 20_000.0, "S2": 1_000.0}
    closes = sorted((bar.time, symbol, bar.close) for symbol, series in history.items() for bar in series.bars())
    compared = 0
    for time, of_day in groupby(closes, key=itemgetter(0)):
        for _, symbol, close in of_day:
            live.add_close(symbol, time.date(), close)
        ours, theirs = found.of(held, time.date()), value_at_risk.value_at_risk(held, live.returns())
        if theirs is None:
            assert ours is None
        else:
            compared += 1
            assert ours == pytest.approx({name: getattr(theirs, name) for name in VAR_RULES}, rel=1e-12)
    assert compared > 90
