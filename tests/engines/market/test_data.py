import asyncio
import logging
import math
from datetime import UTC, date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.market.calendar import session_open
from engines.market.data import MarketData, MarketUpdate
from engines.market.feeds.replay import ReplayFeed, load_bars
from engines.market.instruments import Instrument, option_instruments
from engines.market.quotes import DAY_SECONDS, Bar, QuoteTick

DAY = date(2026, 11, 16)
OPENING = session_open(DAY).astimezone(UTC)
EXPIRING = option_instruments("NIFTY", date(2026, 11, 17), [25_000], DAY)[0]


class Clock:
    seconds = 0.0

    def __call__(self):
        return self.seconds


class ListedFeed:
    """Quotes from a list, as a feed gives them."""

    description = "list of quotes"
    simulated = True

    def __init__(self, batches=(), *, bar_seconds=60, warmup=(), before_each=lambda: None):
        self.instruments = [Instrument("X", "X", "equity"), EXPIRING]
        self.bar_seconds = bar_seconds
        self._batches, self._warmup, self._before_each = batches, warmup, before_each

    def warmup(self):
        return self._warmup

    def resume(self, prices, market_time):
        raise NotImplementedError

    async def batches(self):
        for batch in self._batches:
            self._before_each()
            yield batch


def quote(seconds, last, symbol="X", **fields):
    return QuoteTick(symbol, OPENING + timedelta(seconds=seconds), last, **{"bid": last, "ask": last, **fields})


def market_of(feed=None, clock=None):
    return MarketData(feed or ListedFeed(), clock or Clock())


def run(feed, clock=None):
    market, updates = market_of(feed, clock), []

    async def listen(update):
        updates.append(update)

    market.listen(listen)
    asyncio.run(market.run())
    return market, updates


def test_listeners_get_good_quotes_and_closed_bars_of_every_length():
    feed = ListedFeed([[quote(s, 100.0 + s / 100, volume=1.0)] for s in (0, 30, 61, 305)])
    market, updates = run(feed)
    assert market.ended
    assert [len(update.quotes) for update in updates] == [1, 1, 1, 1]
    assert [(bar.open, bar.close) for update in updates for bar in update.closed_bars] == [
        (100, 100.3),
        (100.61, 100.61),
    ]
    by_length = {seconds: sum(len(update.bars[seconds]) for update in updates) for seconds in updates[0].bars}
    assert by_length == {1: 3, 60: 2, 300: 1, DAY_SECONDS: 0}
    assert all(update.closed_bars == update.bars[60] for update in updates)


def test_a_feeds_own_length_of_bars_is_built_too():
    market = market_of(ListedFeed(bar_seconds=900))
    market.take([quote(0, 100.0)])
    update = market.take([quote(901, 101.0)])
    assert [bar.close for bar in update.closed_bars] == [100]
    assert set(update.bars) == {1, 60, 300, 900, DAY_SECONDS}


def test_an_update_can_still_be_made_of_quotes_and_bars_alone():
    assert MarketUpdate((), []).bars == {}


def test_bad_quotes_reach_nobody_and_are_counted():
    batches = [[quote(0, 100.0)], [quote(1, math.nan), quote(1, -1.0)], [quote(2, 200.0), quote(2, 100.5, "Y")]]
    market, updates = run(ListedFeed(batches))
    given = [[(q.symbol, q.last) for q in update.quotes] for update in updates if update.quotes]
    assert given == [[("X", 100)], [("Y", 100.5)]]
    assert market.rejected == {"not_a_number": 1, "non_positive": 1, "off_market": 1}
    assert {symbol: q.last for symbol, q in market.quotes.items()} == {"X": 100, "Y": 100.5}
    assert market.market_time == OPENING + timedelta(seconds=2)


def test_an_out_of_order_quote_counts_in_its_bar_but_a_price_does_not_go_back():
    market = market_of()
    market.take([quote(10, 100.0, volume=1.0)])
    assert market.take([quote(5, 103.0, volume=1.0)]).quotes == []
    assert market.quotes["X"].last == 100
    (bar,) = market.take([quote(62.5, 101.0)]).closed_bars
    assert (bar.open, bar.high, bar.close, bar.volume) == (103, 103, 100, 2)
    assert market.late == {1: 1, 60: 0, 300: 0, DAY_SECONDS: 0}


def test_a_bar_of_a_symbol_that_is_quoted_no_more_closes_after_the_grace():
    market = market_of()
    market.take([quote(0, 50.0, "ILLIQUID"), quote(0, 100.0)])
    assert [bar.symbol for bar in market.take([quote(61, 100.0)]).closed_bars] == ["X"]
    assert [bar.symbol for bar in market.take([quote(62, 100.0)]).closed_bars] == ["ILLIQUID"]
    assert market.take([quote(63, 50.0, "ILLIQUID")]).closed_bars == []


def test_the_days_bar_closes_with_the_session():
    market = market_of(ListedFeed(bar_seconds=DAY_SECONDS))
    market.take([quote(0, 100.0)])
    assert market.take([quote(22_500, 102.0)]).closed_bars == []
    (bar,) = market.take([quote(22_502, 102.0)]).closed_bars
    assert (bar.time, bar.close) == (session_open(DAY), 102)


def test_the_last_days_bar_closes_when_the_feed_ends_with_the_session():
    _, updates = run(ListedFeed([[quote(0, 100.0)], [quote(22_500, 102.0)]], bar_seconds=DAY_SECONDS))
    assert [bar.close for bar in updates[-1].closed_bars] == [102]
    _, updates = run(ListedFeed([[quote(0, 100.0)], [quote(20_000, 102.0)]], bar_seconds=DAY_SECONDS))
    assert len(updates) == 2, "half a day is no bar"


def test_a_silent_live_feeds_bars_can_be_closed_from_outside():
    market, updates = market_of(), []

    async def listen(update):
        updates.append(update)

    market.listen(listen)
    market.take([quote(0, 100.0)])
    asyncio.run(market.close_until(OPENING + timedelta(seconds=60)))
    asyncio.run(market.close_until(OPENING + timedelta(seconds=61)))
    assert [(update.quotes, [bar.close for bar in update.closed_bars]) for update in updates] == [((), [100])]


def test_the_previous_close_is_the_last_price_before_the_day_changed():
    market = market_of()
    market.take([quote(0, 100.0), quote(0, 50.0, "QUIET")])
    assert market.previous_close == {}
    market.take([quote(22_400, 104.0)])
    market.take([quote(DAY_SECONDS, 105.0), quote(DAY_SECONDS, 7.0, "NEW")])
    assert market.previous_close == {"X": 104, "QUIET": 50}
    market.take([quote(DAY_SECONDS + 10, 106.0)])
    assert market.previous_close["X"] == 104


def test_the_feeds_previous_close_goes_first():
    market = market_of()
    market.take([quote(0, 100.0, previous_close=98.0)])
    assert market.previous_close == {"X": 98}
    market.take([quote(22_400, 104.0, previous_close=98.0)])
    market.take([quote(DAY_SECONDS, 105.0, previous_close=103.5)])
    assert market.previous_close == {"X": 103.5}, "the exchange's close is an average, not the last price"


def test_on_the_first_day_the_warm_up_says_the_previous_close():
    def bar(days, close, hour=6):
        time = session_open(DAY + timedelta(days=days)) + timedelta(hours=hour)
        return Bar("X", time, close, close, close, close)

    market = market_of(ListedFeed(warmup=[bar(-3, 90.0, 0), bar(-3, 91.0), bar(0, 99.0, 0)]))
    market.take([quote(3_600, 100.0)])
    assert market.previous_close == {"X": 91}


def test_what_has_expired_leaves_memory_with_its_day():
    market = market_of()
    for seconds in (0, DAY_SECONDS):
        market.take([quote(seconds, 10.0, EXPIRING.symbol), quote(seconds, 100.0)])
    assert EXPIRING.symbol in market.quotes, "it still trades on the day of its expiry"
    market.take([quote(2 * DAY_SECONDS, 100.0)])
    assert list(market.quotes) == ["X"]
    assert list(market.previous_close) == ["X"]


def test_instruments_that_a_feed_adds_are_known():
    feed = ListedFeed()
    market = market_of(feed)
    market.take([quote(0, 100.0)])
    added = option_instruments("NIFTY", date(2026, 11, 23), [25_000], DAY)
    feed.instruments.extend(added)
    market.take([quote(1, 1.0, added[0].symbol)])
    assert market.take([quote(2, 30.0, added[0].symbol)]).quotes, "a share could not move so"


def test_a_feed_is_stale_after_thirty_seconds_without_a_good_quote():
    clock = Clock()
    ages = []

    def before_each():
        clock.seconds += 31
        ages.append((market.is_stale, market.quote_age_seconds))

    feed = ListedFeed([[quote(0, 100.0)], [quote(1, math.nan)], [quote(2, 101.0)]], before_each=before_each)
    market = market_of(feed, clock)
    assert not market.is_stale, "it was not started"
    asyncio.run(market.run())
    assert ages == [(True, None), (True, 31), (True, 62)]
    assert not market.is_stale
    clock.seconds += 31
    assert market.quote_age_seconds == 31
    assert not market.is_stale, "a feed that has ended is not stale"
    assert market.last_quote_monotonic == 93


def test_at_thirty_seconds_a_feed_is_not_stale_yet():
    clock = Clock()
    market = market_of(clock=clock)
    market.take([quote(0, 100.0)])
    clock.seconds = 30.0
    assert not market.is_stale
    clock.seconds = 30.001
    assert market.is_stale


def test_an_engine_that_fails_does_not_stop_the_market_for_the_others(caplog):
    market, seen = market_of(ListedFeed([[quote(0, 100.0)], [], [quote(61, 100.0)]])), []

    async def fail(update):
        raise ZeroDivisionError

    async def listen(update):
        seen.append(update)

    market.listen(fail)
    market.listen(listen)
    with caplog.at_level(logging.ERROR):
        asyncio.run(market.run())
    assert len(seen) == 2
    assert "an engine failed" in caplog.text


def test_a_stamp_from_the_future_costs_no_more_than_its_own_symbols_bars():
    market = market_of()
    market.take([quote(0, 100.0)])
    market.take([quote(3 * DAY_SECONDS, 100.0, "WRONG")])
    closed = [bar for n in range(1, 400) for bar in market.take([quote(n, 100.0), quote(n, 50.0, "WRONG")]).bars[60]]
    assert market.market_time == OPENING + timedelta(seconds=399)
    assert {"X", "WRONG"} <= {bar.symbol for bar in closed}
    market.take([quote(DAY_SECONDS, 103.0)])
    assert market.previous_close["X"] == 100


@pytest.mark.parametrize("bar_seconds", [60, DAY_SECONDS])
@given(steps=st.lists(st.tuples(st.floats(0, 4_000), st.floats(92, 110)), min_size=1, max_size=60))
def test_prices_and_bars_go_forward_in_time(bar_seconds, steps):
    market, seconds, last_time, bars = market_of(ListedFeed(bar_seconds=bar_seconds)), 0.0, None, []
    for step, price in steps:
        seconds += step
        update = market.take([quote(seconds % 22_500 + seconds // 22_500 * DAY_SECONDS, price)])
        assert update.quotes
        assert last_time is None or update.quotes[0].time >= last_time
        last_time = update.quotes[0].time
        bars += update.closed_bars
    assert [bar.time for bar in bars] == sorted({bar.time for bar in bars})
    assert not market.rejected


def test_the_day_bars_of_a_replay_are_those_of_its_file():
    file = load_bars(Path(__file__).parents[3] / "data" / "daily_bars.csv")
    some = file.bars[:800]

    async def no_sleep(seconds):
        pass

    market, updates = run(ReplayFeed(type(file)(some, []), name="bars", sleep=no_sleep))
    built = [bar for update in updates for bar in update.closed_bars]
    assert len(built) >= 400
    assert [(b.symbol, b.time, b.open, b.high, b.low, b.close) for b in built] == [
        (b.symbol, b.time, b.open, b.high, b.low, b.close) for b in some[-len(built) :]
    ]
    assert [b.volume for b in built] == pytest.approx([b.volume for b in some[-len(built) :]])
    assert (market.rejected, set(market.late.values())) == ({}, {0})
    assert market.previous_close == {bar.symbol: bar.close for bar in some if bar.time < some[-1].time}
