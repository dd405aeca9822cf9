"""What happens to futures and options that nobody closed: they are settled in cash at expiry."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

import msgspec

from engines.market.instruments import Instrument
from engines.trading.book import ZERO, price_of
from engines.trading.charges import Charges, settlement_charges
from engines.trading.rules import is_expired


class SettlementFill(msgspec.Struct, frozen=True):
    """The trade that closes an expired position: `quantity` is signed (a long one is sold), `price` may be 0."""

    symbol: str
    quantity: int
    price: Decimal
    charges: Charges


def settlement_fills(
    positions: Mapping[str, int],
    instruments: Mapping[str, Instrument],
    settlement_price: Mapping[str, Decimal | float],
    now: datetime,
) -> list[SettlementFill]:
    """Close what has expired of `positions` (units by symbol, signed), in their order.

    A future is closed at the settlement price of its underlying (the underlying's close on the expiry day), an option
    at its intrinsic value, `max(0, S - K)` or `max(0, K - S)`. Charges are those of the expiry day. What is not in
    `instruments`, or whose underlying has no price, is left as it is: settle it when these are known. Raises
    `ValueError` for a price that is negative or not finite.
    """
    fills = []
    for symbol, quantity in positions.items():
        instrument = instruments.get(symbol)
        if not quantity or instrument is None or instrument.expiry is None or not is_expired(instrument, now):
            continue
        given = settlement_price.get(instrument.underlying)
        if given is None:
            continue
        price = _final_price(instrument, price_of(instrument.underlying, given))
        charges = settlement_charges(instrument, quantity, price, instrument.expiry)
        fills.append(SettlementFill(symbol, -quantity, price, charges))
    return fills


def _final_price(instrument: Instrument, underlying: Decimal) -> Decimal:
    if instrument.kind == "future":
        return underlying
    if instrument.strike is None or instrument.option_type is None:
        raise ValueError(f"{instrument.symbol} is an option without strike or type")
    value = underlying - instrument.strike
    return max(value if instrument.option_type == "CE" else -value, ZERO)
