"""The numbers of an account that rules look at, and what each rule reads from them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Literal, NamedTuple

import msgspec

from engines.trading.risk.limits import RiskLimits

RuleName = Literal[
    "daily_loss",
    "drawdown",
    "concentration",
    "gross_exposure",
    "margin_used",
    "var_95",
    "var_99",
    "cvar_95",
    "cvar_99",
    "mtm_target",
    "mtm_stop",
]
VAR_RULES: tuple[RuleName, ...] = ("var_95", "var_99", "cvar_95", "cvar_99")

WORTHLESS = 1_000.0
"""The most that a share is counted as: also what anything is of an account that is worth nothing, or less."""


class AccountRisk(msgspec.Struct, frozen=True, kw_only=True):
    """One account at one moment, in rupees. NaN and infinity mean *unknown*, which every rule treats as a breach.

    `day_pnl`: since the day's start, after charges. `gross_exposure`: the sum of the sizes of the positions' market
    values (notional of futures). `margin_used`: what positions and open orders block. `position_values`: signed market
    values by symbol. The one-day figures are as `value_at_risk` gives them, positive for a loss; `None`: there is too
    little history to compute them from.
    """

    total_value: float
    day_start_value: float
    day_pnl: float
    peak_value: float
    gross_exposure: float
    margin_used: float
    position_values: Mapping[str, float]
    var_95: float | None = None
    var_99: float | None = None
    cvar_95: float | None = None
    cvar_99: float | None = None


class Reading(NamedTuple):
    """What a rule that is on reads: `value` against `limit`, shares or rupees. `None`: there is no figure yet."""

    rule: RuleName
    symbol: str
    value: float | None
    limit: float


def share_of(amount: float, base: float) -> float:
    """`amount / base`, within ±`WORTHLESS`; NaN when either is not a finite number."""
    if not (math.isfinite(amount) and math.isfinite(base)):
        return math.nan
    if base > 0:
        return max(-WORTHLESS, min(WORTHLESS, amount / base))
    return WORTHLESS if amount > 0 else 0.0


def readings(limits: RiskLimits, numbers: AccountRisk) -> list[Reading]:
    """Every rule that is on; concentration once per position, or once in all when the account's value is unknown."""
    total = numbers.total_value
    result: list[Reading] = []

    def add(rule: RuleName, value: float | None, limit: float | Decimal | None, symbol: str = "") -> None:
        if limit is not None:
            result.append(Reading(rule, symbol, value, float(limit)))

    add("daily_loss", share_of(-numbers.day_pnl, numbers.day_start_value), limits.daily_loss)
    add("drawdown", share_of(numbers.peak_value - total, numbers.peak_value), limits.drawdown)
    if math.isfinite(total):
        for symbol, value in numbers.position_values.items():
            add("concentration", share_of(abs(value), total), limits.concentration, symbol)
    else:
        add("concentration", math.nan, limits.concentration)
    add("gross_exposure", share_of(numbers.gross_exposure, total), limits.gross_exposure)
    add("margin_used", share_of(numbers.margin_used, total), limits.margin_used)
    for rule in VAR_RULES:
        figure: float | None = getattr(numbers, rule)
        add(rule, None if figure is None else share_of(figure, total), getattr(limits, rule))
    add("mtm_target", numbers.day_pnl, limits.mtm_target)
    add("mtm_stop", -numbers.day_pnl, limits.mtm_stop)
    return result
