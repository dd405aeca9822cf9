"""An account's books: cash and positions by the average-price method. Money is `Decimal`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal

import msgspec

ZERO = Decimal(0)
PLACES = Decimal("0.0001")


def money(value: Decimal | float | str) -> Decimal:
    """An amount to four places, half to even."""
    return Decimal(str(value)).quantize(PLACES, ROUND_HALF_EVEN)


@dataclass
class Position:
    """Units of one instrument; `quantity` < 0 is short. `average_price` is 0 while flat."""

    symbol: str
    quantity: int = 0
    average_price: Decimal = ZERO
    last_price: Decimal = ZERO
    realised_pnl: Decimal = ZERO

    @property
    def market_value(self) -> Decimal:
        return self.quantity * self.last_price

    @property
    def unrealised_pnl(self) -> Decimal:
        return self.quantity * (self.last_price - self.average_price)

    def fill(self, quantity: int, price: Decimal) -> None:
        """Buy (`quantity` > 0) or sell (< 0). What reduces the position realises; what goes through zero opens anew."""
        closing = 0
        if self.quantity * quantity < 0:
            closing = min(abs(quantity), abs(self.quantity)) * (1 if self.quantity > 0 else -1)
        self.realised_pnl += closing * (price - self.average_price)
        held = self.quantity - closing
        opened = quantity + closing
        self.quantity = held + opened
        if self.quantity == 0:
            self.average_price = ZERO
        elif opened:
            self.average_price = money((held * self.average_price + opened * price) / self.quantity)
        self.last_price = price


class Totals(msgspec.Struct, frozen=True):
    """An account at the last prices."""

    cash: Decimal
    total_value: Decimal
    realised_pnl: Decimal
    unrealised_pnl: Decimal
    total_pnl: Decimal
    position_count: int


@dataclass
class Book:
    """Cash and positions. `total_value` is cash plus market value: what buying and selling leaves unchanged."""

    opening_cash: Decimal
    cash: Decimal
    positions: dict[str, Position] = field(default_factory=dict)

    def fill(self, symbol: str, quantity: int, price: Decimal) -> Position:
        """Book a trade: `quantity` > 0 bought, < 0 sold. Raises `ValueError` for quantity 0 or a price not above 0."""
        if quantity == 0 or price <= 0:
            raise ValueError(f"cannot book {quantity} {symbol} at {price}")
        position = self.positions.setdefault(symbol, Position(symbol))
        position.fill(quantity, price)
        self.cash -= quantity * price
        return position

    def mark(self, prices: Mapping[str, Decimal]) -> list[Position]:
        """Set last prices; the open positions whose price changed."""
        changed = []
        for symbol, position in self.positions.items():
            price = prices.get(symbol)
            if price is not None and position.quantity and price != position.last_price:
                position.last_price = price
                changed.append(position)
        return changed

    def totals(self) -> Totals:
        positions = self.positions.values()
        total_value = self.cash + sum((p.market_value for p in positions), ZERO)
        return Totals(
            cash=self.cash,
            total_value=total_value,
            realised_pnl=sum((p.realised_pnl for p in positions), ZERO),
            unrealised_pnl=sum((p.unrealised_pnl for p in positions), ZERO),
            total_pnl=total_value - self.opening_cash,
            position_count=sum(1 for p in positions if p.quantity),
        )
