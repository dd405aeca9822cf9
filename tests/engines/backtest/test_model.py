"""The strategy "model": when it buys, when it sells, and where it begins."""

import math

import numpy as np
import pytest

from engines.backtest.run import BacktestFailed
from engines.market.history import history_of
from tests.engines.backtest.markets import D, day, direction, filled_up, run

NAN = math.nan


def trades_of(*chance, prices=(), horizon_bars=3, **spec):
    history = history_of(filled_up(*(prices or [100.0])))
    column = np.array([*chance, *[NAN] * (60 - len(chance))])
    result = run(
        history,
        chance={"X": column},
        label=direction(horizon_bars),
        slippage_basis_points=0.0,
        enter_probability=0.6,
        **spec,
    )
    return [((t.opened_on - day(0)).days, (t.closed_on - day(0)).days, t.reason) for t in result.trade_list]


def test_it_buys_at_the_opening_after_a_high_probability_and_sells_after_a_low_one():
    assert trades_of(0.5, 0.6, 0.55, 0.49) == [(2, 4, "probability")]


def test_it_sells_when_the_horizon_has_passed_without_another_high_probability():
    assert trades_of(0.5, 0.6, 0.55, 0.55, 0.55) == [(2, 5, "horizon")]
    assert trades_of(0.5, 0.6, NAN, NAN) == [(2, 5, "horizon")]
    assert trades_of(0.5, 0.6, 0.55, 0.6, 0.55, 0.55, 0.55) == [(2, 7, "horizon")]
    assert trades_of(0.6, horizon_bars=1) == [(1, 2, "horizon")]


def test_it_buys_again():
    assert trades_of(0.6, 0.4, 0.7, 0.4) == [(1, 2, "probability"), (3, 4, "probability")]


def test_it_trades_at_openings():
    history = history_of(filled_up(100.0, (102, 103, 101, 103), (104, 105, 90, 91)))
    column = np.array([0.9, 0.1, *[NAN] * 58])
    (trade,) = run(history, chance={"X": column}, slippage_basis_points=0.0).trade_list
    assert (trade.entry_price, trade.exit_price) == (D(102), D(104))


def test_it_begins_when_the_model_begins_to_speak():
    history = history_of(filled_up(100.0, length=100))
    column = np.array([NAN] * 30 + [0.5] * 70)
    result = run(history, chance={"X": column})
    assert (result.start, len(result.days)) == (day(30), 70)
    assert result.strategy == "model: buys at P(up) of 0.52 or more, horizon 1 bars"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, r"the model speaks out of sample only from 2024-02-25: 45 trading times, at least 60 are needed; test"),
        ({"end": day(98)}, r"only from 2024-02-25: 44 trading times until 2024-04-08, at least 60 are needed; test"),
        ({"start": day(60)}, r"^40 trading times from 2024-03-01 until now, at least 60 are needed$"),
    ],
)
def test_too_little_out_of_sample_is_told_from_too_few_bars(spec, message):
    history = history_of(filled_up(100.0, length=100))
    with pytest.raises(BacktestFailed, match=message):
        run(history, chance={"X": np.array([NAN] * 55 + [0.5] * 45)}, **spec)


def test_a_model_that_says_nothing_cannot_be_tested():
    with pytest.raises(BacktestFailed, match="predicts nothing out of sample"):
        trades_of(NAN)


def test_the_strongest_is_bought_first():
    history = history_of([bar for symbol in "ABC" for bar in filled_up(100.0, symbol=symbol)])
    chance = {s: np.array([p, 0.1, *[NAN] * 58]) for s, p in (("A", 0.6), ("B", 0.9), ("C", 0.7))}
    bought = {t.symbol: t.quantity for t in run(history, chance=chance, position_share=0.6).trade_list}
    assert list(bought) == ["A", "B", "C"]
    assert bought["B"] > bought["C"] > 3_000 > bought["A"]


def test_probabilities_must_fit_the_bars():
    history = history_of(filled_up(100.0))
    with pytest.raises(ValueError, match="one for each of its 60 bars"):
        run(history, chance={"X": np.zeros(3)})
    with pytest.raises(ValueError, match="needs its probabilities"):
        run(history)
    with pytest.raises(ValueError, match="the label that they are of"):
        run(history, chance={"X": np.zeros(60)}, label=None)


def test_only_what_the_model_was_trained_on_is_traded():
    history = history_of([bar for symbol in "AB" for bar in filled_up(100.0, symbol=symbol)])
    chance = {"B": np.full(60, 0.9)}
    assert run(history, chance=chance) == run({"B": history["B"]}, chance=chance)
    with pytest.raises(BacktestFailed, match="the model was not trained on A, but on B"):
        run(history, chance=chance, symbols=("A", "B"))
    with pytest.raises(BacktestFailed, match="predicts nothing"):
        run(history, chance={})
