from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.trading.book import Book, Fill, Position, money

D = Decimal

CASH = D(1_000_000)

prices = st.decimals(0, 9_999, places=4)
signed = st.integers(-500, 500).filter(bool)
charges = st.decimals(0, 99, places=4)
# A and B are shares, F a future whose units count 25 times
fills = st.one_of(
    st.builds(Fill, symbol=st.sampled_from("AB"), quantity=signed, price=prices, charges=charges),
    st.builds(Fill, st.just("F"), signed, prices, charges, margined=st.just(True), multiplier=st.just(25)),
)
marks = st.dictionaries(st.sampled_from("ABF"), prices, max_size=3)
histories = st.lists(st.one_of(fills, marks), max_size=25)


def follow(book, history):
    for event in history:
        if isinstance(event, Fill):
            book.fill(event)
        else:
            book.mark(event)
    return book


def assert_identities(book):
    totals, positions = book.totals(), book.positions.values()
    assert totals.total_value == book.cash + sum(p.value for p in positions)
    assert totals.total_pnl == totals.total_value - book.opening_cash
    assert totals.total_pnl == totals.realised_pnl + totals.unrealised_pnl - totals.charges
    assert totals.net_exposure == sum(p.market_value for p in positions)
    assert totals.gross_exposure == sum(abs(p.market_value) for p in positions)
    assert book.imbalance == 0
    assert all(p.cost * p.quantity >= 0 for p in positions)
    assert all(p.cost == 0 for p in positions if not p.quantity)


@given(histories)
def test_the_identities_hold_exactly_after_every_step(history):
    book = Book(CASH)
    for event in history:
        follow(book, [event])
        assert_identities(book)


@given(st.lists(fills, max_size=20), marks)
def test_cash_and_positions_are_conserved(trades, last):
    """What was paid and received, and what it is worth now: computed without any notion of cost."""
    book = follow(Book(CASH), trades)
    book.mark(last)
    assert {s: p.quantity for s, p in book.positions.items()} == {
        symbol: sum(t.quantity for t in trades if t.symbol == symbol) for symbol in {t.symbol for t in trades}
    }
    paid = sum(t.quantity * t.price * t.multiplier + t.charges for t in trades)
    worth = sum(p.quantity * p.last_price * p.multiplier for p in book.positions.values())
    assert book.totals().total_value == CASH - paid + worth


@given(st.lists(fills, max_size=20), st.integers(0, 99))
def test_any_order_of_fills_gives_the_same_totals(trades, seed):
    last = {"A": D(7), "B": D("8.25"), "F": D(9)}
    shuffled = Random(seed).sample(trades, len(trades))
    totals = []
    for order in (trades, shuffled):
        book = follow(Book(CASH), order)
        book.mark(last)
        totals.append(book.totals())
    for name in (
        "total_value",
        "total_pnl",
        "daily_pnl",
        "charges",
        "gross_exposure",
        "net_exposure",
        "position_count",
    ):
        assert getattr(totals[0], name) == getattr(totals[1], name)
    if all(not t.margined for t in trades):
        assert totals[0].cash == totals[1].cash


@given(st.lists(fills, max_size=25))
def test_realised_is_that_of_the_average_price_method_but_for_rounding(trades):
    """Against exact fractions: each closing fill may round its removed cost by half a unit; the rest carries it on."""
    book = follow(Book(CASH), trades)
    quantity, cost, realised = ({s: Fraction(0) for s in "ABF"} for _ in range(3))
    for t in trades:
        s, price = t.symbol, Fraction(t.price) * t.multiplier
        closing = 0
        if quantity[s] * t.quantity < 0:
            closing = min(abs(quantity[s]), abs(t.quantity)) * (1 if quantity[s] > 0 else -1)
            average = cost[s] / quantity[s]
            realised[s] += closing * (price - average)
            cost[s] -= closing * average
        cost[s] += (t.quantity + closing) * price
        quantity[s] += t.quantity
    for position in book.positions.values():
        off = abs(Fraction(position.realised_pnl) - realised[position.symbol])
        assert off <= Fraction(len(trades), 20_000)


@given(histories, marks, histories)
def test_daily_pnl_is_the_change_of_value_since_the_start_of_the_day(before, closes, after):
    book = follow(Book(CASH), before)
    book.start_day(closes)
    start = book.totals()
    assert start.daily_pnl == 0
    assert_identities(book)
    for event in after:
        follow(book, [event])
        totals = book.totals()
        assert totals.daily_pnl == totals.total_value - start.total_value
        assert totals.daily_pnl == sum(p.day_pnl for p in book.positions.values())


@given(histories, histories)
def test_a_restored_book_goes_on_as_the_first(before, after):
    book = follow(Book(CASH), before)
    restored = Book(CASH, book.cash, {s: replace(p) for s, p in book.positions.items()})
    assert restored.totals() == book.totals()
    assert follow(restored, after).totals() == follow(book, after).totals()
    assert restored.positions == book.positions


@given(st.lists(fills, max_size=20))
def test_trading_at_the_last_price_changes_no_value(trades):
    book = follow(Book(CASH), trades)
    before = book.totals().total_value
    for p in list(book.positions.values()):
        book.fill(Fill(p.symbol, -7, p.last_price, margined=p.margined, multiplier=p.multiplier))
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
        ([(50, 120), (-50, 0)], 0, 0, -6_000),  # an option that expired worthless
    ],
)
@pytest.mark.parametrize("kind", [{}, {"margined": True, "multiplier": 25}])
def test_average_price_method(trades, quantity, average, realised, kind):
    book = Book(CASH)
    for amount, price in trades:
        outcome = book.fill(Fill("X", amount, D(price), **kind))
    position = outcome.position
    assert (position.quantity, position.average_price) == (quantity, average)
    assert position.realised_pnl == realised * kind.get("multiplier", 1)


def test_what_a_fill_says_about_itself():
    book = Book(CASH)
    outcomes = [book.fill(Fill("X", q, D(p), D(1))) for q, p in [(100, 10), (-40, 15), (-100, 5), (60, 5)]]
    assert [(o.closed_quantity, o.realised) for o in outcomes] == [(0, 0), (40, 200), (60, -300), (40, 0)]
    assert outcomes[-1].position is book.positions["X"]


def test_a_third_is_rounded_and_nothing_is_lost():
    book = Book(CASH)
    book.fill(Fill("X", 3, D("0.3333")))
    book.fill(Fill("X", 4, D("0.3334")))
    position = book.positions["X"]
    assert position.cost == D("2.3335")
    realised = [book.fill(Fill("X", -1, D(0))).realised for _ in range(7)]
    assert realised[0] == D("-0.3334")  # 2.3335 / 7 = 0.33336
    assert (sum(realised), position.cost) == (D("-2.3335"), 0)


def test_a_future_moves_cash_only_by_what_it_realises():
    book = Book(CASH)
    book.fill(Fill("F", 65, D(25_000), D(20), margined=True))
    assert book.cash == CASH - 20
    book.mark({"F": D(25_010)})
    totals = book.totals()
    assert (totals.total_value, totals.unrealised_pnl, totals.gross_exposure) == (CASH + 630, 650, 65 * 25_010)
    book.fill(Fill("F", -65, D(25_020), D(20), margined=True))
    assert (book.cash, book.totals().total_value) == (CASH + 1_260, CASH + 1_260)


def test_a_day_with_an_overnight_position():
    """100 held overnight at a close of 50; 40 sold at 55, 10 bought at 52, 3 in charges; the last price is 53."""
    book = Book(D(10_000))
    book.fill(Fill("X", 100, D(45), D(9)))
    book.mark({"X": D(48)})
    book.start_day({"X": D(50), "Y": D(1)})
    book.fill(Fill("X", -40, D(55), D(2)))
    book.fill(Fill("X", 10, D(52), D(1)))
    book.mark({"X": D(53)})
    assert book.totals().daily_pnl == 40 * (55 - 50) + 60 * (53 - 50) + 10 * (53 - 52) - 3
    book.start_day({})
    assert book.totals().daily_pnl == 0
    assert book.positions["X"].day_cost == 70 * 53


def test_a_position_closed_yesterday_has_no_part_in_today():
    book = Book(CASH)
    book.fill(Fill("X", 10, D(5)))
    book.fill(Fill("X", -10, D(7), D(1)))
    assert book.totals().daily_pnl == 19
    book.start_day({"X": D(9)})
    position = book.positions["X"]
    assert (position.day_cost, position.day_charges, position.last_price) == (0, 0, 7)


def test_marking_changes_only_what_is_held_and_quoted():
    book = follow(Book(CASH), [Fill("A", 10, D(5)), Fill("B", 10, D(5)), Fill("B", -10, D(6))])
    assert [p.symbol for p in book.mark({"A": 7.00004, "B": D(7), "C": D(-7)})] == ["A"]
    assert book.mark({"A": D(7)}) == []
    totals = book.totals()
    assert (totals.unrealised_pnl, totals.realised_pnl, totals.position_count) == (20, 10, 1)


@pytest.mark.parametrize("price", [D(-1), float("nan"), D("NaN"), float("inf"), D("1e13")])
def test_a_bad_price_marks_nothing(price):
    book = follow(Book(CASH), [Fill("A", 10, D(5)), Fill("B", 10, D(5))])
    before = book.totals()
    with pytest.raises(ValueError, match="cannot mark B"):
        book.mark({"A": D(7), "B": price})
    with pytest.raises(ValueError, match="cannot mark B"):
        book.start_day({"A": D(7), "B": price})
    assert book.totals() == before


@pytest.mark.parametrize(
    "wrong",
    [
        {"quantity": 0},
        {"price": D("-0.05")},
        {"price": D("NaN")},
        {"price": D("Infinity")},
        {"price": D("1.00001")},
        {"price": D("1e13")},
        {"charges": D(-1)},
        {"charges": D("NaN")},
        {"multiplier": 0},
    ],
)
def test_nonsense_is_not_booked(wrong):
    with pytest.raises(ValueError, match="cannot book"):
        Fill(**{"symbol": "A", "quantity": 1, "price": D(1), **wrong})


def test_an_open_position_keeps_its_kind():
    book = follow(Book(CASH), [Fill("A", 10, D(5))])
    before = book.totals()
    with pytest.raises(ValueError, match="the open position has margined=False, multiplier=1"):
        book.fill(Fill("A", 10, D(5), margined=True))
    assert book.totals() == before
    book.fill(Fill("A", -10, D(5)))
    book.fill(Fill("A", 10, D(5), margined=True))
    assert_identities(book)


def test_imbalance_says_how_much_cash_is_wrong():
    book = follow(Book(CASH), [Fill("A", 10, D(5), D(1)), Fill("F", 1, D(9), margined=True)])
    assert Book(CASH, book.cash + 3, book.positions).imbalance == 3
    assert Position("X").average_price == 0


def test_money_is_rounded_half_to_even():
    assert money(0.00005) == D("0.0000")
    assert money(0.00015) == D("0.0002")
    assert money(D("1.00025")) == D("1.0002")
