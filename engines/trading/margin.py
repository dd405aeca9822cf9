"""What a position needs of an account's funds: a simple dated schedule, and not SPAN.

    equity, DELIVERY     100 % of its value
    equity, INTRADAY     bought: 100 %, the books pay for it in full; sold short: 20 %, beside what it brought
    future               a percentage of its value, by underlying
    option, bought       its premium
    option, written      the same percentage as a future's, of strike * units; and the premium

The strike stands for the underlying's price, which is not known here: too little for options far in the money, too much
for those far out. Positions do not offset each other (no spreads, no hedges). Percentages: `reference/margins.csv`.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from functools import cache, lru_cache

from engines.market.instruments import Instrument
from engines.trading.charges import Product, segment_of
from engines.trading.reference_data import ReferenceTable, read_table


def margin_required(instrument: Instrument, quantity: int, price: Decimal, product: Product, on: date) -> Decimal:
    """Rupees that `quantity` units (negative: short) at `price` need, not rounded. Raises `ValueError` for a product
    that the instrument cannot have."""
    segment: str = segment_of(instrument, product)
    units = abs(quantity) * instrument.multiplier
    if segment == "equity_intraday" and quantity > 0:
        return units * price
    if segment != "option":
        return units * price * _share(segment, instrument.underlying, on)
    if quantity >= 0:
        return units * price
    strike = instrument.strike if instrument.strike is not None else price
    return units * (price + strike * _share("option_written", instrument.underlying, on))


@lru_cache(maxsize=1_000)
def _share(segment: str, underlying: str, on: date) -> Decimal:
    table = _shares()
    key = f"{segment} {underlying}"
    return table.on(key if key in table.keys else f"{segment} ", on)


@cache
def _shares() -> ReferenceTable[Decimal]:
    return read_table(
        "margin",
        "margins.csv",
        lambda row: f"{row['segment']} {row['underlying']}",
        lambda row: Decimal(row["percent"]) / 100,
    )
