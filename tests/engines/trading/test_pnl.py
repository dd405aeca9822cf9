from decimal import Decimal
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.trading.book import Book, Fill, price_of
from engines.trading.pnl import LivePnl

D = Decimal

CASH = D(1_000_000)
SYMBOLS = "ABCDEFGH"  # from F on they are futures

exact_prices = st.decimals(0, 99_999, places=4)
float_prices = st.floats(0, 1e6)
prices = st.dictionaries(st.sampled_from(SYMBOLS + "Z"), st.one_of(exact_prices, float_prices), max_size=9)


@st.composite
def fills(draw):
    symbol = draw(st.sampled_from(SYMBOLS))
    return Fill(
        symbol,
        draw(st.integers(-500, 500).filter(bool)),
        draw(exact_prices),
        draw(st.decimals(0, 99, places=4)),
        margined=symbol >= "F",
        multiplier=25 if symbol == "G" else 1,
    )


accounts = st.integers(1, 5)
steps = st.one_of(
    st.tuples(st.just("fill"), accounts, st.lists(fills(), max_size=6)),
    st.tuples(st.just("close"), accounts, st.sets(st.sampled_from(SYMBOLS))),
    st.tuples(st.just("mark"), prices),
    st.tuples(st.just("day"), prices),
    st.tuples(st.just("drop"), accounts),
)


def closing(p):
    return Fill(p.symbol, -p.quantity, p.last_price + 1, margined=p.margined, multiplier=p.multiplier)


def assert_same(live, books):
    assert len(live) == len(books)
    assert live.totals(books) == [book.totals() for book in books.values()]
    for account_id, book in books.items():
        assert live.positions_of(account_id) == [p for p in book.positions.values() if p.quantity]
    assert set(live.symbols) == {p.symbol for b in books.values() for p in b.positions.values() if p.quantity}


@given(st.lists(steps, max_size=30))
@settings(max_examples=150)
def test_every_account_equals_its_book_to_the_last_digit(history):
    """Fills, closed positions, marks, new days, and accounts that come and go."""
    live, books, peaks, falls = LivePnl(), {}, {}, {}
    for kind, *what in history:
        if kind in {"fill", "close"}:
            account_id, trades = what
            book = books.setdefault(account_id, Book(CASH))
            if kind == "close":
                trades = [closing(p) for p in book.positions.values() if p.symbol in trades and p.quantity]
            for trade in trades:
                book.fill(trade)
            live.put(account_id, book)
        elif kind == "drop":
            live.drop(what[0])
            for seen in (books, peaks, falls):
                seen.pop(what[0], None)
        else:
            for book in books.values():
                (book.mark if kind == "mark" else book.start_day)(what[0])
            (live.mark if kind == "mark" else live.start_day)(what[0])
        assert_same(live, books)
        for account_id, book in books.items():
            value = book.totals().total_value
            peaks[account_id] = max(peaks.get(account_id, CASH), value)
            falls[account_id] = max(falls.get(account_id, D(0)), 1 - value / peaks[account_id])
    arrays = live.arrays
    assert dict(zip(arrays.account_ids.tolist(), arrays.peak.tolist(), strict=True)) == {
        account_id: float(peak) for account_id, peak in peaks.items()
    }
    for account_id, fall in zip(arrays.account_ids.tolist(), arrays.max_drawdown.tolist(), strict=True):
        assert fall == pytest.approx(float(falls[account_id]), abs=1e-12)


@given(st.one_of(exact_prices, st.floats(0, 1e9), st.integers(0, 10**9).map(lambda n: (n + 0.5) / 10_000)))
def test_a_float_is_rounded_as_the_books_round_it(price):
    book = Book(CASH)
    book.fill(Fill("A", 1, D(1)))
    live = LivePnl()
    live.put(1, book)
    live.mark({"A": price})
    assert live.positions_of(1)[0].last_price == price_of("A", price)


def some_books(count, *, positions=10, seed=1):
    random = Random(seed)
    names = [f"S{number}" for number in range(100)]
    books = {}
    for account_id in range(1_000, 1_000 + count):
        book = books[account_id] = Book(CASH)
        for symbol in random.sample(names, positions):
            book.fill(Fill(symbol, random.choice([-7, 11, 1_000]), D(random.randint(1, 10**7)) / 100, D("12.34")))
    return books, {name: random.uniform(1, 9_999) for name in names}


def test_the_arrays_say_the_same_in_rupees():
    books, last = some_books(40)
    live = LivePnl()
    for account_id, book in books.items():
        live.put(account_id, book)
        book.mark(last)
    live.mark(last)
    arrays = live.arrays
    assert sorted(arrays.account_ids.tolist()) == sorted(books)
    for index, account_id in enumerate(arrays.account_ids.tolist()):
        totals = books[account_id].totals()
        for name in ("cash", "total_value", "realised_pnl", "unrealised_pnl", "charges", "daily_pnl"):
            assert getattr(arrays, name)[index] == float(getattr(totals, name))
        assert arrays.gross_exposure[index] == float(totals.gross_exposure)
        assert arrays.net_exposure[index] == float(totals.net_exposure)
        assert arrays.position_count[index] == totals.position_count
        assert arrays.opening_cash[index] == float(CASH)
        sizes = [abs(p.market_value) for p in books[account_id].positions.values()]
        assert arrays.largest_position[index] == float(max(sizes))
        assert arrays.drawdown[index] == pytest.approx(1 - arrays.total_value[index] / arrays.peak[index])


def test_room_is_used_again_and_closed_up():
    """Accounts that grow, leave and come back, at a size at which free room is closed up."""
    books, last = some_books(600)
    live = LivePnl()
    for account_id, book in books.items():
        live.put(account_id, Book(CASH))
        live.put(account_id, book)
    live.mark(last)
    cells = live._cell_count
    for account_id in list(books)[50:]:
        live.drop(account_id)
    kept = dict(list(books.items())[:50])
    for book in kept.values():
        book.mark(last)
    assert live._cell_count < cells
    assert_same(live, kept)
    back, _ = some_books(600, positions=14, seed=2)
    for account_id, book in back.items():
        live.put(account_id + 10_000, book)
    assert_same(live, kept | {account_id + 10_000: book for account_id, book in back.items()})
    for account_id in [*kept, *(account_id + 10_000 for account_id in back)]:
        live.drop(account_id)
    live.mark(last)
    live.start_day(last)
    assert (len(live), list(live.symbols), len(live.arrays.cash)) == (0, [], 0)


def test_accounts_that_grow_in_turn_leave_no_great_holes():
    books, last = some_books(300, positions=30)
    live, growing = LivePnl(), {account_id: Book(CASH) for account_id in books}
    for symbol in sorted(last):
        for account_id, book in growing.items():
            if symbol in books[account_id].positions:
                book.fill(Fill(symbol, 5, D(100)))
                live.put(account_id, book)
    assert live._cell_count <= 2 * 300 * 32 + 32
    for book in growing.values():
        book.mark(last)
    live.mark(last)
    assert_same(live, growing)


def test_symbols_that_nobody_holds_leave_memory():
    live, book = LivePnl(), Book(CASH)
    for week in range(200):
        symbol = f"NIFTY26W{week}CE"
        book = Book(CASH)
        book.fill(Fill(symbol, 65, D(100)))
        live.put(1, book)
        assert list(live.symbols) == [symbol]
    assert len(live._symbols.names) <= 2


def test_peak_and_drawdown_are_kept_and_restored():
    book = Book(D(1_000))
    book.fill(Fill("A", 10, D(100)))
    live = LivePnl()
    live.put(1, book, peak=D(2_000), max_drawdown=0.75)
    assert (live.arrays.peak, live.arrays.drawdown, live.arrays.max_drawdown) == (2_000, 0.5, 0.75)
    live.mark({"A": 400.0})
    live.mark({"A": 80.0})
    assert live.peak_and_max_drawdown(1) == (4_000, 0.8)
    live.put(1, book)  # as its book has it: at 100
    assert (live.arrays.peak, live.arrays.drawdown, live.arrays.max_drawdown) == (4_000, 0.75, 0.8)


def test_what_is_put_is_a_copy():
    book = Book(CASH)
    book.fill(Fill("A", 10, D(100)))
    live = LivePnl()
    live.put(1, book)
    before = live.totals([1])
    book.fill(Fill("A", 10, D(300)))
    live.positions_of(1)[0].quantity = 99
    live.arrays.cash[:] = 0
    assert live.totals([1]) == before


@pytest.mark.parametrize("price", [-1.0, float("nan"), float("inf"), D("NaN")])
def test_a_bad_price_marks_nothing(price):
    books, last = some_books(5)
    live = LivePnl()
    for account_id, book in books.items():
        live.put(account_id, book)
    for mark in (live.mark, live.start_day):
        with pytest.raises(ValueError, match="cannot mark"):
            mark(last | {next(iter(live.symbols)): price})
    live.mark({"held by nobody": price})
    assert_same(live, books)


def test_beyond_the_bound_is_refused_and_changes_nothing():
    book = Book(CASH)
    book.fill(Fill("A", 10**9, D(1)))
    book.fill(Fill("B", -1, D(50_000)))
    live = LivePnl()
    live.put(1, book)
    live.mark({"A": D(150_000), "B": D(10**9)})  # 1.5e14
    book.mark({"A": D(150_000), "B": D(10**9)})
    assert_same(live, {1: book})
    with pytest.raises(ValueError, match=r"account 1 would have a gross exposure of 2\.5e\+14"):
        live.mark({"A": D(250_000)})
    assert_same(live, {1: book})
    for wrong in (Book(D(10**15)), Book(D("0.00001")), Book(D("NaN"))):
        with pytest.raises(ValueError, match="cannot be counted"):
            live.put(1, wrong)
    book.mark({"A": D(250_000)})
    with pytest.raises(ValueError, match="beyond the 2e"):
        live.put(1, book)
    for ask in (lambda: live.totals([7]), lambda: live.positions_of(7), lambda: live.peak_and_max_drawdown(7)):
        with pytest.raises(ValueError, match="account 7 is not among the 1"):
            ask()
    assert live.totals(()) == []
    assert np.all(live.arrays.gross_exposure == 1.5e14 + 1e9)
