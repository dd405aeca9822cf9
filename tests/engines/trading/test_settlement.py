from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.market.calendar import IST
from engines.market.instruments import Instrument
from engines.trading.book import Book, Fill
from engines.trading.settlement import settlement_fills

D = Decimal
EXPIRY = date(2026, 11, 17)
BEFORE = datetime(2026, 11, 17, 15, 29, 59, tzinfo=IST)
AFTER = datetime(2026, 11, 17, 15, 30, tzinfo=IST)


def contract(symbol, kind="option", **fields):
    return Instrument(symbol, "", kind, lot_size=65, underlying="NIFTY", expiry=EXPIRY, **fields)


INSTRUMENTS = {
    "CALL": contract("CALL", strike=D(25_000), option_type="CE"),
    "PUT": contract("PUT", strike=D(25_000), option_type="PE"),
    "FUT": contract("FUT", "future"),
    "SBIN": Instrument("SBIN", "State Bank of India", "equity"),
}


def settled(positions, price, now=AFTER):
    fills = settlement_fills(positions, INSTRUMENTS, {"NIFTY": price}, now)
    return [(fill.symbol, fill.quantity, fill.price, fill.charges.total) for fill in fills]


def test_calls_puts_and_futures():
    positions = {"CALL": 65, "PUT": -65, "FUT": 130, "SBIN": 10}
    assert settled(positions, D(25_100)) == [
        ("CALL", -65, 100, D("9.75")),  # 0.15 % of 6,500
        ("PUT", 65, 0, 0),
        ("FUT", -130, 25_100, 0),
    ]
    assert settled({"CALL": -65, "PUT": 65}, 24_900.5) == [("CALL", 65, 0, 0), ("PUT", -65, D("99.5"), D("9.70"))]


def test_nothing_is_settled_before_the_session_of_the_last_day_ends():
    assert settled({"CALL": 65}, D(25_100), BEFORE) == []
    assert len(settled({"CALL": 65}, D(25_100), AFTER + timedelta(days=3))) == 1


def test_what_is_flat_or_not_known_is_left_alone():
    assert settled({"CALL": 0, "GONE": 65}, D(25_100)) == []
    assert settlement_fills({"CALL": 65}, INSTRUMENTS, {}, AFTER) == []
    with pytest.raises(ValueError, match="NIFTY"):
        settled({"CALL": 65}, float("nan"))


@given(
    st.dictionaries(st.sampled_from(["CALL", "PUT", "FUT"]), st.integers(-5, 5).map(lambda lots: lots * 65)),
    st.decimals(20_000, 30_000, places=2),
)
def test_after_the_settlement_a_book_holds_nothing_and_balances(positions, price):
    book = Book(D(10**7))
    margined = {"FUT": True}
    for symbol, quantity in positions.items():
        if quantity:
            book.fill(Fill(symbol, quantity, D(100), margined=margined.get(symbol, False)))
    for fill in settlement_fills(positions, INSTRUMENTS, {"NIFTY": price}, AFTER):
        book.fill(
            Fill(fill.symbol, fill.quantity, fill.price, fill.charges.total, margined=margined.get(fill.symbol, False))
        )
    assert all(position.quantity == 0 for position in book.positions.values())
    assert book.imbalance == 0
