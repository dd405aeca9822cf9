from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.trading.book import Book, Position, money

CASH = Decimal(1_000_000)
fills = st.lists(
    st.tuples(
        st.sampled_from("AB"),
        st.integers(-500, 500).filter(bool),
        st.decimals(Decimal("0.05"), Decimal(9_999), places=2),
    ),
    max_size=30,
)


def book_of(trades):
    book = Book(CASH, CASH)
    for symbol, quantity, price in trades:
        book.fill(symbol, quantity, price)
    return book


@given(fills)
def test_cash_and_positions_are_conserved(trades):
    book = book_of(trades)
    for symbol in "AB":
        held = sum(quantity for name, quantity, _ in trades if name == symbol)
        assert book.positions.get(symbol, Position(symbol)).quantity == held
    assert book.cash == CASH - sum(quantity * price for _, quantity, price in trades)


@given(fills)
def test_total_pnl_is_realised_plus_unrealised(trades):
    """Up to the rounding of average prices to four places, per fill."""
    totals = book_of(trades).totals()
    rounding = sum(Decimal(1_000 * len(trades)) * Decimal("0.0001") for _ in "AB")
    assert abs(totals.realised_pnl + totals.unrealised_pnl - totals.total_pnl) <= rounding


@given(fills)
def test_trading_at_the_last_price_changes_no_value(trades):
    book = book_of(trades)
    before = book.totals().total_value
    for symbol, position in list(book.positions.items()):
        book.fill(symbol, -7, position.last_price)
    assert book.totals().total_value == before


@pytest.mark.parametrize(
    ("trades", "quantity", "average", "realised"),
    [
        ([(100, 10)], 100, 10, 0),
        ([(100, 10), (100, 20)], 200, 15, 0),
        ([(100, 10), (-40, 15)], 60, 10, 200),
        ([(100, 10), (-100, 15)], 0, 0, 500),
        ([(100, 10), (-150, 15)], -50, 15, 500),
        ([(-100, 10), (100, 8)], 0, 0, 200),
        ([(-100, 10), (150, 8)], 50, 8, 200),
        ([(-100, 10), (-100, 20)], -200, 15, 0),
    ],
)
def test_average_price_method(trades, quantity, average, realised):
    position = Position("X")
    for amount, price in trades:
        position.fill(amount, Decimal(price))
    assert (position.quantity, position.average_price, position.realised_pnl) == (quantity, average, realised)


def test_marking_changes_only_what_is_held_and_quoted():
    book = book_of([("A", 10, Decimal(5)), ("B", 10, Decimal(5)), ("B", -10, Decimal(6))])
    assert [p.symbol for p in book.mark({"A": Decimal(7), "B": Decimal(7), "C": Decimal(7)})] == ["A"]
    assert book.mark({"A": Decimal(7)}) == []
    totals = book.totals()
    assert (totals.unrealised_pnl, totals.realised_pnl, totals.position_count) == (20, 10, 1)


@pytest.mark.parametrize(("quantity", "price"), [(0, 1), (1, 0), (1, -1)])
def test_nonsense_is_not_booked(quantity, price):
    book = Book(CASH, CASH)
    with pytest.raises(ValueError, match="cannot book"):
        book.fill("A", quantity, Decimal(price))
    assert (book.cash, book.positions) == (CASH, {})


def test_money_is_rounded_half_to_even():
    assert money(0.00005) == Decimal("0.0000")
    assert money(0.00015) == Decimal("0.0002")
