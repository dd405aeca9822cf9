"""A model that was trained on barriers trades at them."""

import numpy as np
import pytest

from engines.learning.labels import labels_of
from engines.learning.spec import LabelSpec
from engines.market.history import BarSeries
from tests.engines.backtest.markets import NO_SLIPPAGE, START, day, run, walk

SAID_AT, HORIZON = 30, 4
BARRIERS = LabelSpec(kind="triple_barrier", horizon_bars=HORIZON, target_volatilities=0.5, stop_volatilities=0.5)
# by turns 1 % up and down, log: the deviation of 20 of them is 0.01 times the root of 20/19
WIDTH = 0.5 * 0.01 * (20 / 19) ** 0.5 * HORIZON**0.5
STOP, TARGET = np.exp(-WIDTH), np.exp(WIDTH)  # of a close of 1


def history(*after, length=90):
    """Closes go up and down by turns; then, from the bar after the one of the prediction, (open, high, low, close) as
    multiples of its close; then the last close for ever."""
    close = np.exp(0.01 * (np.arange(length) % 2))
    rows = np.repeat(close[:, None], 4, axis=1)
    rows[SAID_AT + 1 : SAID_AT + 1 + len(after)] = np.array(after) * close[SAID_AT]
    rows[SAID_AT + 1 + len(after) :] = rows[SAID_AT + len(after), 3]
    times = int(START.timestamp()) + 86_400 * np.arange(length, dtype=np.int64)
    return {"X": BarSeries("X", times, *(100 * rows.T), np.full(length, 1e6))}


def trades_of(bars, *chance, label=BARRIERS, **spec):
    """After a high P(up) at bar `SAID_AT` and these at the next ones; nothing is said of the others."""
    column = np.full(len(bars["X"]), np.nan)
    column[0] = 0.1  # from the first day on
    column[SAID_AT : SAID_AT + 1 + len(chance)] = [0.9, *chance]
    result = run(bars, chance={"X": column}, label=label, **NO_SLIPPAGE, **spec)
    return [
        ((t.opened_on - day(SAID_AT)).days, (t.closed_on - day(SAID_AT)).days, float(t.exit_price) / 100, t.reason)
        for t in result.trade_list
    ]


FLAT = (1, 1, 1, 1)


@pytest.mark.parametrize(
    ("after", "trade"),
    [
        ([FLAT, (1, TARGET * 1.001, 1, 1)], (1, 2, TARGET, "target")),
        ([FLAT, (1, 1, STOP * 0.999, 1)], (1, 2, STOP, "stop")),
        ([(1, 1, STOP * 0.999, 1)], (1, 1, STOP, "stop")),  # in the bar of the entry
        ([FLAT, (1, TARGET * 1.1, STOP * 0.9, 1)], (1, 2, STOP, "stop")),  # both in one bar
        ([FLAT, (STOP * 0.9, 1, STOP * 0.9, 1)], (1, 2, STOP * 0.9, "stop")),  # a gap through it
        ([FLAT, (TARGET * 1.1, TARGET * 1.1, 1, 1)], (1, 2, TARGET * 1.1, "target")),
        ([(1, TARGET * 0.999, STOP * 1.001, 1)] * 9, (1, HORIZON + 1, 1, "horizon")),
    ],
)
def test_it_sells_at_the_barrier_that_is_reached_first_else_when_the_horizon_has_passed(after, trade):
    (found,) = trades_of(history(*after))
    assert found == (*trade[:2], pytest.approx(trade[2], abs=1e-6), trade[3])


def test_the_same_probabilities_of_a_direction_know_no_barriers():
    bars = history(FLAT, (1, 1, STOP * 0.9, 1))
    direction = LabelSpec(horizon_bars=HORIZON)
    assert trades_of(bars, label=direction) == [(1, HORIZON + 1, 1, "horizon")]


def test_what_the_next_opening_is_beyond_already_is_not_entered():
    for opening in (STOP * 0.999, TARGET * 1.001):
        assert trades_of(history((opening, 1.1, 0.9, 1), FLAT)) == []


def test_barriers_and_horizon_are_those_of_the_latest_high_probability():
    higher = (1.01, 1.01, 1.01, 1.01)
    falls = (1.01, 1.01, STOP * 1.005, STOP * 1.005)  # over the first stop, and under the second
    (first,) = trades_of(history(higher, falls), 0.51)
    (anew,) = trades_of(history(higher, falls), 0.9)
    assert first == (1, HORIZON + 1, pytest.approx(STOP * 1.005), "horizon")
    assert anew[1::2] == (2, "stop")


def test_a_low_probability_sells_before_any_barrier():
    assert trades_of(history(FLAT, FLAT, (1, 2, 1, 1)), 0.4) == [(1, 2, 1, "probability")]


def test_without_volatility_there_are_no_barriers_and_nothing_is_said():
    bars = history(FLAT)
    assert trades_of(bars)
    for column in (bars["X"].open, bars["X"].high, bars["X"].low, bars["X"].close):
        column[:] = 100.0
    assert trades_of(bars) == []


def test_every_trade_ends_as_the_label_says():
    """One prediction every ten bars, and no word between: each trade is a bet on one label."""
    bars = walk("S", 5, length=600)
    label = LabelSpec(kind="triple_barrier", horizon_bars=8, target_volatilities=1.0, stop_volatilities=0.7)
    column = np.full(600, np.nan)
    column[30::10] = 0.9
    result = run({"S": bars}, chance={"S": column}, label=label, start=day(10))
    labels, reasons = labels_of(bars, label), set()
    for trade in result.trade_list:
        said_at = (trade.opened_on - day(0)).days - 1
        ended = (trade.closed_on - day(0)).days
        reasons.add(trade.reason)
        if trade.reason == "horizon":
            assert (ended, labels.known_at[said_at]) == (said_at + 9, said_at + 8)
        else:
            assert (trade.reason == "target", ended) == (labels.up[said_at] == 1.0, labels.known_at[said_at])
    assert len(result.trade_list) > 40
    assert reasons == {"target", "stop", "horizon"}
