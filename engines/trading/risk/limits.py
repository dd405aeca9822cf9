"""The limits of one account."""

from __future__ import annotations

import math
from decimal import Decimal

import msgspec

SHARES = ("daily_loss", "drawdown", "concentration", "margin_used", "var_95", "var_99", "cvar_95", "cvar_99")
LARGEST_MULTIPLE = 100.0
LARGEST_RATE = 10_000
LARGEST_AMOUNT = Decimal(10**12)


class RiskLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What an account may risk. `None` switches a rule off; a number that makes no sense raises `ValueError`.

    Shares are above 0 and at most 1:
    `daily_loss` of the value that the day began with; `drawdown` below the peak; of the account's value now:
    `concentration` (one position), `margin_used`, `var_95`, `var_99`, `cvar_95`, `cvar_99` (one day).
    `gross_exposure` is all positions' sizes together as a multiple of the account's value, at most 100.
    `orders_per_minute` is 1 to 10,000. `mtm_target` and `mtm_stop` are the day's profit, and the day's loss, in rupees,
    at which to stop for the day; both are written as positive amounts.
    """

    daily_loss: float | None = 0.02
    drawdown: float | None = 0.10
    concentration: float | None = 0.25
    gross_exposure: float | None = 2.0
    margin_used: float | None = 0.80
    orders_per_minute: int | None = 60
    var_95: float | None = None
    var_99: float | None = None
    cvar_95: float | None = None
    cvar_99: float | None = None
    mtm_target: Decimal | None = None
    mtm_stop: Decimal | None = None

    def __post_init__(self) -> None:
        for name in SHARES:
            _check_number(name, getattr(self, name), 1.0, "a share of the account, above 0 and at most 1")
        text = f"a multiple of the account's value, above 0 and at most {LARGEST_MULTIPLE:g}"
        _check_number("gross_exposure", self.gross_exposure, LARGEST_MULTIPLE, text)
        rate = self.orders_per_minute
        if rate is not None and (type(rate) is not int or not 1 <= rate <= LARGEST_RATE):
            raise ValueError(f"orders_per_minute is {rate!r}: it is a whole number from 1 to {LARGEST_RATE:,}, or None")
        _check_amount("mtm_target", self.mtm_target)
        _check_amount("mtm_stop", self.mtm_stop)


def _check_number(name: str, value: float | None, largest: float, allowed: str) -> None:
    if value is None:
        return
    if type(value) not in (int, float) or not math.isfinite(value) or not 0 < value <= largest:
        raise ValueError(f"{name} is {value!r}: it is {allowed}, or None for no limit")


def _check_amount(name: str, value: Decimal | None) -> None:
    if value is None:
        return
    if not isinstance(value, Decimal) or not value.is_finite() or not 0 < value <= LARGEST_AMOUNT:
        raise ValueError(
            f"{name} is {value!r}: it is a Decimal of rupees, above 0 and at most 10^12, or None for no limit"
        )
