import math
from datetime import UTC, datetime, timedelta

import pytest

from engines.market.quotes import Bar, QuoteTick
from engines.trading.signals import MAX_BARS, TrendRule

START = datetime(2026, 1, 5, tzinfo=UTC)


def bar(number, close, spread=1.0):
    return Bar("X", START + timedelta(minutes=number), close, close + spread, close - spread, close)


def quote(price):
    return QuoteTick("X", START, price, price, price)


def rising_after_falling(rule):
    """Feed a fall, then a rise, until the rule opens a signal."""
    closes = [100 - 0.2 * n for n in range(60)] + [88 + 0.8 * n for n in range(40)]
    for number, close in enumerate(closes):
        events = rule.on_bar(bar(number, close))
        if events:
            return events[-1], number
    raise AssertionError("no signal")


def test_a_crossing_opens_one_signal_with_target_and_stop_around_it():
    signal, _ = rising_after_falling(TrendRule())
    assert (signal.direction, signal.status, signal.confidence) == ("BUY", "NEW", 0.5)
    assert signal.stop_loss < signal.entry_price < signal.target_price
    ratio = (signal.target_price - signal.entry_price) / (signal.entry_price - signal.stop_loss)
    assert ratio == pytest.approx(2.0 / 1.5, rel=0.01)


@pytest.mark.parametrize(("to", "status", "hits"), [("target_price", "TARGET_HIT", 1), ("stop_loss", "STOP_HIT", 0)])
def test_new_active_then_target_or_stop(to, status, hits):
    rule = TrendRule()
    signal, _ = rising_after_falling(rule)
    (active,) = rule.on_quote(quote(signal.entry_price))
    assert active.status == "ACTIVE"
    assert rule.on_quote(quote(signal.entry_price)) == []
    (ended,) = rule.on_quote(quote(getattr(signal, to)))
    assert (ended.status, ended.exit_price, ended.number) == (status, getattr(signal, to), signal.number)
    assert (rule.closed, rule.hits) == (1, hits)
    assert rule.confidence == pytest.approx((hits + 1) / 3)
    assert rule.on_quote(quote(1.0)) == []


def test_a_signal_that_goes_nowhere_expires():
    rule = TrendRule()
    signal, number = rising_after_falling(rule)
    events = []
    for n in range(MAX_BARS + 1):
        events += rule.on_bar(bar(number + 1 + n, signal.entry_price + 0.5 * n * 0.01))
    assert [event.status for event in events if event.number == signal.number] == ["EXPIRED"]


def test_the_opposite_crossing_cancels():
    rule = TrendRule()
    signal, number = rising_after_falling(rule)
    events = []
    close = signal.entry_price
    while not events:
        number += 1
        close -= 0.5
        events = rule.on_bar(bar(number, close))
    assert [(e.status, e.direction) for e in events] == [("CANCELLED", "BUY"), ("NEW", "SELL")]


def test_warming_up_opens_nothing_and_memory_stays_bounded():
    rule = TrendRule()
    for number in range(3_000):
        rule.warm_up(bar(number, 100 + 10 * math.sin(number / 20)))
    state = rule._symbols["X"]
    assert state.signal is None
    assert len(state.fast) <= 400
    events = [e for n in range(3_000, 3_200) for e in rule.on_bar(bar(n, 100 + 10 * math.sin(n / 20)))]
    assert events
