"""What a backtest is asked to do. JSON in, JSON out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from engines.trading.charges import BrokeragePlan
from engines.trading.risk.limits import LARGEST_AMOUNT, RiskLimits

StrategyName = Literal["model", "trend", "breakout", "mean_reversion", "volatility", "buy_and_hold"]

LEAST_CASH = 1_000


class BacktestLimits(RiskLimits, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`RiskLimits`, each of which is off until it is set: some of them end all trading until a person resets them."""

    daily_loss: float | None = None
    drawdown: float | None = None
    concentration: float | None = None
    gross_exposure: float | None = None
    margin_used: float | None = None
    orders_per_minute: int | None = None


NO_LIMITS = BacktestLimits()


class InvalidSpec(ValueError):
    """A spec that cannot be: the message names the field, what came and what is allowed."""


class BacktestSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`strategy`: "model" trades a model's own predictions, each made by what was trained before that bar.

    `model_version`: which version of the model predicts; `None`: the latest when the backtest starts.
    `symbols` empty: all there are; `start` and `end`: days, both included. Each position is opened with
    `position_share` of the equity. `enter_probability`: of a rise, from which a model buys (it sells below 0.5, or
    when the horizon has passed, or at a barrier of its label). `limits`: the account's risk limits; what is left out
    is off. `seed` decides the resampling of the Sharpe ratio's interval; nothing else in a backtest is random.
    """

    strategy: StrategyName = "model"
    model_version: Annotated[int, Meta(ge=1)] | None = None
    symbols: tuple[str, ...] = ()
    start: date | None = None
    end: date | None = None
    opening_cash: Decimal = Decimal(1_000_000)
    position_share: Annotated[float, Meta(gt=0, le=1)] = 0.1
    enter_probability: Annotated[float, Meta(ge=0.5, lt=1)] = 0.52
    slippage_basis_points: Annotated[float, Meta(ge=0, le=1_000)] = 5.0
    brokerage_plan: BrokeragePlan = "ZERO"
    limits: BacktestLimits = NO_LIMITS
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 1


def spec_from(values: Mapping[str, Any]) -> BacktestSpec:
    """From JSON values; what is left out has its default. Raises `InvalidSpec`."""
    _refuse_unknown("", values, BacktestSpec)
    _refuse_unknown("limits: ", values.get("limits"), BacktestLimits)
    try:
        spec = msgspec.convert(dict(values), BacktestSpec)
    except msgspec.ValidationError as error:
        raise InvalidSpec(str(error)) from None
    if not (spec.opening_cash.is_finite() and LEAST_CASH <= spec.opening_cash <= LARGEST_AMOUNT):
        raise InvalidSpec(f"opening_cash: got {spec.opening_cash}, allowed is {LEAST_CASH:,} to 10^12 rupees")
    if spec.start and spec.end and spec.end < spec.start:
        raise InvalidSpec(f"end: {spec.end} is before start, {spec.start}")
    return spec


def _refuse_unknown(where: str, values: object, known: type[msgspec.Struct]) -> None:
    names = known.__struct_fields__
    unknown = [str(name) for name in values if name not in names] if isinstance(values, Mapping) else []
    if unknown:
        raise InvalidSpec(f"{where}{', '.join(unknown)[:100]} is not known; allowed are {', '.join(sorted(names))}")
