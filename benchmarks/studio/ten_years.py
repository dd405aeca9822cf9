"""Ten years of daily bars of 20 symbols through a backtest, for each kind of strategy. Target: under ten seconds.

As the computing process does it: from packed bars to the result; "model" with an artifact that was really trained, from
its bytes on: decoding, features and predictions are in its time, training is not.
"""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta

import msgspec
import numpy as np

from engines.backtest.spec import BacktestSpec, StrategyName
from engines.jobs.computing import compute
from engines.jobs.work import BacktestDone, BacktestWork, TrainingDone, TrainingWork
from engines.learning.spec import BoostingParameters, LabelSpec, TrainingSpec
from engines.market.history import BarSeries, pack
from engines.market.quotes import DAY_SECONDS

DAYS, SYMBOLS = 2_520, 20
DAYS_BEFORE = 504  # that a model is first trained on
STRATEGIES: tuple[StrategyName, ...] = ("buy_and_hold", "trend", "breakout", "mean_reversion", "volatility", "model")
# Barriers, since they make the more work of a backtest; at 0.5 even a model of noise trades all the time.
_TRAINING = TrainingSpec(
    label=LabelSpec(kind="triple_barrier"),
    min_train_share=0.1,
    boosting=BoostingParameters(iterations=50, early_stopping_iterations=0),
)
_BACKTEST = BacktestSpec(position_share=0.05, enter_probability=0.5)


def run(days: int = DAYS, symbols: int = SYMBOLS) -> dict[str, float]:
    """Seconds of processor time by strategy. Prices are seeded draws: what they are does not matter here."""
    random = np.random.default_rng(20)
    series = [_walk(f"S{number:02}", random, DAYS_BEFORE + days) for number in range(symbols)]
    history = pack({each.symbol: each for each in series})
    trained = compute(TrainingWork(history, _TRAINING, DAY_SECONDS), _ignore, _never, _no_memory)
    assert isinstance(trained, TrainingDone)  # noqa: S101 - the work decides the outcome
    first = datetime.fromtimestamp(int(series[0].times[DAYS_BEFORE]), UTC).date()
    return {strategy: _seconds(strategy, first, days, history, trained) for strategy in STRATEGIES}


def _seconds(strategy: StrategyName, first: date, days: int, history: bytes, trained: TrainingDone) -> float:
    spec = msgspec.structs.replace(_BACKTEST, strategy=strategy, start=first)
    work = BacktestWork(history, spec, trained.artifact, trained.digest)
    began = time.process_time()
    done = compute(work, _ignore, _never, _no_memory)
    seconds = time.process_time() - began
    assert isinstance(done, BacktestDone)  # noqa: S101 - as above
    if len(done.result.days) != days:
        raise RuntimeError(f"{strategy} was measured over {len(done.result.days)} days, and not over {days}")
    return round(seconds, 2)


def _ignore(_report: object) -> None:
    pass


def _never() -> bool:
    return False


def _no_memory() -> float:
    return 0.0


def _walk(symbol: str, random: np.random.Generator, days: int) -> BarSeries:
    first = datetime(2014, 1, 6, 3, 45, tzinfo=UTC)
    times = np.array([int((first + timedelta(days=n)).timestamp()) for n in range(days)], dtype=np.int64)
    close = 100 * np.exp(np.cumsum(random.normal(0.0003, 0.015, days)))
    opened = close * np.exp(random.normal(0, 0.004, days))
    high = np.maximum(opened, close) * (1 + random.uniform(0, 0.01, days))
    low = np.minimum(opened, close) * (1 - random.uniform(0, 0.01, days))
    return BarSeries(symbol, times, opened.round(2), high.round(2), low.round(2), close.round(2), np.full(days, 1e6))
