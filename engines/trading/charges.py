"""What an execution costs in India: the state's taxes, the exchange's and SEBI's charges, the broker's.

    brokerage    by plan, per order: what the order's earlier fills were charged counts (`brokerage_so_far`)
    stt          securities transaction tax; delivery on both sides, else on sales; of an option on its premium
    exchange     transaction charge, with the investor protection fund's levy
    sebi         turnover fee
    stamp_duty   on purchases
    gst          18 % of brokerage + exchange + sebi

Each is a percentage of quantity * price * multiplier, rounded to the paisa, half up; GST is of the rounded ones. On
contract notes STT is rounded to the rupee, once for the day: here it is not, since it is charged fill by fill. Rates
come from `reference/charges.csv`; those of NSE are used for every exchange.

Worked example (tested): 5,000 shares bought and sold at 1,000 rupees, delivery, plan ZERO: 11,124.06 in all.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from functools import cache, lru_cache
from typing import Literal

import msgspec

from engines.market.instruments import Instrument, InstrumentKind
from engines.trading.reference_data import ReferenceTable, read_table

Side = Literal["BUY", "SELL"]
Product = Literal["DELIVERY", "INTRADAY", "NORMAL"]
BrokeragePlan = Literal["ZERO", "DISCOUNT"]
Segment = Literal["equity_delivery", "equity_intraday", "future", "option"]

_ZERO = Decimal(0)
_PAISA = Decimal("0.01")
_SEGMENTS: Mapping[tuple[InstrumentKind, Product], Segment] = {
    ("equity", "DELIVERY"): "equity_delivery",
    ("equity", "INTRADAY"): "equity_intraday",
    ("future", "NORMAL"): "future",
    ("option", "NORMAL"): "option",
}


class Charges(msgspec.Struct, frozen=True):
    """Rupees, to the paisa."""

    brokerage: Decimal = _ZERO
    stt: Decimal = _ZERO
    exchange: Decimal = _ZERO
    sebi: Decimal = _ZERO
    stamp_duty: Decimal = _ZERO
    gst: Decimal = _ZERO

    @property
    def total(self) -> Decimal:
        return self.brokerage + self.stt + self.exchange + self.sebi + self.stamp_duty + self.gst


class Rates(msgspec.Struct, frozen=True):
    """Shares of the value of an execution (0.001 is 0.1 %); `gst` of brokerage + exchange + sebi."""

    stt_buy: Decimal
    stt_sell: Decimal
    stt_exercise: Decimal
    exchange: Decimal
    sebi: Decimal
    stamp_duty_buy: Decimal
    gst: Decimal


class _Plan(msgspec.Struct, frozen=True):
    share: Decimal
    at_most: Decimal
    flat: Decimal


def segment_of(instrument: Instrument, product: Product) -> Segment:
    """Which rates apply. Raises `ValueError` for a product that the kind of instrument does not have."""
    segment = _SEGMENTS.get((instrument.kind, product))
    if segment is None:
        allowed = [name for kind, name in _SEGMENTS if kind == instrument.kind]
        raise ValueError(
            f"{instrument.symbol} cannot be traded as {product}: "
            + (f"an {instrument.kind} is not traded" if not allowed else f"it must be {' or '.join(allowed)}")
        )
    return segment


@lru_cache(maxsize=100)
def rates(segment: Segment, on: date) -> Rates:
    """The rates of a day; before the first that is known, the first."""
    return _rates().on(segment, on)


def charges_of(  # noqa: PLR0917 - they read in the order of a trade
    instrument: Instrument,
    side: Side,
    quantity: int,
    price: Decimal,
    product: Product,
    on: date,
    plan: BrokeragePlan = "ZERO",
    *,
    brokerage_so_far: Decimal = _ZERO,
) -> Charges:
    """The charges of one execution of `quantity` > 0 units. `brokerage_so_far`: of the same order's earlier executions.
    Raises `ValueError` for a product that the instrument cannot have, and for a negative quantity or price."""
    if quantity < 0 or price < 0:
        raise ValueError(f"cannot charge {quantity} at {price}: neither may be negative")
    segment = segment_of(instrument, product)
    of_day = rates(segment, on)
    value = quantity * price * instrument.multiplier
    brokerage = _brokerage(_plan(plan, segment, on), value, brokerage_so_far)
    exchange, sebi = _to_paisa(value * of_day.exchange), _to_paisa(value * of_day.sebi)
    buys = side == "BUY"
    return Charges(
        brokerage=brokerage,
        stt=_to_paisa(value * (of_day.stt_buy if buys else of_day.stt_sell)),
        exchange=exchange,
        sebi=sebi,
        stamp_duty=_to_paisa(value * of_day.stamp_duty_buy) if buys else _ZERO,
        gst=_to_paisa((brokerage + exchange + sebi) * of_day.gst),
    )


def settlement_charges(instrument: Instrument, quantity: int, price: Decimal, on: date) -> Charges:
    """Of a contract that is settled at expiry; `quantity` is the signed position before. Whoever holds an option that
    is exercised pays STT on its intrinsic value (`price`); nobody else pays anything here."""
    if instrument.kind != "option" or quantity <= 0:
        return Charges()
    return Charges(stt=_to_paisa(quantity * price * instrument.multiplier * rates("option", on).stt_exercise))


def _brokerage(plan: _Plan, value: Decimal, so_far: Decimal) -> Decimal:
    if plan.flat:
        return max(plan.flat - so_far, _ZERO)
    return min(_to_paisa(value * plan.share), max(plan.at_most - so_far, _ZERO))


def _to_paisa(amount: Decimal) -> Decimal:
    return amount.quantize(_PAISA, ROUND_HALF_UP)


def _share(row: Mapping[str, str], column: str) -> Decimal:
    return Decimal(row[column]) / 100


@cache
def _rates() -> ReferenceTable[Rates]:
    return read_table(
        "rate of charges",
        "charges.csv",
        lambda row: row["segment"],
        lambda row: Rates(**{name: _share(row, name) for name in Rates.__struct_fields__}),
    )


@lru_cache(maxsize=100)
def _plan(plan: BrokeragePlan, segment: Segment, on: date) -> _Plan:
    return _plans().on(f"{plan} {segment}", on)


@cache
def _plans() -> ReferenceTable[_Plan]:
    return read_table(
        "brokerage plan",
        "brokerage_plans.csv",
        lambda row: f"{row['plan']} {row['segment']}",
        lambda row: _Plan(_share(row, "percent"), Decimal(row["at_most"]), Decimal(row["flat"])),
    )
