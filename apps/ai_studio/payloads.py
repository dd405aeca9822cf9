"""What the messages of the AI Studio streams carry. Probabilities are 0 to 1, percentages 0 to 100, money in rupees."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

Number = Annotated[float, Meta(ge=-1e15, le=1e15)]
Percentage = Annotated[float, Meta(ge=0, le=100)]
Probability = Annotated[float, Meta(ge=0, le=1)]
Money = Annotated[float, Meta(ge=0, le=1e12)]
Count = Annotated[int, Meta(ge=0)]
Id = Annotated[str, Meta(min_length=1, max_length=64)]
Text = Annotated[str, Meta(max_length=300)]
LongText = Annotated[str, Meta(max_length=4_000)]
Symbol = Annotated[str, Meta(min_length=1, max_length=40)]

JobStatus = Literal["PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED"]
Severity = Literal["INFO", "WARNING", "CRITICAL"]
Health = Literal["ok", "degraded", "down"]


class Payload(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of what messages carry."""


class TrainingProgress(Payload, frozen=True, kw_only=True):
    """Where a training job is. `step` counts from 1 to `total_steps`, `fold` and `iteration` from 1 while they run;
    `metrics` are of the fold that is being trained (`train_…`, `validation_…`). `phase`: what the iterations are for
    ("choosing iterations", "validating", "fitting", "final fit"). `step_seconds`: how long the finished steps took;
    `memory_mb`: of the computing process."""

    progress_percentage: Percentage
    current_step: Text
    total_steps: Count
    step: Count | UnsetType = UNSET
    fold: Count | UnsetType = UNSET
    folds: Count | UnsetType = UNSET
    iteration: Count | UnsetType = UNSET
    iterations: Count | UnsetType = UNSET
    phase: Text | UnsetType = UNSET
    eta_minutes: Annotated[float, Meta(ge=0, le=1000000000.0)] | UnsetType | None = UNSET
    rows: Count | UnsetType = UNSET
    memory_mb: Number | UnsetType = UNSET
    step_seconds: dict[str, Number] | UnsetType = UNSET
    metrics: dict[str, Number] | UnsetType = UNSET
    status: JobStatus | UnsetType = UNSET


class TrainingResult(Payload, frozen=True, kw_only=True):
    """What came of a training job; `metrics` are out of sample, `baseline` the same of the baseline beside it.
    `digest`: SHA-256 of the artifact."""

    model_id: Id
    metrics: dict[str, Number]
    baseline: dict[str, Number] | UnsetType = UNSET
    version: Count | UnsetType = UNSET
    rows: Count | UnsetType = UNSET
    data_from: datetime | UnsetType = UNSET
    data_until: datetime | UnsetType = UNSET
    digest: Id | UnsetType = UNSET


class FeatureDrift(Payload, frozen=True, kw_only=True):
    """How far a feature's live values are from those of training: `psi` (0: none; over 0.25: another market) and the
    Kolmogorov-Smirnov distance with its p-value."""

    feature: Id
    psi: Number
    ks: Probability
    ks_p_value: Probability


class Measured(Payload, frozen=True, kw_only=True):
    """A deployed model over its latest outcomes. Null: too few to say. `validation_…`: what training measured out of
    sample. `drift`: every feature, the one that moved most first. `latency_ms`: median, from the arrival of a closed
    bar to just before the prediction is written."""

    model_id: Id
    outcomes: Count
    accuracy: Probability | None
    log_loss: Number | None
    calibration_error: Probability | UnsetType | None = UNSET
    validation_accuracy: Probability | UnsetType | None = UNSET
    validation_log_loss: Number | UnsetType | None = UNSET
    validation_calibration_error: Probability | UnsetType | None = UNSET
    drift: Sequence[FeatureDrift] | UnsetType = UNSET
    error_drifted_at: datetime | UnsetType | None = UNSET
    predictions_per_minute: Number | UnsetType = UNSET
    latency_ms: Number | UnsetType | None = UNSET


class ModelStatus(Measured, frozen=True, kw_only=True):
    """A model, and how it does live (`Measured`). `version`: the latest that was trained; what is measured is
    `deployed_version`. `active_alerts`: the metrics that are out of their limits now."""

    name: Text
    deployed: bool
    version: Count
    deployed_version: Count | UnsetType | None = UNSET
    active_alerts: Sequence[Text] | UnsetType = UNSET


class ModelUpdate(Measured, frozen=True, kw_only=True):
    """A model was measured again (`Measured`)."""


class PerformanceAlert(Payload, frozen=True, kw_only=True):
    """A model does worse than it may, or (`state` "cleared") no longer: `value` of `metric` against `limit`.
    `feature`: whose drift it is."""

    model_id: Id
    metric: Text
    value: Number
    limit: Number
    message: Text
    feature: Id | UnsetType = UNSET
    state: Literal["raised", "cleared"] | UnsetType = UNSET


class JobBrief(Payload, frozen=True, kw_only=True):
    """A job in a list."""

    id: Id
    kind: Literal["training", "backtest"]
    model_name: Text
    status: JobStatus
    progress_percentage: Percentage


class BestModel(Payload, frozen=True, kw_only=True):
    """A deployed model in a list of the best: by live accuracy over `outcomes` predictions."""

    model_id: Id
    name: Text
    version: Count
    outcomes: Count
    accuracy: Probability


class Dashboard(Payload, frozen=True, kw_only=True):
    """A user's AI Studio at a glance. `accuracy` of today's settled predictions, null without any."""

    model_count: Count
    deployed_count: Count
    listing_count: Count
    running_jobs: Sequence[JobBrief]
    best_models: Sequence[BestModel]
    active_leases: Count
    earned_this_month: Money
    predictions_today: Count
    accuracy: Probability | None


class DashboardUpdate(Payload, frozen=True, kw_only=True):
    """Those parts of the dashboard that changed."""

    model_count: Count | UnsetType = UNSET
    deployed_count: Count | UnsetType = UNSET
    listing_count: Count | UnsetType = UNSET
    running_jobs: Sequence[JobBrief] | UnsetType = UNSET
    best_models: Sequence[BestModel] | UnsetType = UNSET
    active_leases: Count | UnsetType = UNSET
    earned_this_month: Money | UnsetType = UNSET
    predictions_today: Count | UnsetType = UNSET
    accuracy: Probability | UnsetType | None = UNSET


class Lease(Payload, frozen=True, kw_only=True):
    """A lease of one of the user's models: for a `price`, or for `profit_share_percent` of what `capital` earns."""

    id: Id
    model_id: Id
    title: Text
    price: Money | None
    starts_at: datetime
    ends_at: datetime
    profit_share_percent: Percentage | UnsetType = UNSET
    capital: Money | UnsetType = UNSET


class PeriodEarnings(Payload, frozen=True, kw_only=True):
    """What a month (its first day) brought: `accrued` by now, of which `paid` is recorded."""

    period: date
    accrued: Money
    paid: Money


class Earnings(Payload, frozen=True, kw_only=True):
    """What the leases of a user's models have earned by now, and the priced ones are worth in all; to the paisa.
    `periods`: the latest months, newest first."""

    accrued: Money
    contracted: Money
    active_leases: Count
    periods: Sequence[PeriodEarnings] | UnsetType = UNSET


class Review(Payload, frozen=True, kw_only=True):
    """A lessee's review of one of the user's models. `text` is HTML, sanitised."""

    id: Id
    model_id: Id
    rating: Annotated[int, Meta(ge=1, le=5)]
    text: LongText
    created_at: datetime | UnsetType = UNSET


class Listing(Payload, frozen=True, kw_only=True):
    """A model that can be leased, for `price_per_month` or for `profit_share_percent`; the other is null. With
    `withdrawn_at` it can be leased no more."""

    id: Id
    model_id: Id
    title: Text
    price_per_month: Money | None
    profit_share_percent: Percentage | UnsetType | None = UNSET
    description: LongText | UnsetType = UNSET
    published_at: datetime | UnsetType = UNSET
    withdrawn_at: datetime | UnsetType | None = UNSET


class Prediction(Payload, frozen=True, kw_only=True):
    """`probability` is that of `direction` (UP: the close after `horizon_bars` bars is above `price`, or the upper
    barrier is reached first); `outcome_price` and `correct` once the horizon has ended."""

    id: Id
    symbol: Symbol
    direction: Literal["UP", "DOWN"]
    probability: Probability
    price: Number
    horizon_bars: Count | UnsetType = UNSET
    model_version: Count | UnsetType = UNSET
    bar_time: datetime | UnsetType = UNSET
    created_at: datetime | UnsetType = UNSET
    latency_ms: Number | UnsetType = UNSET
    outcome_price: Number | UnsetType = UNSET
    correct: bool | UnsetType = UNSET


class BacktestTrade(Payload, frozen=True, kw_only=True):
    """A position from its opening to its end. `pnl` is after charges."""

    symbol: Symbol
    quantity: Count
    opened_on: date
    closed_on: date
    entry_price: Number
    exit_price: Number
    pnl: Number
    charges: Number
    reason: Text


class BacktestProgress(Payload, frozen=True, kw_only=True):
    """Where a backtest is. `new_trades`: those closed since the message before; where there were very many, the latest,
    and `trades` counts them all."""

    progress_percentage: Percentage
    backtest_id: Id | UnsetType = UNSET
    status: JobStatus | UnsetType = UNSET
    simulated_date: date | UnsetType = UNSET
    equity: Number | UnsetType = UNSET
    drawdown: Number | UnsetType = UNSET
    trades: Count | UnsetType = UNSET
    new_trades: Sequence[BacktestTrade] | UnsetType = UNSET


class EquityPoint(Payload, frozen=True, kw_only=True):
    """Value at a day's close, and that of the benchmark."""

    day: date
    equity: Number
    benchmark: Number


class Benchmark(Payload, frozen=True, kw_only=True):
    """The same money, spread over the same symbols on the first day and held."""

    name: Text
    total_return: Number
    cagr: Number | None
    sharpe: Number | None
    max_drawdown: Number


class BacktestResults(Payload, frozen=True, kw_only=True):
    """What came of a backtest of `strategy`. Ratios per year of 252 days, null where they do not exist; `win_rate` and
    `profit_factor` of closed trades, after charges. `exposure`: mean share of the equity that was invested; `turnover`:
    value traded per year by mean equity. `equity_curve` thinned to at most 250 points; `trade_list` the latest 200.
    `model_version`: whose predictions were traded, null for a strategy."""

    start: date
    end: date
    final_equity: Number
    total_return: Number
    cagr: Number | None
    sharpe: Number | None
    max_drawdown: Number
    trades: Count
    win_rate: Probability | None
    backtest_id: Id | UnsetType = UNSET
    model_version: Count | UnsetType | None = UNSET
    sharpe_low: Number | UnsetType | None = UNSET
    sharpe_high: Number | UnsetType | None = UNSET
    sortino: Number | UnsetType | None = UNSET
    calmar: Number | UnsetType | None = UNSET
    profit_factor: Number | UnsetType | None = UNSET
    exposure: Number | UnsetType = UNSET
    turnover: Number | UnsetType = UNSET
    charges: Money | UnsetType = UNSET
    strategy: Text | UnsetType = UNSET
    opening_cash: Money | UnsetType = UNSET
    refused_orders: dict[str, Count] | UnsetType = UNSET
    benchmark: Benchmark | UnsetType = UNSET
    equity_curve: Sequence[EquityPoint] | UnsetType = UNSET
    trade_list: Sequence[BacktestTrade] | UnsetType = UNSET


class SystemStatus(Payload, frozen=True, kw_only=True):
    """How the system is, and since when it is degraded. `feed_rejected`: bad quotes so far, by what was wrong with
    them. `host` and `connections` (by stream) for staff only."""

    status: Health
    broker: Text
    redis: Text
    database: Text
    degraded_since: datetime | UnsetType = UNSET
    feed: Text | UnsetType = UNSET
    feed_age_seconds: Number | UnsetType | None = UNSET
    feed_rejected: dict[str, Count] | UnsetType = UNSET
    host: dict[str, Number] | UnsetType = UNSET
    connections: dict[str, Count] | UnsetType = UNSET


class Worker(Payload, frozen=True, kw_only=True):
    """One worker: the embedded one or Celery's. `queued`: jobs that wait for it or its like. `done`, `failed` and the
    `mean_runtime_seconds` count since it was first seen. `job` for staff only."""

    name: Text
    busy: bool
    done: Count
    failed: Count
    queued: Count
    kind: Literal["embedded", "celery"] | UnsetType = UNSET
    alive: bool | UnsetType = UNSET
    mean_runtime_seconds: Number | UnsetType | None = UNSET
    job: Text | UnsetType | None = UNSET
