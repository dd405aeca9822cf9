import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.market.bars import BarBuilder, MultiBarBuilder
from engines.market.calendar import session_close, session_open
from engines.market.quotes import DAY_SECONDS, QuoteTick

START = datetime(2026, 1, 5, 3, 45, tzinfo=UTC)  # 09:15 IST


def at(seconds):
    return START + timedelta(seconds=seconds)


def quote(seconds, price, volume=1.0, symbol="X"):
    return QuoteTick(symbol, at(seconds), price, price, price, volume)


def prices(bar):
    return (bar.open, bar.high, bar.low, bar.close, bar.volume)


def test_a_bar_closes_with_the_first_quote_of_the_next():
    builder = BarBuilder(60)
    assert [builder.add(quote(s, p)) for s, p in ((0, 10.0), (20, 12.0), (40, 9.0), (59, 11.0))] == [None] * 4
    bar = builder.add(quote(61, 20.0))
    assert prices(bar) == (10, 12, 9, 11, 4)
    assert bar.time == START


def test_a_quote_older_than_the_open_bar_is_left_out_and_counted():
    builder = BarBuilder(60)
    builder.add(quote(61, 10.0))
    assert builder.add(quote(59, 99.0)) is None
    assert builder.late == 1
    assert builder.add(quote(121, 10.0)).high == 10


@given(st.permutations([(0, 10.0), (7, 14.0), (20, 12.0), (40, 9.0), (59.5, 11.0)]))
def test_the_order_of_arrival_inside_an_open_bar_does_not_matter(arrived):
    builder = BarBuilder(60)
    assert [builder.add(quote(*each)) for each in arrived] == [None] * 5
    assert [prices(bar) for bar in builder.close_until(at(60))] == [(10, 14, 9, 11, 5)]
    assert builder.late == 0


def test_of_two_quotes_of_one_instant_the_later_to_arrive_is_the_close():
    builder = BarBuilder(60)
    for price in (10.0, 11.0, 12.0):
        builder.add(quote(5, price))
    assert prices(builder.close_until(at(60))[0]) == (10, 12, 10, 12, 3)


def test_the_clock_closes_the_bar_of_a_symbol_that_is_not_quoted():
    builder = BarBuilder(60)
    builder.add(quote(0, 10.0, symbol="ILLIQUID"))
    builder.add(quote(0, 20.0))
    builder.add(quote(60, 21.0))
    assert builder.close_until(at(59.9)) == []
    assert [bar.symbol for bar in builder.close_until(at(60))] == ["ILLIQUID"]
    assert builder.close_until(at(60)) == []
    assert [bar.symbol for bar in builder.close_until(at(120))] == ["X"]


def test_a_bar_that_the_clock_closed_is_not_built_twice():
    builder = BarBuilder(60)
    builder.add(quote(0, 10.0))
    assert len(builder.close_until(at(60))) == 1
    assert builder.add(quote(59, 99.0)) is None
    assert builder.close_until(at(61)) == []
    assert builder.late == 1
    assert builder.add(quote(61, 11.0)) is None
    assert builder.close_until(at(120))[0].high == 11


def test_the_days_bar_is_the_session_and_closes_with_it():
    builder = BarBuilder(DAY_SECONDS)
    day = START.date()
    builder.add(quote(0, 10.0))
    builder.add(quote(22_500, 12.0))  # stamped 15:30:00
    assert builder.close_until(session_close(day) - timedelta(seconds=1)) == []
    (bar,) = builder.close_until(session_close(day))
    assert (bar.time, bar.open, bar.close) == (session_open(day), 10, 12)
    assert builder.add(quote(24 * 3_600, 12.0)) is None


def test_without_a_clock_the_days_bar_closes_on_the_next_day():
    builder = BarBuilder(DAY_SECONDS)
    builder.add(quote(0, 10.0))
    assert builder.add(quote(6 * 3600, 11.0)) is None
    assert builder.add(quote(24 * 3600, 12.0)).close == 11


def test_quotes_outside_the_session_make_no_bars():
    builder = BarBuilder(60)
    for seconds in (-3_600, -0.001, 22_500.001, 30_000):
        assert builder.add(quote(seconds, 99.0)) is None
    assert builder.outside_session == 4
    assert builder.close_until(at(DAY_SECONDS)) == []


@pytest.mark.parametrize(("interval", "starts"), [(3_600, [0, 3_600, 21_600]), (300, [0, 3_600, 22_200])])
def test_intervals_count_from_the_opening_and_the_last_takes_the_closing_instant(interval, starts):
    builder = BarBuilder(interval)
    bars = [builder.add(quote(s, 10.0)) for s in (0, 3_700, 22_400, 22_500)] + builder.close_until(at(22_500))
    assert [(bar.time - START).total_seconds() for bar in bars if bar] == starts


@pytest.mark.parametrize("interval", [0, -60, DAY_SECONDS + 1])
def test_a_length_that_is_none_is_refused(interval):
    with pytest.raises(ValueError, match="it must be 1 to 86400"):
        BarBuilder(interval)


walks = st.lists(
    st.tuples(st.floats(0.01, 900.0), st.floats(1.0, 1_000.0), st.integers(0, 1_000)), min_size=1, max_size=60
)


@given(walks)
def test_short_bars_add_up_to_long_ones(steps):
    """Every length sees the same market: the 1-second and 1-minute bars of 5 minutes give the 5-minute bar."""
    builder = MultiBarBuilder()
    seconds, quotes = 0.0, []
    for step, price, volume in steps:
        seconds += step
        if seconds > 22_500:
            break
        quotes.append(quote(seconds, price, float(volume)))
    closed = builder.add(quotes)
    for interval, bars in builder.close_until(at(22_500)).items():
        closed[interval] += bars
    (day,) = closed[DAY_SECONDS] or (None,)
    assert (day is None) == (not quotes)
    for short, long in ((1, 60), (60, 300), (300, DAY_SECONDS)):
        for bar in closed[long]:
            inside = [b for b in closed[short] if bar.time <= b.time < bar.time + timedelta(seconds=long)]
            assert (inside[0].open, inside[-1].close) == (bar.open, bar.close)
            assert (max(b.high for b in inside), min(b.low for b in inside)) == (bar.high, bar.low)
            assert math.isclose(sum(b.volume for b in inside), bar.volume)
    assert all(
        b.low <= min(b.open, b.close) <= max(b.open, b.close) <= b.high for bars in closed.values() for b in bars
    )


@given(st.lists(st.tuples(st.floats(0, 600), st.sampled_from("XY"), st.booleans()), max_size=60))
def test_every_quote_is_in_one_bar_or_counted_and_no_bar_comes_twice(arrivals):
    builder = BarBuilder(60)
    bars, clock = [], 0.0
    for seconds, symbol, tick in arrivals:
        bar = builder.add(quote(seconds, 10.0, symbol=symbol))
        bars += [bar] if bar else []
        if tick:
            clock = max(clock, seconds)
            bars += builder.close_until(at(clock))
    bars += builder.close_until(at(22_500))
    assert sum(bar.volume for bar in bars) + builder.late == len(arrivals)
    assert len({(bar.symbol, bar.time) for bar in bars}) == len(bars)
    for symbol in "XY":
        times = [bar.time for bar in bars if bar.symbol == symbol]
        assert times == sorted(times)


def test_what_is_quoted_no_more_leaves_memory():
    builder = MultiBarBuilder([1, 60])
    builder.add([quote(0, 1.0), quote(0, 1.0, symbol="Y")])
    builder.close_until(at(1))
    builder.forget(["X", "unknown"])
    assert [bar.symbol for bar in builder.close_until(at(60))[60]] == ["Y"]
    assert all("X" not in b._closed_until and not b._by_end for b in builder.builders.values())


def test_bars_of_a_wrong_time_can_be_dropped():
    builder = MultiBarBuilder([60])
    builder.add([quote(0, 1.0), quote(7_200, 1.0, symbol="Y")])
    builder.drop_after(at(30))
    builder.add([quote(31, 2.0, symbol="Y")])
    assert [(bar.symbol, bar.close) for bar in builder.close_until(at(22_500))[60]] == [("X", 1), ("Y", 2)]
