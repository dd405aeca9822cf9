"""The score is the weighted mean of what is known."""

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.market.instruments import NSE_UNIVERSE, Instrument
from engines.trading.sentiment import components
from engines.trading.sentiment.board import HeadlineBoard
from engines.trading.sentiment.headlines import new_headline
from engines.trading.sentiment.model import WEIGHTS, SentimentModel, label_of
from engines.trading.sentiment.tagging import SymbolTagger

NOW = datetime(2026, 11, 25, 6, tzinfo=UTC)
SHARES = [Instrument(symbol, symbol, "equity") for symbol in "ABC"]


def assess(model=None, previous_close=None, last=None, **options):
    model = model or SentimentModel(SHARES)
    return {s.scope: s for s in model.assess(NOW, previous_close=previous_close or {}, last=last or {}, **options)}


def test_sentiment_of_a_rising_market():
    found = assess(previous_close={"A": 100, "B": 100, "C": 100}, last={"A": 101, "B": 102, "C": 100})
    assert list(found) == ["MARKET", "A", "B", "C"]
    market = found["MARKET"]
    assert market.components == {"breadth": 0.6667, "momentum": pytest.approx(math.tanh(1), abs=1e-4)}
    assert market.weights == pytest.approx({"breadth": 0.2 / 0.45, "momentum": 0.25 / 0.45})
    assert market.label == "BULLISH"
    assert {s.scope: s.label for s in found.values()} == {
        "MARKET": "BULLISH",
        "A": "BULLISH",
        "B": "BULLISH",
        "C": "NEUTRAL",
    }


def test_what_has_no_price_is_left_out():
    assert assess(previous_close={"A": 0.0}, last={"A": 1.0, "B": 1.0}) == {}
    assert set(assess(previous_close={"A": 1.0, "B": 1.0}, last={"A": 1.0, "B": math.nan})) == {"MARKET", "A"}


def test_indices_do_not_count_in_breadth():
    model = SentimentModel(NSE_UNIVERSE)
    found = assess(model, previous_close={"NIFTY": 100, "INFY": 100}, last={"NIFTY": 110, "INFY": 99})
    assert found["MARKET"].components["breadth"] == -1
    assert found["NIFTY"].score > 0


def test_options_speak_for_their_underlying_and_for_the_market():
    found = assess(pcr={"NIFTY": 1.5, "BANKNIFTY": 1 / 1.5}, vix={"NIFTY": 15.0})
    high = round(math.tanh(1), 4)
    assert found["NIFTY"].components == found["MARKET"].components == {"pcr": -high, "vix": 0.0}
    assert found["BANKNIFTY"].components == {"pcr": high}
    assert found["NIFTY"].score == pytest.approx(-high * 0.1 / 0.25, abs=1e-4)
    contrarian = assess(SentimentModel(SHARES, contrarian_pcr=True), pcr={"NIFTY": 1.5})
    assert contrarian["NIFTY"].score == high


def test_news_is_weighed_by_how_fresh_it_is():
    board = HeadlineBoard(SymbolTagger(NSE_UNIVERSE), score=lambda _: -0.8)
    board.add([new_headline("Infosys", published_at=NOW)], NOW)
    model = SentimentModel(NSE_UNIVERSE, board)
    prices = {"previous_close": {"INFY": 100.0}, "last": {"INFY": 100.0}}

    def of(moment):
        return {s.scope: s for s in model.assess(moment, **prices)}["INFY"]

    fresh, old, gone = of(NOW), of(NOW + board.half_life), of(NOW + board.kept_for)
    assert fresh.weights["news"] == pytest.approx(0.3 / 0.55)
    assert old.weights["news"] == pytest.approx(0.15 / 0.4)
    assert (fresh.headline_count, fresh.score) == (1, pytest.approx(-0.8 * 0.3 / 0.55, abs=1e-4))
    assert fresh.score < old.score < gone.score == 0
    assert (gone.components, gone.headline_count) == ({"momentum": 0.0}, 0)


def test_news_alone_is_a_sentiment():
    board = HeadlineBoard(SymbolTagger(NSE_UNIVERSE), score=lambda _: 0.6)
    board.add([new_headline("Infosys", published_at=NOW)], NOW)
    found = assess(SentimentModel(NSE_UNIVERSE, board))
    assert (found["INFY"].score, found["INFY"].weights) == (0.6, {"news": 1.0})


ANY = st.floats(allow_nan=True, allow_infinity=True)
PRICES = st.dictionaries(st.sampled_from(["A", "B", "NIFTY"]), ANY)


@given(PRICES, PRICES, PRICES, PRICES)
def test_whatever_comes_in_scores_are_sound(previous_close, last, pcr, vix):
    for s in assess(previous_close=previous_close, last=last, pcr=pcr, vix=vix).values():
        assert s.components.keys() == s.weights.keys() <= WEIGHTS.keys()
        assert all(-1 <= value <= 1 for value in s.components.values())
        assert all(0 < weight <= 1 for weight in s.weights.values())
        assert math.isclose(sum(s.weights.values()), 1)
        assert s.score == pytest.approx(sum(s.components[n] * s.weights[n] for n in s.weights), abs=1e-4)
        assert (-1 <= s.score <= 1, s.label) == (True, label_of(s.score))


@pytest.mark.parametrize(("score", "label"), [(-0.3, "BEARISH"), (0.2, "NEUTRAL"), (0.21, "BULLISH")])
def test_labels(score, label):
    assert label_of(score) == label


@pytest.mark.parametrize("weights", [{"news": 1}, {**WEIGHTS, "vix": -1}, {**WEIGHTS, "vix": math.nan}])
def test_wrong_weights_are_refused(weights):
    with pytest.raises(ValueError, match="each of news, breadth"):
        SentimentModel(SHARES, weights=weights)


def test_components_are_symmetric_and_unknown_where_nothing_is():
    assert components.put_call(2.0) == pytest.approx(-components.put_call(0.5))
    assert components.volatility_index(30) == pytest.approx(-components.volatility_index(7.5))
    assert components.volatility_index(22.5) == pytest.approx(-math.tanh(1))
    assert [components.put_call(value) for value in (None, 0, -1, math.nan, math.inf)] == [None] * 5
    assert components.breadth(()) is None
    assert components.momentum(()) is None
