"""What a computing process reports, and refuses; without the process."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from engines.backtest.run import BacktestProgress, Trade
from engines.backtest.spec import BacktestSpec
from engines.jobs import work
from engines.jobs.child import Reporter
from engines.jobs.computing import Refused, compute
from engines.jobs.work import BacktestReport, BacktestWork, BadFrame, TrainingReport
from engines.learning.progress import TrainingProgress
from engines.market.history import pack

DAY = date(2010, 1, 4)


def trade(number):
    return Trade(
        symbol="IBM",
        quantity=number,
        opened_on=DAY,
        closed_on=DAY,
        entry_price=Decimal(1),
        exit_price=Decimal(1),
        pnl=Decimal(0),
        charges=Decimal(0),
        reason="signal",
    )


def simulated(percentage, *trades):
    return BacktestReport(BacktestProgress(percentage, DAY, 1.0, 0.0, len(trades), trades), 1.0)


def test_reports_are_held_back_but_no_trade_is_lost():
    sent, moments = [], iter([0.0, 0.1, 0.2, 0.3, 0.4])
    report = Reporter(sent.append, lambda: next(moments))
    for percentage in range(5):
        report(simulated(float(percentage), *[trade(percentage)] * percentage))
    report.flush()
    report.flush()
    assert [each.progress.percentage for each in sent] == [0.0, 3.0, 4.0]
    assert [[t.quantity for t in each.progress.new_trades] for each in sent] == [[], [1, 2, 2, 3, 3, 3], [4] * 4]


def test_of_very_many_trades_the_latest_are_passed_on():
    sent = []
    report = Reporter(sent.append, lambda: 0.0)
    report(simulated(1.0))
    report(simulated(2.0, *map(trade, range(work.MAX_NEW_TRADES + 10))))
    report.flush()
    assert [t.quantity for t in sent[-1].progress.new_trades] == [*range(10, work.MAX_NEW_TRADES + 10)]


def test_a_new_step_is_reported_at_once():
    sent = []
    report = Reporter(sent.append, lambda: 0.0)
    for step in (1, 2, 2, 3):
        report(TrainingReport(TrainingProgress(step, 0.0), 1.0))
    assert [each.progress.step for each in sent] == [1, 2, 3]


@pytest.mark.parametrize(
    ("artifact", "refusal"), [(None, "train the model first"), (b"{}", "cannot be read")], ids=["none", "damaged"]
)
def test_a_backtest_of_a_model_needs_one_that_can_be_read(artifact, refusal):
    asked = BacktestWork(pack({}), BacktestSpec(strategy="model"), artifact, "not its digest")
    with pytest.raises(Refused, match=refusal):
        compute(asked, lambda report: None, lambda: False, lambda: 1.0)


def test_what_is_no_frame_is_said():
    assert work.request(work.frame(work.Cancel(7))[work.HEADER_BYTES :]) == work.Cancel(7)
    for read in (work.request, work.answer):
        with pytest.raises(BadFrame):
            read(b"\xc0")
    with pytest.raises(BadFrame):
        work.body_length(b"\xff" * 4)
