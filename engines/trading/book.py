"""An account's books: cash and positions by the average-price method, exact.

Money is `Decimal` on a grid of 0.0001 rupee. A position keeps its *cost*, not its average: closing a part removes its
share of the cost, rounded to the grid, and the rest stays, so that nothing is lost or made by rounding. These hold
exactly, after every fill and every mark:

    total_value                = cash + sum of the positions' values
    total_value - opening_cash = realised + unrealised - charges
    daily_pnl                  = total_value now - total_value at the day's start

Realised and unrealised are before charges. Nothing here checks funds: that is the broker's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

import msgspec

ZERO = Decimal(0)
PLACES = Decimal("0.0001")
LARGEST_PRICE = Decimal(10**12)


def money(value: Decimal | float | str) -> Decimal:
    """An amount to four places, half to even. A float counts as the shortest decimal that reads back as it."""
    return (value if isinstance(value, Decimal) else Decimal(str(value))).quantize(PLACES, ROUND_HALF_EVEN)


class Fill(msgspec.Struct, frozen=True):
    """A trade to book: `quantity` > 0 bought, < 0 sold; `price` per unit, 0 for an option that expired worthless.

    `margined` (futures): the notional moves no cash, only what is realised does. One unit costs `price * multiplier`.
    Raises `ValueError` for quantity 0, for a price or charges that are negative, over 10^12, not finite or finer than
    0.0001, and for a multiplier under 1.
    """

    symbol: str
    quantity: int
    price: Decimal
    charges: Decimal = ZERO
    margined: bool = False
    multiplier: int = 1

    def __post_init__(self) -> None:
        what = f"cannot book {self.quantity} {self.symbol} at {self.price}"
        if self.quantity == 0:
            raise ValueError(f"{what}: the quantity must not be 0")
        if not _is_amount(self.price):
            raise ValueError(f"{what}: a price is from 0 to 10^12, with at most four places")
        if not _is_amount(self.charges):
            raise ValueError(f"{what} with charges {self.charges}: they are 0 or more, with at most four places")
        if self.multiplier < 1:
            raise ValueError(f"{what} with multiplier {self.multiplier}: it is 1 or more")


def _is_amount(value: Decimal) -> bool:
    return value.is_finite() and 0 <= value <= LARGEST_PRICE and value == value.quantize(PLACES)


@dataclass(slots=True)
class Position:
    """Units of one instrument; `quantity` < 0 is short. These fields are all there is to store and restore.

    `cost`: what the open units were bought for; negative for a short position, 0 while flat. `realised_pnl` and
    `charges`: since the account began. `day_cost`: the overnight quantity at the previous close, plus quantity * price
    of today's fills (so one that went flat today keeps it: minus its P&L of the day). `day_charges`: today's.
    """

    symbol: str
    quantity: int = 0
    cost: Decimal = ZERO
    realised_pnl: Decimal = ZERO
    charges: Decimal = ZERO
    last_price: Decimal = ZERO
    day_cost: Decimal = ZERO
    day_charges: Decimal = ZERO
    margined: bool = False
    multiplier: int = 1

    @property
    def average_price(self) -> Decimal:
        """Of the open units, rounded to four places; 0 while flat. Nothing is computed from it."""
        return money(self.cost / (self.quantity * self.multiplier)) if self.quantity else ZERO

    @property
    def market_value(self) -> Decimal:
        """Signed; for a margined position its notional."""
        return self.quantity * self.multiplier * self.last_price

    @property
    def unrealised_pnl(self) -> Decimal:
        return self.market_value - self.cost

    @property
    def value(self) -> Decimal:
        """What it adds to the account beside cash: its market value; if margined, its unrealised P&L."""
        return self.unrealised_pnl if self.margined else self.market_value

    @property
    def day_pnl(self) -> Decimal:
        """Since the previous close, after today's charges."""
        return self.market_value - self.day_cost - self.day_charges

    def fill(self, fill: Fill) -> tuple[int, Decimal]:
        """Book a trade; (units closed, realised). What goes through zero closes all, then opens the rest anew.

        Raises `ValueError` when an open position has another `margined` or `multiplier`.
        """
        if self.quantity and (fill.margined, fill.multiplier) != (self.margined, self.multiplier):
            raise ValueError(
                f"cannot book {fill.symbol} with margined={fill.margined}, multiplier={fill.multiplier}: "
                f"the open position has margined={self.margined}, multiplier={self.multiplier}"
            )
        self.margined, self.multiplier = fill.margined, fill.multiplier
        unit = fill.price * fill.multiplier
        closed = min(abs(fill.quantity), abs(self.quantity)) if self.quantity * fill.quantity < 0 else 0
        realised = ZERO
        if closed:
            signed = closed if self.quantity > 0 else -closed
            removed = self.cost if closed == abs(self.quantity) else money(self.cost * signed / self.quantity)
            realised = signed * unit - removed
            self.cost += fill.quantity * unit + realised  # what is closed leaves at cost, the rest comes at the price
        else:
            self.cost += fill.quantity * unit
        self.quantity += fill.quantity
        self.realised_pnl += realised
        self.charges += fill.charges
        self.day_cost += fill.quantity * unit
        self.day_charges += fill.charges
        self.last_price = fill.price
        return closed, realised

    def start_day(self, close: Decimal | None) -> None:
        """The close becomes the last price, and the day's figures start from it."""
        if close is not None and self.quantity:
            self.last_price = close
        self.day_cost = self.market_value
        self.day_charges = ZERO


class FillOutcome(msgspec.Struct, frozen=True):
    """What a fill did: the position after it, how many units it closed (>= 0), what that realised before charges."""

    position: Position
    closed_quantity: int
    realised: Decimal


class Totals(msgspec.Struct, frozen=True):
    """An account at the last prices. `total_pnl` (realised + unrealised - charges) and `daily_pnl` are after charges.
    Exposures are sums of market values (notional of margined positions): gross of their sizes, net signed."""

    cash: Decimal
    total_value: Decimal
    realised_pnl: Decimal
    unrealised_pnl: Decimal
    charges: Decimal
    total_pnl: Decimal
    daily_pnl: Decimal
    position_count: int
    gross_exposure: Decimal
    net_exposure: Decimal


class Book:
    """Cash and positions by symbol. A new one has `opening_cash` and nothing else; a restored one what it had."""

    def __init__(
        self, opening_cash: Decimal, cash: Decimal | None = None, positions: dict[str, Position] | None = None
    ) -> None:
        self.opening_cash = opening_cash
        self.cash = opening_cash if cash is None else cash
        self.positions: dict[str, Position] = {} if positions is None else positions

    def fill(self, fill: Fill) -> FillOutcome:
        """Book a trade. Raises `ValueError` when it does not fit the open position, and changes nothing then."""
        position = self.positions.get(fill.symbol)
        if position is None:
            position = self.positions[fill.symbol] = Position(fill.symbol)
        closed, realised = position.fill(fill)
        moved = realised if fill.margined else -fill.quantity * fill.multiplier * fill.price
        self.cash += moved - fill.charges
        return FillOutcome(position, closed, realised)

    def mark(self, prices: Mapping[str, Decimal | float]) -> list[Position]:
        """Set last prices, rounded to four places; the open positions whose price changed.

        Raises `ValueError` for a price of a held symbol that is negative or not finite; then nothing changed.
        """
        changed = []
        for symbol, position in self.positions.items():
            given = prices.get(symbol)
            if given is not None and position.quantity:
                price = price_of(symbol, given)
                if price != position.last_price:
                    changed.append((position, price))
        for position, price in changed:
            position.last_price = price
        return [position for position, _ in changed]

    def start_day(self, previous_closes: Mapping[str, Decimal | float]) -> None:
        """Begin a trading day, before its first mark and fill: `daily_pnl` is 0 after it, and counts from these closes.

        A symbol without a close keeps its last price as the close. Raises `ValueError` as `mark` does.
        """
        held = [symbol for symbol, position in self.positions.items() if position.quantity]
        closes = {symbol: price_of(symbol, previous_closes[symbol]) for symbol in held if symbol in previous_closes}
        for symbol, position in self.positions.items():
            position.start_day(closes.get(symbol))

    def totals(self) -> Totals:
        """All figures at the last prices. The day began at the last `start_day`, or else with the account."""
        value = realised = unrealised = charges = daily = gross = net = ZERO
        count = 0
        for position in self.positions.values():
            realised += position.realised_pnl
            charges += position.charges
            daily += position.day_pnl
            if position.quantity:
                count += 1
                market_value = position.market_value
                value += position.value
                unrealised += position.unrealised_pnl
                gross += abs(market_value)
                net += market_value
        return Totals(
            cash=self.cash,
            total_value=self.cash + value,
            realised_pnl=realised,
            unrealised_pnl=unrealised,
            charges=charges,
            total_pnl=self.cash + value - self.opening_cash,
            daily_pnl=daily,
            position_count=count,
            gross_exposure=gross,
            net_exposure=net,
        )

    @property
    def imbalance(self) -> Decimal:
        """0 while cash and positions agree; else how much cash there is too much. For checking what was restored."""
        expected = self.opening_cash
        for position in self.positions.values():
            expected += position.realised_pnl - position.charges
            if not position.margined:
                expected -= position.cost
        return self.cash - expected


def price_of(symbol: str, price: Decimal | float) -> Decimal:
    """A market price on the grid. Raises `ValueError` when it is negative, not finite or over 10^12."""
    exact = price if isinstance(price, Decimal) else Decimal(str(price))
    if not exact.is_finite() or not 0 <= exact <= LARGEST_PRICE:
        raise ValueError(f"cannot mark {symbol} at {price}: a price is from 0 to 10^12")
    return money(exact)
