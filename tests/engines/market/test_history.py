from datetime import UTC, datetime, timedelta, timezone

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.market.history import BarSeries, history_of, pack, unpack
from engines.market.quotes import Bar

START = datetime(2026, 1, 5, 3, 45, tzinfo=UTC)
COLUMNS = ("times", "open", "high", "low", "close", "volume")


def bar(symbol, minute, close=10.0):
    return Bar(symbol, START + timedelta(minutes=minute), close - 1, close + 2, close - 3, close, 100.0 + minute)


def rows(series):
    return {name: getattr(series, name).tolist() for name in COLUMNS}


def test_columns_are_those_of_the_bars():
    history = history_of([bar("A", 0), bar("B", 0, 50.0), bar("A", 1, 11.0)])
    assert list(history) == ["A", "B"]
    start = int(START.timestamp())
    assert rows(history["A"]) == {
        "times": [start, start + 60],
        "open": [9.0, 10.0],
        "high": [12.0, 13.0],
        "low": [7.0, 8.0],
        "close": [10.0, 11.0],
        "volume": [100.0, 101.0],
    }
    assert history["A"].symbol == "A"
    assert (len(history["A"]), len(history["B"])) == (2, 1)
    assert history["A"].times.dtype == np.int64
    assert {getattr(history["A"], name).dtype for name in COLUMNS[1:]} == {np.dtype(np.float64)}


def test_bars_come_in_any_order_and_the_later_one_given_counts():
    given_bars = [bar("A", 2, 12.0), bar("A", 0), bar("A", 1, 99.0), bar("A", 1, 11.0)]
    assert history_of(given_bars)["A"].close.tolist() == [10.0, 11.0, 12.0]


def test_a_time_is_the_same_in_any_zone():
    india = timezone(timedelta(hours=5, minutes=30))
    there = msgspec.structs.replace(bar("A", 0, 77.0), time=START.astimezone(india))
    assert history_of([bar("A", 0), there])["A"].close.tolist() == [77.0]


def test_no_bars_are_no_history():
    assert history_of([]) == {}
    assert unpack(pack({})) == {}


def test_bars_come_back_as_they_were():
    bars = [bar("A", minute, 10.0 + minute) for minute in range(5)]
    assert list(history_of(bars)["A"].bars()) == bars


def test_a_part_is_a_view():
    series = history_of(bar("A", minute, 10.0 + minute) for minute in range(5))["A"]
    part = series.part(-3, None)
    assert part.symbol == "A"
    assert part.close.tolist() == [12.0, 13.0, 14.0]
    assert part.times.tolist() == series.times[2:].tolist()
    assert np.shares_memory(part.close, series.close)
    assert len(series.part(1, 3)) == 2
    assert len(series.part(0, 0)) == 0


finite = st.floats(allow_nan=False)
packed_bars = st.builds(
    Bar,
    st.sampled_from(("A", "B", "M&M", "निफ्टी")),
    st.integers(0, 2**32).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)),
    finite,
    finite,
    finite,
    finite,
    finite,
)


@settings(max_examples=30)
@given(st.lists(packed_bars, max_size=30))
def test_packing_and_unpacking_changes_nothing(bars):
    history = history_of(bars)
    unpacked = unpack(pack(history))
    assert list(unpacked) == list(history)
    for symbol, series in history.items():
        assert rows(unpacked[symbol]) == rows(series)
        assert (np.diff(unpacked[symbol].times) > 0).all()


def test_views_are_packed_as_what_they_show():
    series = history_of(bar("A", minute, 10.0 + minute) for minute in range(5))["A"]
    every_other = BarSeries("A", *(getattr(series, name)[::2] for name in COLUMNS))
    assert rows(unpack(pack({"A": every_other}))["A"]) == rows(every_other)


@pytest.mark.parametrize(
    "garbage", [b"", b"garbage", b"\x93\x01\x02", pack({"A": history_of([bar("A", 0)])["A"]})[:-4]]
)
def test_garbage_is_refused(garbage):
    with pytest.raises(msgspec.DecodeError):
        unpack(garbage)


@pytest.mark.parametrize(("times", "prices"), [(7, 5), (16, 5), (8, 4)])
def test_columns_that_do_not_fit_are_refused(times, prices):
    packed = msgspec.msgpack.encode([["X", bytes(times), [bytes(8)] * prices]])
    with pytest.raises(msgspec.DecodeError):
        unpack(packed)
