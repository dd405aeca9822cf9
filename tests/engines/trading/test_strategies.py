import gc
import math
import random
import sys
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from talipp.indicators import ADX, BB, EMA, RSI

from engines.market.calendar import IST
from engines.market.quotes import Bar
from engines.trading.strategies import breakout, mean_reversion, trend, volatility
from engines.trading.strategies.base import KEPT_BARS, all_strategies, ohlcv

START = datetime(2026, 1, 5, 9, 15, tzinfo=IST)


def bar(number, close, *, opened=None, spread=1.0, volume=100.0, symbol="X"):
    opened = close if opened is None else opened
    high, low = max(opened, close) + spread, min(opened, close) - spread
    return Bar(symbol, START + timedelta(minutes=number), opened, high, low, close, volume)


def walk(count, seed=1, symbol="X"):
    """Bars of a random walk around 100, in which moves cluster."""
    rng = random.Random(seed)
    bars, price = [], 100.0
    for number in range(count):
        size = 0.4 + 0.3 * math.sin(number / 40)
        opened, price = price, max(20.0, price + rng.gauss(0, size))
        spread, volume = abs(rng.gauss(0, size / 3)), rng.uniform(50, 250)
        bars.append(bar(number, price, opened=opened, spread=spread, volume=volume, symbol=symbol))
    return bars


def proposals(strategy, bars):
    return [found for bar in bars if (found := strategy.on_bar(bar)) is not None]


def test_there_are_four_with_names_of_their_own():
    names = [strategy.name for strategy in all_strategies()]
    assert names == ["trend", "breakout", "mean_reversion", "volatility"]
    assert all(strategy.description for strategy in all_strategies())


@pytest.mark.parametrize("strategy", all_strategies(), ids=lambda strategy: strategy.name)
def test_each_finds_something_in_a_market_both_ways_with_levels_from_the_atr(strategy):
    found = proposals(strategy, walk(6_000))
    assert {proposal.direction for proposal in found} == {"BUY", "SELL"}
    for proposal in found:
        assert proposal.score >= 0
        ratio = proposal.target_distance / proposal.stop_distance
        assert ratio == pytest.approx(strategy.target_atr / strategy.stop_atr)
        atr = float(proposal.rationale.rsplit("ATR ", 1)[1])
        assert proposal.stop_distance == pytest.approx(strategy.stop_atr * atr, rel=1e-3)
        assert proposal.driftless_rate == pytest.approx(1 / (1 + ratio))


@pytest.mark.parametrize("make", [type(strategy) for strategy in all_strategies()])
def test_symbols_do_not_touch_each_other(make):
    alone, others = walk(1_500, 1, "A"), walk(1_500, 2, "B")
    together = make()
    mixed = [found for pair in zip(alone, others, strict=True) for found in proposals(together, pair)]
    assert [found for found in mixed if found.symbol == "A"] == proposals(make(), alone)
    assert [found for found in mixed if found.symbol == "B"] == proposals(make(), others)


@pytest.mark.parametrize("make", [type(strategy) for strategy in all_strategies()])
def test_nothing_depends_on_bars_that_have_not_come(make):
    bars = walk(2_000)
    crash = [bar(number, 50.0, spread=9.0) for number in range(1_000, 1_100)]
    one, other = make(), make()
    until = [(one.on_bar(b), other.on_bar(b)) for b in bars[:1_000]]
    assert all(mine == theirs for mine, theirs in until)
    assert proposals(one, bars[1_000:]) != proposals(other, crash)


@pytest.mark.parametrize("make", [type(strategy) for strategy in all_strategies()])
def test_a_market_that_stands_still_gives_nothing(make):
    assert proposals(make(), [bar(n, 100.0, spread=0.0) for n in range(300)]) == []
    assert proposals(make(), [bar(n, 100.0, spread=0.0, volume=0.0) for n in range(300)]) == []


@pytest.mark.parametrize("make", [type(strategy) for strategy in all_strategies()])
def test_memory_stays_bounded(make):
    strategy, sizes = make(), []
    bars = walk(10_000)
    for number, each in enumerate(bars, start=1):
        strategy.on_bar(each)
        if number in (2 * KEPT_BARS - 1, 5_000, 10_000):
            sizes.append(size_of(strategy))
    assert max(sizes[1:]) < 1.1 * sizes[0] < 500_000


def size_of(thing):
    """Bytes of everything that is reached from it, classes and modules left out."""
    seen, left, total = set(), [thing], 0
    while left:
        each = left.pop()
        if id(each) in seen or isinstance(each, type) or callable(each) or type(each).__name__ == "module":
            continue
        seen.add(id(each))
        total += sys.getsizeof(each)
        left += gc.get_referents(each)
    return total


def test_cutting_the_indicators_changes_no_value():
    bars = walk(1_000)
    looks = [strategy.new_look() for strategy in all_strategies()]
    whole_adx, whole_rsi, whole_bands = ADX(14, 14), RSI(14), BB(20, 2.0)
    for each in bars:
        for look in looks:
            look.take(each)
        whole_adx.add(ohlcv(each))
        whole_rsi.add(each.close)
        whole_bands.add(each.close)
        if len(whole_adx) > 600:
            assert looks[0]._adx[-1].adx == whole_adx[-1].adx
            assert looks[2]._rsi[-1] == whole_rsi[-1]
            assert looks[2]._bands[-1].ub == pytest.approx(whole_bands[-1].ub, rel=1e-12)
    assert len(looks[0]._adx) < 2 * KEPT_BARS


# Each on bars made for it


def test_trend_goes_with_a_crossing_that_the_adx_confirms():
    closes = [100 - 0.2 * n for n in range(60)] + [88 + 0.8 * n for n in range(40)]
    found = proposals(trend.Trend(), [bar(n, close) for n, close in enumerate(closes)])
    assert [proposal.direction for proposal in found] == ["BUY"]
    assert found[0].rationale.startswith("EMA 12 crossed above EMA 26")
    assert found[0].score >= trend.MIN_ADX


def test_trend_leaves_crossings_without_a_trend_alone():
    rng = random.Random(2)
    bars = [bar(n, 100 + rng.gauss(0, 1)) for n in range(1_000)]  # around 100, for ever
    fast, slow = (EMA(n, [b.close for b in bars])[-900:] for n in (12, 26))
    above = [one > other for one, other in zip(fast, slow, strict=True)]
    crossings = sum(one != other for one, other in pairwise(above))
    assert crossings > 50
    assert len(proposals(trend.Trend(), bars)) < crossings / 10


def quiet(count=40):
    return [bar(n, 100 + 0.5 * (n % 3), volume=100.0) for n in range(count)]  # highs at 102, lows at 99


def test_breakout_takes_a_close_beyond_the_channel_on_volume():
    found = proposals(breakout.Breakout(), [*quiet(), bar(40, 104.0, opened=101.0, volume=150.0)])
    assert [proposal.direction for proposal in found] == ["BUY"]
    assert "above the 20-bar high 102.00 on volume 1.5 times its mean" in found[0].rationale
    strategy = breakout.Breakout()
    proposals(strategy, quiet())
    down = strategy.on_bar(bar(40, 97.0, opened=100.0, volume=150.0))
    assert down.direction == "SELL"
    assert strategy.on_bar(bar(41, 95.0, volume=900.0)) is None  # a trend that goes on is no new breakout


def test_breakout_wants_volume_or_range():
    assert proposals(breakout.Breakout(), [*quiet(), bar(40, 104.0, opened=101.0, volume=149.0)]) == []
    silent = [Bar(b.symbol, b.time, b.open, b.high, b.low, b.close, 0.0) for b in quiet()]
    (found,) = proposals(breakout.Breakout(), [*silent, bar(40, 104.0, opened=101.0, volume=0.0)])
    assert "a range of" in found.rationale
    assert proposals(breakout.Breakout(), [*silent, bar(40, 102.1, spread=0.1, opened=102.0, volume=0.0)]) == []


def test_mean_reversion_buys_what_fell_too_far_once():
    fall = [100 + 0.3 * (n % 4) for n in range(40)] + [99, 96, 92, 87]
    found = proposals(mean_reversion.MeanReversion(), [bar(n, close) for n, close in enumerate(fall)])
    assert [proposal.direction for proposal in found] == ["BUY"]
    assert "below the lower Bollinger band" in found[0].rationale
    rise = [200 - close for close in fall]
    found = proposals(mean_reversion.MeanReversion(), [bar(n, close) for n, close in enumerate(rise)])
    assert [proposal.direction for proposal in found] == ["SELL"]


def test_volatility_goes_with_the_release_of_a_squeeze():
    calm = [bar(n, 100 + 0.1 * (n % 2), spread=1.0) for n in range(40)]
    loud = [bar(40 + n, 100 + 3.0 * (n + 1), spread=1.0) for n in range(4)]
    (found,) = proposals(volatility.Volatility(), calm + loud)
    assert found.direction == "BUY"
    assert "A squeeze of" in found.rationale
    # Without quiet before it, the same move is none of its business.
    wild = [bar(n, 100 - 8 * math.sin(n / 6), spread=0.1) for n in range(40)]
    assert proposals(volatility.Volatility(), wild + loud) == []
