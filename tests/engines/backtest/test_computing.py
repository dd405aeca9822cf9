"""A backtest of a really trained model, as the computing process does it."""

from functools import cache

import pytest

from engines.backtest.spec import BacktestSpec
from engines.jobs.computing import Refused, Stopped, compute
from engines.jobs.work import BacktestWork, TrainingWork
from engines.learning import artifact as artifacts
from engines.learning.spec import LabelSpec, TrainingSpec
from engines.market.history import pack
from tests.engines.backtest.markets import walks

LABEL = LabelSpec(kind="triple_barrier", horizon_bars=3, target_volatilities=0.5, stop_volatilities=0.5)


@cache
def history():
    return walks(2, length=320)


@cache
def trained():
    spec = TrainingSpec(algorithm="logistic", features=("return_1", "return_5"), folds=2, label=LABEL)
    return compute(TrainingWork(pack(history()), spec, 86_400), lambda _: None, lambda: False, lambda: 1.0)


def backtest(report=lambda _: None, cancelled=lambda: False, bars=None, **spec):
    wanted = BacktestSpec(**{"enter_probability": 0.5, **spec})
    work = BacktestWork(pack(bars or history()), wanted, trained().artifact, trained().digest)
    return compute(work, report, cancelled, lambda: 1.0).result


def test_a_model_of_barriers_is_traded_at_them():
    result = backtest()
    assert result.strategy.endswith("horizon 3 bars, target 0.5 and stop 0.5 volatilities away")
    assert {trade.reason for trade in result.trade_list} >= {"target", "stop"}


def test_estimators_are_loaded_once_for_all_symbols(monkeypatch):
    loaded = []
    walk_forward = artifacts.WalkForward
    monkeypatch.setattr(artifacts, "WalkForward", lambda found: loaded.append(found) or walk_forward(found))
    backtest()
    assert len(loaded) == 1


def test_it_can_be_stopped_between_two_symbols():
    asked = []

    def cancelled():
        asked.append(True)
        return len(asked) == 2

    with pytest.raises(Stopped):
        backtest(lambda _: pytest.fail("nothing is simulated"), cancelled)
    assert len(asked) == 2


def test_too_little_out_of_sample_is_said_as_what_it_is():
    message = r"speaks out of sample only from 20\d\d-\d\d-\d\d: \d\d trading times, at least 60 are needed; test"
    short = {symbol: series.part(None, 160) for symbol, series in history().items()}
    with pytest.raises(Refused, match=message):
        backtest(bars=short)


def test_bars_that_have_no_features_are_refused():
    broken = walks(2, length=320)
    broken["S0"].close[7] = 0.0
    with pytest.raises(Refused, match="S0: 1 bars, the first at 2024-01-08"):
        backtest(bars=broken)
