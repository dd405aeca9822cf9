import math
import random
from datetime import UTC, date, datetime, timedelta
from itertools import count

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.market.calendar import IST, session_close, session_open
from engines.market.quotes import DAY_SECONDS, Bar, QuoteTick
from engines.trading.calibration import Calibration
from engines.trading.signals import SignalEngine, after_session_seconds
from engines.trading.strategies.base import Proposal, all_strategies

MONDAY = date(2026, 1, 5)
START = session_open(MONDAY)
MINUTE = timedelta(minutes=1)


class Scripted:
    """A strategy that proposes what it is told, at the bars with these numbers."""

    name, description = "scripted", "as told"

    def __init__(self, script, name="scripted", target=2.0, stop=1.0):
        self.name, self._script, self._levels = name, script, (target, stop)
        self.bars = 0

    def on_bar(self, bar):
        direction = self._script.get(self.bars)
        self.bars += 1
        return direction and Proposal(bar.symbol, direction, 7.0, *self._levels, "because")


def engine_of(*strategies, **options):
    numbers = count(1)
    options = {"max_age_bars": 60, **options}
    return SignalEngine(strategies, Calibration("test", 60), new_id=lambda: str(next(numbers)), **options)


def bar(number, close=100.0, *, low=None, high=None, opened=None, symbol="X"):
    opened = close if opened is None else opened
    low = min(opened, close) if low is None else low
    high = max(opened, close) if high is None else high
    return Bar(symbol, START + number * MINUTE, opened, high, low, close)


def quote(price, minute=1.0, symbol="X"):
    return QuoteTick(symbol, START + minute * MINUTE, price, price, price)


def opened(direction="BUY", **options):
    """An engine with a signal at 100 (target 102 and stop 99, mirrored for SELL), and the signal."""
    engine = engine_of(Scripted({0: direction}), **options)
    (signal,) = engine.on_bar(bar(0))
    return engine, signal


def statuses(events):
    return [event.status for event in events]


def test_a_proposal_opens_a_signal_with_everything_in_it():
    _, signal = opened()
    assert (signal.signal_id, signal.strategy, signal.symbol, signal.direction) == ("1", "scripted", "X", "BUY")
    assert (signal.status, signal.is_open) == ("NEW", True)
    assert (signal.entry_price, signal.target_price, signal.stop_loss, signal.risk) == (100.0, 102.0, 99.0, 1.0)
    assert signal.confidence == pytest.approx(1 / 3, abs=1e-4)  # driftless: not measured
    assert (signal.score, signal.rationale) == (7.0, "because")
    assert signal.opened_at == START + MINUTE
    assert signal.valid_until == START + 61 * MINUTE
    assert (signal.exit_price, signal.realised_r, signal.mfe_r, signal.mae_r) == (None, None, 0.0, 0.0)


@pytest.mark.parametrize(
    ("direction", "price", "status", "r"),
    [
        ("BUY", 102.0, "TARGET_HIT", 2.0),
        ("BUY", 99.0, "STOP_HIT", -1.0),
        ("BUY", 97.5, "STOP_HIT", -2.5),  # a gap: at the quote, not at the stop
        ("BUY", 103.0, "TARGET_HIT", 3.0),
        ("SELL", 98.0, "TARGET_HIT", 2.0),
        ("SELL", 101.0, "STOP_HIT", -1.0),
        ("SELL", 104.0, "STOP_HIT", -4.0),
    ],
)
def test_new_active_then_target_or_stop_at_the_quotes_price(direction, price, status, r):
    engine, signal = opened(direction)
    (active,) = engine.on_quotes([quote(100.0)])
    assert active == msgspec.structs.replace(signal, status="ACTIVE")
    assert engine.on_quotes([quote(100.1), quote(5.0, symbol="OTHER")]) == []
    (ended,) = engine.on_quotes([quote(price)])
    assert (ended.status, ended.exit_price, ended.realised_r) == (status, price, pytest.approx(r))
    assert ended.signal_id == signal.signal_id
    assert engine.on_quotes([quote(1.0), quote(500.0)]) == []
    assert engine.open_signals == []


def test_a_market_that_opens_beyond_the_stop_activates_and_ends_at_once():
    engine, _ = opened()
    events = engine.on_quotes([quote(95.0)])
    assert statuses(events) == ["ACTIVE", "STOP_HIT"]
    assert (events[1].exit_price, events[1].mae_r) == (95.0, 5.0)


def test_the_farthest_for_and_against_are_kept_in_r_and_price():
    engine, _ = opened("SELL")
    engine.on_quotes([quote(100.0), quote(99.0), quote(100.75), quote(98.5)])
    (now,) = engine.open_signals
    assert (now.mfe_r, now.mae_r) == (1.5, 0.75)
    assert (now.mfe_price, now.mae_price) == (1.5, 0.75)
    (ended,) = engine.on_quotes([quote(97.0)])
    assert (ended.mfe_r, ended.mae_r, ended.realised_r) == (3.0, 0.75, 3.0)


def test_it_expires_with_the_first_quote_or_bar_at_its_time():
    engine, signal = opened(max_age_bars=5)
    assert statuses(engine.on_quotes([quote(100.0, 1), quote(100.5, 5.99)])) == ["ACTIVE"]
    (expired,) = engine.on_quotes([quote(100.5, 6)])
    assert (expired.status, expired.exit_price, expired.realised_r) == ("EXPIRED", 100.5, 0.5)
    engine, signal = opened(max_age_bars=5)
    assert [engine.on_bar(bar(n)) for n in range(1, 5)] == [[]] * 4
    (expired,) = engine.on_bar(bar(5, 100.25))
    assert (expired.signal_id, expired.status, expired.exit_price) == (signal.signal_id, "EXPIRED", 100.25)


def test_the_opposite_proposal_cancels_and_opens_the_same_is_left_out():
    engine = engine_of(Scripted({0: "BUY", 1: "BUY", 2: "SELL"}))
    (first,) = engine.on_bar(bar(0))
    assert engine.on_bar(bar(1)) == []
    cancelled, second = engine.on_bar(bar(2, 99.5))
    assert (cancelled.signal_id, cancelled.status, cancelled.realised_r) == (first.signal_id, "CANCELLED", -0.5)
    assert (second.direction, second.status, second.entry_price) == ("SELL", "NEW", 99.5)
    assert engine.open_signals == [second]


def test_strategies_and_symbols_have_their_own():
    engine = engine_of(Scripted({0: "BUY", 1: "BUY"}, "one"), Scripted({0: "SELL"}, "two"))
    events = engine.on_bar(bar(0)) + engine.on_bar(bar(0, symbol="Y"))
    assert [(e.strategy, e.symbol) for e in events] == [("one", "X"), ("two", "X"), ("one", "Y")]
    assert [(e.strategy, e.status) for e in engine.on_quotes([quote(103.0)])] == [
        ("one", "ACTIVE"),
        ("one", "TARGET_HIT"),
        ("two", "ACTIVE"),
        ("two", "STOP_HIT"),
    ]
    with pytest.raises(ValueError, match="the same name"):
        engine_of(Scripted({}), Scripted({}))


def test_a_pause_opens_nothing_and_goes_on_with_what_is_open():
    engine = engine_of(Scripted({0: "BUY", 1: "SELL", 2: "SELL"}))
    engine.on_bar(bar(0))
    engine.paused = True
    assert statuses(engine.on_quotes([quote(100.0)])) == ["ACTIVE"]
    assert statuses(engine.on_bar(bar(1))) == ["CANCELLED"]
    engine.paused = False
    assert statuses(engine.on_bar(bar(2))) == ["NEW"]


def test_quotes_from_before_it_opened_and_bad_ones_do_not_touch_it():
    engine, _ = opened()
    assert engine.on_quotes([quote(50.0, 0.5), quote(math.nan), quote(0.0), quote(-1.0)]) == []
    assert statuses(engine.open_signals) == ["NEW"]


def test_a_bar_that_is_not_later_is_left_out():
    strategy = Scripted({1: "BUY"})
    engine = engine_of(strategy)
    engine.warm_up(bar(0))
    engine.warm_up(bar(0))
    assert engine.on_bar(bar(0)) == engine.on_history_bar(bar(0)) == []
    assert strategy.bars == 1
    assert statuses(engine.on_bar(bar(1))) == ["NEW"]


def test_warming_up_opens_nothing_but_counts():
    engine = engine_of(Scripted({0: "BUY", 1: "SELL"}))
    engine.warm_up(bar(0))
    assert engine.open_signals == []
    assert statuses(engine.on_bar(bar(1))) == ["NEW"]


def test_levels_that_are_no_prices_open_nothing():
    assert engine_of(Scripted({0: "BUY"}, stop=100.0)).on_bar(bar(0)) == []
    assert engine_of(Scripted({0: "SELL"}, target=150.0)).on_bar(bar(0)) == []
    assert engine_of(Scripted({0: "BUY"}, stop=0.001)).on_bar(bar(0)) == []


# A restart


def test_restored_signals_go_on_as_if_nothing_had_happened():
    engine, _ = opened()
    engine.on_quotes([quote(100.0), quote(101.5), quote(99.2)])
    left = engine.open_signals
    after = engine_of(Scripted({}))
    assert after.restore(left) == ["1"]
    assert after.open_signals == left
    rest = [quote(99.5), quote(101.0), quote(98.0)]
    assert after.on_quotes(rest) == engine.on_quotes(rest)
    new, _ = opened()
    after = engine_of(Scripted({}))
    after.restore(new.open_signals)
    assert statuses(after.on_quotes([quote(100.0)])) == ["ACTIVE"]


def test_what_cannot_go_on_is_not_restored():
    _, signal = opened()
    (ended,) = opened()[0].on_quotes([quote(100.0), quote(103.0)])[1:]
    bad = [
        ended,
        msgspec.structs.replace(signal, strategy="gone"),
        msgspec.structs.replace(signal, target_price=0.0),
        msgspec.structs.replace(signal, stop_loss=100.0),
        msgspec.structs.replace(signal, direction="SELL"),
    ]
    after = engine_of(Scripted({}))
    assert after.restore(bad) == []
    assert after.restore([signal, msgspec.structs.replace(signal, signal_id="2")]) == ["1"]
    assert after.open_signals == [signal]
    expired = engine_of(Scripted({}))
    expired.restore([signal])
    assert statuses(expired.on_quotes([quote(100.0, 10_000)])) == ["EXPIRED"]


# History: bars without quotes


@pytest.mark.parametrize(
    ("direction", "then", "status", "exit_price"),
    [
        ("BUY", {"low": 98.0, "high": 103.0}, "STOP_HIT", 99.0),  # both inside: the worse counts
        ("SELL", {"low": 97.0, "high": 103.0}, "STOP_HIT", 101.0),
        ("BUY", {"low": 99.5, "high": 103.0}, "TARGET_HIT", 102.0),
        ("BUY", {"opened": 98.0, "close": 99.5, "low": 97.0, "high": 103.0}, "STOP_HIT", 98.0),  # opened beyond
        ("BUY", {"opened": 104.0, "close": 99.5, "low": 97.0}, "TARGET_HIT", 104.0),
        ("SELL", {"opened": 97.0, "close": 99.5, "high": 103.0}, "TARGET_HIT", 97.0),
    ],
)
def test_inside_a_bar_of_history_the_worse_extreme_comes_first(direction, then, status, exit_price):
    engine = engine_of(Scripted({0: direction}))
    engine.on_history_bar(bar(0))
    active, ended = engine.on_history_bar(bar(1, **then))
    assert (active.status, ended.status, ended.exit_price) == ("ACTIVE", status, exit_price)
    assert ended.mfe_r == max(0.0, ended.realised_r)  # the extreme after the exit is not counted
    assert max(ended.mae_r, 0.5) == max(0.5, -ended.realised_r)


def test_days_of_history_expire_at_the_close():
    engine = SignalEngine([Scripted({0: "BUY"})], Calibration("test", DAY_SECONDS), new_id=lambda: "1", max_age_bars=2)
    days = [date(2026, 1, n) for n in (5, 6, 7)]
    bars = [Bar("X", session_open(day), 100, 100.5, 99.5, 100.25) for day in days]
    (signal,) = engine.on_history_bar(bars[0])
    assert (signal.opened_at, signal.valid_until) == (session_close(days[0]), session_close(days[2]))
    assert statuses(engine.on_history_bar(bars[1])) == ["ACTIVE"]
    (expired,) = engine.on_history_bar(bars[2])
    assert (expired.status, expired.exit_price) == ("EXPIRED", 100.25)


def test_lives_are_counted_in_session_time():
    friday = date(2026, 1, 9)
    late = session_close(friday) - timedelta(minutes=10)
    monday = session_open(date(2026, 1, 12))
    assert after_session_seconds(late, 600) == session_close(friday)
    assert after_session_seconds(late, 1_200) == monday + timedelta(minutes=10)
    assert after_session_seconds(session_close(friday), 60) == monday + MINUTE
    assert after_session_seconds(late.astimezone(UTC), 1_200) == monday + timedelta(minutes=10)
    assert after_session_seconds(datetime(2026, 1, 11, 12, tzinfo=IST), 22_500) == session_close(date(2026, 1, 12))


# The whole, with the real strategies


def market(minutes, seed, symbols=("A", "B")):
    """Minutes of a few symbols: per minute its quotes, then its bars."""
    rng = random.Random(seed)
    prices = dict.fromkeys(symbols, 100.0)
    for number in range(minutes):
        day, minute = divmod(number, 375)
        time = session_open(MONDAY + timedelta(days=day)) + minute * MINUTE
        quotes, bars = [], []
        for symbol in symbols:
            path = [prices[symbol]]
            for step in range(4):
                path.append(max(1.0, path[-1] * math.exp(rng.gauss(0, 6e-4 * (1.5 + math.sin(number / 60))))))
                quotes.append(QuoteTick(symbol, time + timedelta(seconds=15 * step), path[-1], path[-1], path[-1]))
            prices[symbol] = path[-1]
            bars.append(Bar(symbol, time, path[1], max(path[1:]), min(path[1:]), path[-1], rng.uniform(50, 250)))
        yield sorted(quotes, key=lambda quote: quote.time), bars


def run(engine, minutes):
    events = []
    for quotes, bars in minutes:
        events.append(engine.on_quotes(quotes) + [event for each in bars for event in engine.on_bar(each)])
    return events


def test_what_is_to_come_changes_nothing_until_it_comes():
    minutes = list(market(1_500, 1))
    other = minutes[:900] + [
        ([msgspec.structs.replace(q, last=q.last * 0.7) for q in quotes], bars) for quotes, bars in minutes[900:]
    ]
    one, two = run(engine_of(*all_strategies()), minutes), run(engine_of(*all_strategies()), other)
    assert one[:900] == two[:900]
    assert one[900:] != two[900:]
    assert sum(len(events) for events in one[:900]) > 20


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000), cut=st.integers(200, 350))
def test_every_signal_lives_once_in_order_and_a_restart_changes_nothing(seed, cut):
    minutes = list(market(400, seed))
    engine = engine_of(*all_strategies())
    events = run(engine, minutes[:cut])
    left = engine.open_signals
    again = engine_of(*all_strategies())
    again._new_id = engine._new_id
    for _, bars in minutes[:cut]:
        for each in bars:
            again.warm_up(each)
    assert len(again.restore(left)) == len(left)
    after = run(engine, minutes[cut:])
    again._new_id = iter([e.signal_id for es in after for e in es if e.status == "NEW"]).__next__
    assert run(again, minutes[cut:]) == after
    lives, running = {}, set()
    for event in (event for of_minute in [*events, *after] for event in of_minute):
        lives.setdefault(event.signal_id, []).append(event)
        place = (event.strategy, event.symbol)
        if event.status == "NEW":
            assert place not in running
            running.add(place)
        elif not event.is_open:
            running.remove(place)
    assert len(engine.open_signals) == len(running)
    for life in lives.values():
        assert life[0].status == "NEW"
        assert [event.status for event in life[1:2]] in ([], ["ACTIVE"], ["CANCELLED"])
        last = life[-1]
        if not last.is_open:
            rising = 1 if last.direction == "BUY" else -1
            assert last.realised_r == pytest.approx(rising * (last.exit_price - last.entry_price) / last.risk)
            assert -last.mae_r - 1e-9 <= last.realised_r <= last.mfe_r + 1e-9
            assert last.status != "TARGET_HIT" or last.realised_r > 0
            assert last.status != "STOP_HIT" or last.realised_r <= -1 + 1e-9


def test_closed_signals_leave_memory():
    engine = engine_of(*all_strategies())
    opened_ = 0
    for quotes, bars in market(3_000, 3):
        events = engine.on_quotes(quotes) + [event for each in bars for event in engine.on_bar(each)]
        opened_ += statuses(events).count("NEW")
        assert sum(len(of_symbol) for of_symbol in engine._open.values()) == len(engine.open_signals) <= 8
    assert opened_ > 50
