"""From rows of the database, and what the engines say, to the payloads of messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from apps.ai_studio import models, payloads
from engines.backtest.run import BacktestResult, Trade
from engines.learning.monitoring import Measurement

CURVE_POINTS = 250
LISTED_TRADES = 200


# Jobs


def training_progress(job: models.TrainingJob) -> payloads.TrainingProgress:
    known = {"progress_percentage": 0.0, "current_step": "Waiting", "total_steps": 0, **job.progress}
    return payloads.TrainingProgress(**known, status=job.status)


def training_result(artifact: models.Artifact) -> payloads.TrainingResult:
    return payloads.TrainingResult(
        model_id=str(artifact.model_id),
        metrics=artifact.metrics,
        baseline=artifact.baseline,
        version=artifact.version,
        rows=artifact.rows,
        data_from=artifact.data_from,
        data_until=artifact.data_until,
        digest=artifact.digest,
    )


def backtest_progress(job: models.Backtest | None) -> payloads.BacktestProgress:
    if job is None:
        return payloads.BacktestProgress(progress_percentage=0.0)
    known = {"progress_percentage": 0.0, **job.progress, "backtest_id": str(job.pk), "status": job.status}
    return msgspec.convert(known, payloads.BacktestProgress)


def backtest_results(
    result: BacktestResult, *, backtest_id: str, model_version: int | None
) -> payloads.BacktestResults:
    """What fits in a message: the curve thinned, first and last point kept, and the latest trades."""
    last = len(result.days) - 1
    step = max(1, -(-last // (CURVE_POINTS - 1)))
    shown = [*range(0, last, step), last]
    same = {
        name: getattr(result, name)
        for name in (
            "strategy",
            "start",
            "end",
            "total_return",
            "cagr",
            "sharpe",
            "sharpe_low",
            "sharpe_high",
            "sortino",
            "calmar",
            "max_drawdown",
            "trades",
            "win_rate",
            "profit_factor",
            "exposure",
            "turnover",
            "refused_orders",
        )
    }
    return payloads.BacktestResults(
        **same,
        backtest_id=backtest_id,
        model_version=model_version,
        opening_cash=float(result.opening_cash),
        final_equity=round(float(result.final_equity), 2),
        charges=float(result.charges),
        benchmark=payloads.Benchmark(**msgspec.structs.asdict(result.benchmark)),
        equity_curve=[
            payloads.EquityPoint(
                day=result.days[n],
                equity=round(result.equity_curve[n], 2),
                benchmark=round(result.benchmark_curve[n], 2),
            )
            for n in shown
        ],
        trade_list=backtest_trades(result.trade_list[-LISTED_TRADES:]),
    )


def backtest_trades(trades: Sequence[Trade]) -> list[payloads.BacktestTrade]:
    return [
        payloads.BacktestTrade(
            symbol=trade.symbol,
            quantity=trade.quantity,
            opened_on=trade.opened_on,
            closed_on=trade.closed_on,
            entry_price=float(trade.entry_price),
            exit_price=float(trade.exit_price),
            pnl=float(trade.pnl),
            charges=float(trade.charges),
            reason=trade.reason,
        )
        for trade in trades
    ]


def job_brief(job: models.TrainingJob | models.Backtest) -> payloads.JobBrief:
    return payloads.JobBrief(
        id=str(job.id),
        kind="training" if isinstance(job, models.TrainingJob) else "backtest",
        model_name=job.model.name,
        status=job.status,
        progress_percentage=job.progress.get("progress_percentage", 0.0),
    )


# Models at work


def measured(model_id: object, validation: Mapping[str, Any], measurement: Measurement) -> dict[str, Any]:
    """The fields of `payloads.Measured`, as JSON values: also what a deployment keeps as `monitoring`."""
    found = payloads.ModelUpdate(
        model_id=str(model_id),
        outcomes=measurement.outcomes,
        accuracy=measurement.accuracy,
        log_loss=measurement.log_loss,
        calibration_error=measurement.calibration_error,
        validation_accuracy=validation.get("accuracy"),
        validation_log_loss=validation.get("log_loss"),
        validation_calibration_error=validation.get("calibration_error"),
        drift=[
            payloads.FeatureDrift(
                feature=each.feature, psi=each.psi, ks=each.ks, ks_p_value=min(1.0, max(0.0, each.ks_p_value))
            )
            for each in measurement.drift
        ],
        error_drifted_at=measurement.error_drifted_at,
        predictions_per_minute=measurement.predictions_per_minute,
        latency_ms=measurement.latency_ms,
    )
    fields: dict[str, Any] = msgspec.to_builtins(found)
    return fields


def model_status(model: models.Model) -> payloads.ModelStatus:
    """As its running deployment was measured last."""
    running = model.deployments.filter(ended_at=None).select_related("artifact").defer("artifact__content")
    deployment = running.first()
    nothing = {"model_id": str(model.id), "outcomes": 0, "accuracy": None, "log_loss": None}
    known = {**nothing, **(deployment.monitoring if deployment is not None else {})}
    return msgspec.convert(
        {
            **known,
            "name": model.name,
            "deployed": deployment is not None,
            "version": model.version,
            "deployed_version": deployment.artifact.version if deployment is not None else None,
        },
        payloads.ModelStatus,
    )


def prediction(row: models.Prediction) -> payloads.Prediction:
    return payloads.Prediction(
        id=str(row.id),
        symbol=row.symbol,
        direction=row.direction,
        probability=row.probability,
        price=row.price,
        horizon_bars=row.horizon_bars,
        model_version=row.model_version,
        bar_time=row.bar_time,
        created_at=row.created_at,
        latency_ms=row.latency_ms,
        outcome_price=UNSET if row.outcome_price is None else row.outcome_price,
        correct=UNSET if row.correct is None else row.correct,
    )


# Marketplace


def lease(row: models.Lease) -> payloads.Lease:
    return payloads.Lease(
        id=str(row.id),
        model_id=str(row.listing.model_id),
        title=row.listing.title,
        price=None if row.price is None else float(row.price),
        starts_at=row.starts_at,
        ends_at=row.ends_at,
        profit_share_percent=UNSET if row.profit_share_percent is None else float(row.profit_share_percent),
        capital=UNSET if row.capital is None else float(row.capital),
    )


def review(row: models.Review) -> payloads.Review:
    return payloads.Review(
        id=str(row.id),
        model_id=str(row.listing.model_id),
        rating=row.rating,
        text=row.text,
        created_at=row.created_at,
    )


def listing(row: models.Listing) -> payloads.Listing:
    share = row.profit_share_percent
    return payloads.Listing(
        id=str(row.id),
        model_id=str(row.model_id),
        title=row.title,
        price_per_month=None if row.price_per_month is None else float(row.price_per_month),
        profit_share_percent=None if share is None else float(share),
        description=row.description,
        published_at=row.published_at,
        withdrawn_at=row.withdrawn_at,
    )
