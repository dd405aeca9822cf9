"""What an account's limits say to one more order, before the broker sees it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from engines.trading.risk import wording
from engines.trading.risk.limits import LARGEST_RATE, RiskLimits
from engines.trading.risk.numbers import AccountRisk, share_of

WINDOW = timedelta(minutes=1)
LONGEST_REASON = 200

Code = Literal["kill_switch", "blocked", "order_rate", "concentration", "gross_exposure", "unknown_value"]


class OrderEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """An order as the checks see it: `quantity` is signed, `price` what a unit may cost (its limit, or the market).

    `reduces`: it can only make the position smaller (see `reduces`).
    """

    symbol: str
    quantity: int
    price: float
    multiplier: int = 1
    reduces: bool = False


class Rejection(msgspec.Struct, frozen=True):
    """Why an order is refused. `reason` is at most 200 characters."""

    code: Code
    reason: str


class OrderRate:
    """When the account's latest orders were let through. Bounded: it forgets after a minute, and beyond 10,000."""

    def __init__(self) -> None:
        self._times: deque[datetime] = deque(maxlen=LARGEST_RATE)

    def add(self, now: datetime) -> None:
        """An order was let through."""
        self._forget(now)
        self._times.append(now)

    def count(self, now: datetime) -> int:
        """How many were in the minute up to `now`; one exactly a minute ago no longer counts."""
        self._forget(now)
        return len(self._times)

    def _forget(self, now: datetime) -> None:
        while self._times and self._times[0] <= now - WINDOW:
            self._times.popleft()


def reduces(held: int, quantity: int, working: int = 0) -> bool:
    """Whether an order of `quantity` can only make a position of `held` smaller, all three signed.

    `working` is what the account's open orders on the order's own side have left: together they must not pass zero.
    """
    together = quantity + working
    return held * quantity < 0 and held * working <= 0 and abs(together) <= abs(held)


def check_order(
    limits: RiskLimits,
    numbers: AccountRisk,
    order: OrderEstimate,
    *,
    rate: OrderRate,
    now: datetime,
    blocked_by: Sequence[str] = (),
    pending: Mapping[str, float] | None = None,
) -> Rejection | None:
    """Why the order is refused, or `None`. Nothing is counted here: call `rate.add(now)` for what is let through.

    An order that reduces is always let through: whoever is in trouble must be able to get out. Others are refused while
    anything blocks (`RiskMonitor.blocked_by`); when `orders_per_minute` were let through within a minute; when they
    would bring the position, or all positions together, over the limit (at it is allowed); and when a number that a
    rule needs is NaN or infinite. `pending`: signed rupees per symbol of open orders that open positions; they count as
    if they were filled. An order that turns a position around and makes it smaller adds nothing, and is not refused for
    its size.
    """
    if order.reduces:
        return None
    if blocked_by:
        code: Code = "kill_switch" if "kill_switch" in blocked_by else "blocked"
        reason = "kill_switch" if code == "kill_switch" else blocked_by[0]
        return Rejection(code, wording.block_reason(reason))
    if limits.orders_per_minute is not None and rate.count(now) >= limits.orders_per_minute:
        return Rejection("order_rate", f"{limits.orders_per_minute} orders within a minute are the limit")
    return _too_large(limits, numbers, order, pending or {})


def _too_large(
    limits: RiskLimits, numbers: AccountRisk, order: OrderEstimate, pending: Mapping[str, float]
) -> Rejection | None:
    total = numbers.total_value
    before = numbers.position_values.get(order.symbol, 0.0) + pending.get(order.symbol, 0.0)
    after = before + order.quantity * order.multiplier * order.price
    added = abs(after) - abs(before)
    exposure = numbers.gross_exposure + sum(map(abs, pending.values())) + added
    if limits.concentration is not None:
        if not (order.price > 0 and math.isfinite(total) and math.isfinite(after)):
            return _unknown(order)
        share = share_of(abs(after), total)
        if added >= 0 and share > limits.concentration:
            now, limit = (wording.quantity("concentration", number) for number in (share, limits.concentration))
            return Rejection("concentration", f"{order.symbol} would be {now}, the limit is {limit}")
    if limits.gross_exposure is not None:
        if not (order.price > 0 and math.isfinite(total) and math.isfinite(exposure)):
            return _unknown(order)
        multiple = share_of(exposure, total)
        if added >= 0 and multiple > limits.gross_exposure:
            now, limit = (wording.quantity("gross_exposure", number) for number in (multiple, limits.gross_exposure))
            return Rejection("gross_exposure", f"The gross exposure would be {now}, the limit is {limit}")
    return None


def _unknown(order: OrderEstimate) -> Rejection:
    reason = f"What an order in {order.symbol} would add to the account's exposure is unknown"
    return Rejection("unknown_value", reason[:LONGEST_REASON])
