import math
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.market.calendar import session_open
from engines.market.instruments import Instrument, option_instruments
from engines.market.quality import CONFIRMING_QUOTES, MAX_AGE, REBASING_QUOTES, QuoteFilter
from engines.market.quotes import QuoteTick

DAY = date(2026, 11, 2)
OPENING = session_open(DAY)
CALL, PUT = option_instruments("NIFTY", date(2026, 11, 17), [25_000], DAY)
INSTRUMENTS = {"NIFTY": Instrument("NIFTY", "NIFTY 50", "index"), CALL.symbol: CALL, PUT.symbol: PUT}
NAN, INFINITY = math.nan, math.inf


def quote(seconds, last, symbol="X", **fields):
    fields = {"bid": last, "ask": last, **fields}
    return QuoteTick(symbol, OPENING + timedelta(seconds=seconds), last, **fields)


def a_filter():
    return QuoteFilter(INSTRUMENTS.get)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"last": NAN}, "not_a_number"),
        ({"last": INFINITY}, "not_a_number"),
        ({"last": -INFINITY}, "not_a_number"),
        ({"bid": NAN}, "not_a_number"),
        ({"ask": INFINITY}, "not_a_number"),
        ({"volume": NAN}, "not_a_number"),
        ({"previous_close": NAN}, "not_a_number"),
        ({"last": 0.0}, "non_positive"),
        ({"last": -1.0}, "non_positive"),
        ({"bid": -0.05}, "non_positive"),
        ({"ask": -0.05}, "non_positive"),
        ({"previous_close": -1.0}, "non_positive"),
        ({"volume": -1.0}, "negative_quantity"),
        ({"bid_size": -1}, "negative_quantity"),
        ({"ask_size": -1}, "negative_quantity"),
        ({"open_interest": -1}, "negative_quantity"),
        ({"bid": 100.1, "ask": 100.0}, "crossed"),
        ({"last": 121.0}, "off_market"),
        ({"last": 79.0}, "off_market"),
        ({"previous_close": 50.0, "last": 121.0}, "off_market"),
    ],
)
def test_bad_quotes_are_kept_away_and_counted_by_reason(fields, reason):
    quotes = a_filter()
    assert quotes.admit(quote(0, 100.0))
    price = fields.pop("last", 100.0)
    assert not quotes.admit(quote(1, price, **fields))
    assert quotes.rejected == {reason: 1}
    assert quotes.latest["X"].time == OPENING


@pytest.mark.parametrize(
    "fields",
    [
        {"bid": 0.0},
        {"ask": 0.0},
        {"bid": 0.0, "ask": 0.0},
        {"bid": 100.0, "ask": 0.0},
        {"bid": 99.0, "ask": 101.0, "volume": 5.0, "bid_size": 1, "ask_size": 1, "open_interest": 1},
    ],
)
def test_an_empty_side_is_good(fields):
    quotes = a_filter()
    assert quotes.admit(quote(0, 100.0, **fields))
    assert not quotes.rejected


def test_a_quote_of_the_last_minute_is_good_though_it_is_not_the_newest():
    quotes = a_filter()
    assert quotes.admit(quote(100, 100.0))
    assert quotes.admit(quote(100 - MAX_AGE.total_seconds(), 101.0))
    assert quotes.latest["X"].last == 100
    assert not quotes.admit(quote(39.9, 100.0, symbol="Y"))
    assert quotes.rejected == {"stale": 1}


def test_a_rejected_quote_does_not_move_the_markets_time():
    quotes = a_filter()
    quotes.admit(quote(0, 100.0))
    quotes.admit(quote(7_200, -1.0))
    quotes.admit(quote(7_200, 200.0))
    assert quotes.market_time == OPENING


def test_a_stamp_from_the_future_does_not_lock_the_market_out():
    quotes = a_filter()
    quotes.admit(quote(0, 100.0))
    assert quotes.admit(quote(20_000, 100.0, symbol="WRONG"))
    admitted = [quotes.admit(quote(n, 100.0 + n / 100)) for n in range(1, REBASING_QUOTES + 10)]
    assert admitted == [False] * (REBASING_QUOTES - 1) + [True] * 10
    assert quotes.rebased == 1
    assert quotes.market_time == OPENING + timedelta(seconds=REBASING_QUOTES + 9)
    assert "WRONG" not in quotes.latest


def test_one_fresh_quote_between_stale_ones_keeps_the_time():
    quotes = a_filter()
    for n in range(REBASING_QUOTES * 2):
        quotes.admit(quote(1_000, 100.0, symbol="FRESH")) if n % 50 == 0 else quotes.admit(quote(0, 100.0))
    assert quotes.rebased == 0


def test_a_price_that_persists_is_a_new_level():
    quotes = a_filter()
    quotes.admit(quote(0, 100.0))
    admitted = [quotes.admit(quote(3 * n, 150.0 + n)) for n in range(1, 7)]
    assert admitted == [False, False, False, False, True, True]


def test_a_burst_of_one_wrong_price_is_no_new_level():
    quotes = a_filter()
    quotes.admit(quote(0, 100.0))
    assert not any(quotes.admit(quote(1 + n / 10, 150.0)) for n in range(50))
    assert quotes.admit(quote(9, 101.0))


def test_scattered_wrong_prices_confirm_nothing():
    quotes = a_filter()
    quotes.admit(quote(0, 100.0))
    assert not any(quotes.admit(quote(20 * n, 200.0 if n % 2 else 20.0)) for n in range(1, 40))
    admitted = [quotes.admit(quote(800 + n * 5, 100.0 if n % 3 == 0 else 150.0)) for n in range(30)]
    assert admitted == [n % 3 == 0 for n in range(30)], "a good price in between starts the count anew"


def test_a_new_day_is_measured_by_the_feeds_previous_close_or_not_at_all():
    tomorrow = 86_400
    quotes = a_filter()
    quotes.admit(quote(0, 100.0))
    assert quotes.admit(quote(tomorrow, 50.0)), "a split, from a feed that says no previous close"
    quotes = a_filter()
    quotes.admit(quote(0, 100.0))
    assert quotes.admit(quote(tomorrow, 50.0, previous_close=50.0)), "the exchange adjusts the previous close"
    quotes = a_filter()
    assert not quotes.admit(quote(tomorrow, 5.0, previous_close=100.0))


def test_a_corrected_previous_close_counts_within_a_day():
    quotes = a_filter()
    quotes.admit(quote(0, 100.0, previous_close=100.0))
    assert not quotes.admit(quote(1, 50.0, previous_close=100.0))
    assert quotes.admit(quote(2, 50.0, previous_close=51.0))


def test_an_option_may_move_as_far_as_its_market_does():
    quotes = a_filter()
    assert quotes.admit(quote(0, 1.0, CALL.symbol, bid=0.95, ask=1.05))
    assert quotes.admit(quote(1, 30.0, CALL.symbol, bid=29.0, ask=31.0))
    assert quotes.admit(quote(2, 2.0, CALL.symbol, bid=0.0, ask=2.5)), "nobody bids: nothing to measure by"
    assert not quotes.admit(quote(3, 40.0, CALL.symbol, bid=2.0, ask=2.5)), "no trade happens there"
    assert quotes.admit(quote(4, 2.1, CALL.symbol, bid=2.0, ask=9.0))
    assert quotes.rejected == {"off_market": 1}


def test_an_old_trade_of_an_option_far_from_its_market_is_good():
    quotes = a_filter()
    assert quotes.admit(quote(0, 100.0, CALL.symbol, bid=99.0, ask=101.0))
    assert quotes.admit(quote(1, 100.0, CALL.symbol, bid=10.0, ask=11.0)), "the market moved, nobody traded"


def test_an_options_trade_outside_its_quotes_counts_once_it_persists():
    quotes = a_filter()
    quotes.admit(quote(0, 10.0, CALL.symbol, bid=9.0, ask=11.0))
    admitted = [quotes.admit(quote(3 * n, 20.0, CALL.symbol, bid=9.0, ask=11.0)) for n in range(1, 7)]
    assert admitted == [False] * (CONFIRMING_QUOTES - 1) + [True] * 2


def test_an_option_is_never_worth_more_than_no_arbitrage_allows():
    quotes = a_filter()
    assert quotes.admit(quote(0, 29_000.0, CALL.symbol)), "the underlying is not known yet"
    quotes = a_filter()
    quotes.admit(quote(0, 25_000.0, "NIFTY"))
    assert not any(quotes.admit(quote(n, 31_000.0, CALL.symbol)) for n in range(30))
    assert not any(quotes.admit(quote(n, 31_000.0, PUT.symbol)) for n in range(30))
    assert quotes.admit(quote(31, 24_000.0, PUT.symbol))


def test_a_put_without_a_strike_is_not_measured():
    strange = Instrument("Y", "Y", "option", option_type="PE")
    assert QuoteFilter({"Y": strange}.get).admit(quote(0, 1e6, "Y"))


def test_what_is_quoted_no_more_leaves_memory():
    quotes = a_filter()
    quotes.admit(quote(0, 100.0, CALL.symbol))
    quotes.admit(quote(0, 100.0))
    quotes.admit(quote(1, 300.0))
    quotes.forget([CALL.symbol, "X", "unknown"])
    assert (quotes.latest, quotes._options, quotes._candidates) == ({}, {}, {})


numbers = st.one_of(st.floats(), st.floats(0, 1_000), st.sampled_from([0.0, 100.0, -0.0]))
quotes_of_all_kinds = st.builds(
    QuoteTick,
    st.sampled_from(["X", "NIFTY", CALL.symbol, PUT.symbol]),
    st.integers(-200, 90_000).map(lambda s: OPENING + timedelta(seconds=s)),
    numbers,
    numbers,
    numbers,
    numbers,
    st.integers(-1, 100),
    st.integers(-1, 100),
    st.integers(-1, 100),
    numbers,
)


@given(st.lists(quotes_of_all_kinds, max_size=80))
def test_every_quote_is_good_or_counted_and_the_good_ones_can_be_computed_with(arrivals):
    quotes = a_filter()
    good = [arrival for arrival in arrivals if quotes.admit(arrival)]
    assert len(good) + sum(quotes.rejected.values()) == len(arrivals)
    for each in good:
        assert all(math.isfinite(n) and n >= 0 for n in (each.bid, each.ask, each.volume, each.previous_close))
        assert math.isfinite(each.last)
        assert each.last > 0
        assert not each.ask or each.bid <= each.ask
    assert all(quotes.latest[symbol] in good for symbol in quotes.latest)


@given(st.lists(quotes_of_all_kinds, max_size=40), st.floats(0.05, 5_000), st.sampled_from(["X", CALL.symbol]))
def test_nothing_locks_a_symbol_out_for_ever(arrivals, level, symbol):
    """Whatever came before: a market that goes on at a level for long enough is let in, and stays in."""
    quotes = a_filter()
    for arrival in arrivals:
        quotes.admit(arrival)
    quotes.admit(quote(90_100, 25_000.0, "NIFTY"))
    start = 90_200
    admitted = [quotes.admit(quote(start + 3 * n, level, symbol)) for n in range(2 * CONFIRMING_QUOTES)]
    allowed = symbol == "X" or level <= quotes.latest["NIFTY"].last if "NIFTY" in quotes.latest else True
    assert not allowed or all(admitted[CONFIRMING_QUOTES:])
