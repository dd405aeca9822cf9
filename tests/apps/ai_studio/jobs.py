"""Computing without a process, as a test says; and a model to work on."""

from __future__ import annotations

import threading
from datetime import date
from decimal import Decimal

from apps.ai_studio import models
from apps.ai_studio.jobs.running import run_job
from engines.backtest.run import BacktestProgress, Trade
from engines.jobs.work import BacktestReport, TrainingDone, TrainingReport
from engines.learning.progress import TrainingProgress

DONE = TrainingDone(
    b"artifact", "d" * 64, {"log_loss": 0.69}, {"log_loss": 0.693}, rows=900, data_from=0, data_until=86_400
)
TRADE = Trade(
    symbol="IBM",
    quantity=1,
    opened_on=date(2010, 1, 4),
    closed_on=date(2010, 1, 5),
    entry_price=Decimal(100),
    exit_price=Decimal(101),
    pnl=Decimal(1),
    charges=Decimal(0),
    reason="signal",
)


class Computing:
    """Has `script(on_progress, should_stop)` say what comes out."""

    def __init__(self, script):
        self._script = script
        self.works = []
        self.closed = False

    def run(self, work, on_progress, should_stop):
        self.works.append(work)
        return self._script(on_progress, should_stop)

    def close(self):
        self.closed = True


class Seconds:
    """A clock that a test turns."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def giving(outcome):
    return Computing(lambda on_progress, should_stop: outcome)


def run(job, compute, **options):
    job = type(job).objects.select_related("model").get(pk=job.pk)
    return run_job(job, compute, options.pop("stop", threading.Event()), **options)


def trained(percentage, **fields):
    return TrainingReport(TrainingProgress(step=4, percentage=percentage, **fields), 200.0)


def simulated(percentage, trades=()):
    return BacktestReport(BacktestProgress(percentage, date(2010, 1, 5), 1e6, 0.0, len(trades), tuple(trades)), 200.0)


def make_model(user, **fields):
    fields = {"name": "momentum", "data_source": "shipped", "bar_seconds": 86_400, **fields}
    return models.Model.objects.create(owner=user, **fields)
