"""What the broker checks before it takes an order: the instrument, the session, quantity, prices, product, holdings,
funds. Each refusal has a stable code and says in words what came and what is allowed.

Funds: only the part of an order that opens needs any. What reduces is the part that closes what is held, less what open
orders of the same side close already. The opening part needs its margin (`margin.py`) and charges at the worst price:
the limit; for a stop its stop or the market, whichever is higher; for a market order the market with full slippage;
and `MARKET_RESERVE` on top where the price is not limited, since the market may move before all is filled.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import date, datetime
from decimal import Decimal
from functools import cache

import msgspec

from engines.market.calendar import IST, session_close
from engines.market.instruments import Instrument
from engines.market.quotes import QuoteTick
from engines.trading.book import LARGEST_PRICE, ZERO, money
from engines.trading.charges import Product, charges_of
from engines.trading.margin import margin_required
from engines.trading.matching import Slippage, touch_of
from engines.trading.orders import Order, RejectCode
from engines.trading.reference_data import ReferenceTable, read_table

MARKET_RESERVE = Decimal("0.01")

_PRODUCTS: Mapping[str, tuple[Product, ...]] = {
    "equity": ("DELIVERY", "INTRADAY"),
    "future": ("NORMAL",),
    "option": ("NORMAL",),
}


class Funds(msgspec.Struct, frozen=True):
    """What an account has. `available`: cash less the margin of its positions; what its open orders block, the broker
    takes off itself. `held`: units by symbol, negative for short."""

    available: Decimal
    held: Mapping[str, int]


class Refusal(msgspec.Struct, frozen=True):
    code: RejectCode
    reason: str


class Market(msgspec.Struct, frozen=True):
    """What is known of an instrument's price. No `quote`: there is none, or it is stale."""

    quote: QuoteTick | None
    previous_close: Decimal | None


def is_expired(instrument: Instrument, now: datetime) -> bool:
    """Whether the contract's last session is over."""
    return instrument.expiry is not None and now >= session_close(instrument.expiry)


def check_form(
    order: Order, instrument: Instrument | None, market: Market, is_open: Callable[[datetime], bool], now: datetime
) -> Refusal | None:
    """Why the order cannot be taken, whoever sends it; or None."""
    if instrument is None:
        return Refusal("unknown_symbol", f"{order.symbol} is not known")
    if instrument.kind not in _PRODUCTS:
        return Refusal("not_tradable", f"{order.symbol} is an {instrument.kind}, which cannot be traded")
    if is_expired(instrument, now):
        return Refusal("instrument_expired", f"{order.symbol} expired on {instrument.expiry}")
    if not is_open(now):
        return Refusal("exchange_closed", f"The exchange is closed at {now.astimezone(IST):%Y-%m-%d %H:%M} IST")
    lot = instrument.lot_size
    if order.quantity <= 0 or order.quantity % lot:
        allowed = "above 0" if lot == 1 else f"a multiple of the lot of {lot}"
        return Refusal("incorrect_quantity", f"The quantity is {order.quantity}, it must be {allowed}")
    products = _PRODUCTS[instrument.kind]
    if order.product not in products:
        return Refusal(
            "wrong_product",
            f"The product is {order.product}; of an {instrument.kind} it must be {' or '.join(products)}",
        )
    if order.is_stop and order.time_in_force == "IOC":
        return Refusal("unsupported_order", "A stop order waits for its price: it cannot be IOC")
    return _check_prices(order, instrument, market, now.astimezone(IST).date())


def _check_prices(order: Order, instrument: Instrument, market: Market, on: date) -> Refusal | None:
    limited = order.order_type in ("LIMIT", "STOP_LIMIT")
    for name, price, needed in (
        ("limit_price", order.limit_price, limited),
        ("stop_price", order.stop_price, order.is_stop),
    ):
        if price is None:
            if needed:
                return Refusal("invalid_price", f"A {order.order_type} order needs a {name}")
            continue
        if not needed:
            return Refusal("invalid_price", f"A {order.order_type} order has no {name}")
        refusal = _check_price(name, price, instrument, market.previous_close, on)
        if refusal is not None:
            return refusal
    if order.order_type == "STOP_LIMIT":
        assert order.limit_price is not None and order.stop_price is not None  # noqa: PT018, S101 - checked above
        if order.signed(1) * (order.limit_price - order.stop_price) < 0:
            where = "above" if order.side == "BUY" else "below"
            return Refusal(
                "invalid_price", f"limit_price must be at or {where} stop_price of a {order.side} STOP_LIMIT"
            )
    return None


def _check_price(name: str, price: Decimal, instrument: Instrument, close: Decimal | None, on: date) -> Refusal | None:
    if not (price.is_finite() and 0 < price <= LARGEST_PRICE):
        return Refusal("invalid_price", f"{name} is {price:.6}, it must be a number above 0")
    if price % instrument.tick_size:
        return Refusal("tick_size", f"{name} is {price}, it must be a multiple of the tick of {instrument.tick_size}")
    if close is None or not close.is_finite() or close <= 0:
        return None
    low, high = price_band(instrument, close, on)
    if not low <= price <= high:
        return Refusal("price_exceeds_band", f"{name} is {price}, the price band is {low:.2f} to {high:.2f}")
    return None


def price_band(instrument: Instrument, close: Decimal, on: date) -> tuple[Decimal, Decimal]:
    """The lowest and highest price that an order may name, around the previous close."""
    share, at_least = _bands().on(instrument.kind, on)
    width = max(close * share, at_least)
    return max(close - width, ZERO), close + width


@cache
def _bands() -> ReferenceTable[tuple[Decimal, Decimal]]:
    return read_table(
        "price band",
        "price_bands.csv",
        lambda row: row["kind"],
        lambda row: (Decimal(row["percent"]) / 100, Decimal(row["at_least"])),
    )


def check_funds(
    order: Order,
    instrument: Instrument,
    market: Market,
    *,
    funds: Funds,
    working: Collection[Order],
    slippage: Slippage,
    on: date,
) -> Refusal | Decimal:
    """Why the account cannot afford the order, or what the order blocks. `working`: the account's open orders."""
    held = funds.held.get(order.symbol, 0)
    promised = sum(o.leaves_quantity for o in working if o.symbol == order.symbol and o.side == order.side)
    closes = max(-order.signed(held), 0)  # what the position lets this side close
    reducing = min(max(closes - promised, 0), order.quantity)
    opening = order.quantity - reducing
    if not opening:
        return ZERO
    if order.product == "DELIVERY" and order.side == "SELL":
        free = reducing if held > 0 else 0
        return Refusal(
            "not_enough_holdings",
            f"{order.quantity} {order.symbol} to deliver, but {free} are free: {max(held, 0)} held, "
            f"{promised} in open sell orders. Short sales are INTRADAY",
        )
    price = worst_price(order, market, slippage, instrument.tick_size)
    if price is None:
        return Refusal("no_price", f"There is no price of {order.symbol} to say what the order may cost")
    needed = cost_of_opening(order, instrument, opening, price, on)
    available = funds.available - sum((o.blocked or ZERO for o in working), ZERO)
    if needed > available:
        return Refusal(
            "not_enough_funds", f"The order needs {needed:,.2f} rupees of margin and charges, {available:,.2f} are free"
        )
    return needed


def cost_of_opening(order: Order, instrument: Instrument, opening: int, price: Decimal, on: date) -> Decimal:
    """What the opening part of an order needs of its account at this price, to four places: margin and charges."""
    charges = charges_of(instrument, order.side, opening, price, order.product, on, order.brokerage_plan)
    return money(margin_required(instrument, order.signed(opening), price, order.product, on) + charges.total)


def worst_price(order: Order, market: Market, slippage: Slippage, tick: Decimal) -> Decimal | None:
    """What a unit may cost; None when nobody can say."""
    if order.limit_price is not None and order.side == "BUY":
        return order.limit_price
    at = _market_price(order, market, slippage, tick)
    known = [price for price in (order.limit_price, order.stop_price, at) if price is not None]
    if not known:
        return None
    worst = max(known)
    return worst if order.limit_price is not None else worst * (1 + MARKET_RESERVE)


def _market_price(order: Order, market: Market, slippage: Slippage, tick: Decimal) -> Decimal | None:
    quote = market.quote
    if quote is not None:
        touch = touch_of(quote)
        if touch is not None:
            return slippage.price(order.side, touch, touch.size(order.side), tick)
        if 0 < quote.last < float(LARGEST_PRICE):
            return money(quote.last)
    close = market.previous_close
    return close if close is not None and close.is_finite() and close > 0 else None
