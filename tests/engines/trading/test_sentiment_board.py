"""Each piece of news counts once, and less with time."""

from datetime import UTC, datetime, timedelta
from string import ascii_letters

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.market.instruments import NSE_UNIVERSE
from engines.trading.sentiment import board as board_module
from engines.trading.sentiment.board import MARKET_SCOPE, HeadlineBoard
from engines.trading.sentiment.headlines import new_headline, similarity
from engines.trading.sentiment.tagging import SymbolTagger

NOW = datetime(2026, 11, 25, 6, tzinfo=UTC)
HOUR = timedelta(hours=1)
TAGGER = SymbolTagger(NSE_UNIVERSE)


def signed(title):
    """Scores that are easy to reckon with."""
    return 0.5 if "good" in title else -0.5 if "bad" in title else 0.0


def board(**options):
    return HeadlineBoard(TAGGER, score=signed, **options)


def news(title, age=timedelta(0), **options):
    return new_headline(title, published_at=NOW - age, **options)


def test_weights_halve_with_each_half_life():
    one = board()
    one.add([news("good Infosys"), news("bad Infosys results", 6 * HOUR), news("Infosys meets", 12 * HOUR)], NOW)
    score = one.scores(NOW)["INFY"]
    assert score.score == pytest.approx((0.5 - 0.5 * 0.5 + 0 * 0.25) / 1.75)
    assert (score.weight, score.headline_count) == (1.0, 3)


def test_news_fades_where_nothing_new_comes():
    one = board()
    one.add([news("bad Infosys")], NOW)
    for half_lives in (0, 1, 2, 3):
        score = one.scores(NOW + half_lives * one.half_life)["INFY"]
        assert score.score == pytest.approx(-0.5 / 2**half_lives)
        assert score.weight == pytest.approx(1 / 2**half_lives)
    assert one.scores(NOW + one.kept_for) == {}
    assert len(one) == 0


def test_the_market_has_all_news_and_symbols_their_own():
    one = board()
    new = one.add([news("good Infosys"), news("bad weather")], NOW)
    assert {h.title: h.symbols for h in new} == {"good Infosys": ("INFY",), "bad weather": ()}
    scores = one.scores(NOW)
    assert set(scores) == {MARKET_SCOPE, "INFY"}
    assert (scores[MARKET_SCOPE].score, scores[MARKET_SCOPE].headline_count) == (0, 2)


def test_a_sources_own_symbols_count_as_far_as_they_are_known():
    one = board()
    new = one.add([news("good day", symbols=["TCS", "ACME"]), news("bad Infosys", symbols=["ACME"])], NOW)
    assert [h.symbols for h in new] == [("TCS",), ("INFY",)]


def test_the_same_news_counts_once():
    one = board()
    first = news("Infosys wins a good large order from a bank in Europe", HOUR, source="A")
    assert len(one.add([first], NOW)) == 1
    for title in (
        "INFOSYS wins a good, large order from a bank in Europe - Reuters",  # the same
        "Infosys wins a good and large order from a bank in Europe",  # nearly
    ):
        assert one.add([news(title)], NOW) == []
    assert one.scores(NOW)["INFY"].headline_count == 1


@pytest.mark.parametrize(
    "title",
    [
        "Infosys wins a good large order from a shop in Asia",  # fewer words in common
        "Infosys wins a good large order from 2 bank in Europe",  # another number
        "Accenture wins a good large order from a bank in Europe",  # another company
        "Infosys wins a bad large order from a bank in Europe",  # the contrary
    ],
)
def test_other_news_that_looks_alike_counts(title):
    one = board()
    one.add([news("Infosys wins a good large order from a bank in Europe")], NOW)
    assert len(one.add([news(title)], NOW)) == 1


def test_nearly_the_same_a_day_later_is_news():
    one = board()
    one.add([news("Infosys wins a good large order from a bank in Europe", 25 * HOUR)], NOW)
    assert len(one.add([news("Infosys wins a good and large order from a bank in Europe")], NOW)) == 1


def test_too_old_and_far_ahead_is_not_taken_and_what_is_ahead_waits():
    one = board()
    ahead = news("good Infosys", -HOUR / 2)
    assert one.add([news("bad Infosys", one.kept_for), news("bad TCS", -2 * HOUR), ahead], NOW) == [one.headlines[0]]
    assert one.scores(NOW) == {}
    assert one.scores(NOW + HOUR / 2)["INFY"].weight == 1


def test_memory_is_bounded_and_the_oldest_leave():
    one = board(max_headlines=3)
    new = one.add([news(f"good number {n}", n * HOUR) for n in range(6)], NOW)
    assert [h.title for h in new] == ["good number 2", "good number 1", "good number 0"]
    assert len(one) == 3
    one.forget(NOW + one.kept_for)
    assert (len(one), dict(one._with_word)) == (0, {})


def test_of_thousands_only_few_are_compared(monkeypatch):
    compared = []
    monkeypatch.setattr(board_module, "similarity", lambda *sets: compared.append(sets) or similarity(*sets))
    one = board()
    names = [f"{a}{b}{c}" for a in ascii_letters[:26] for b in ascii_letters[:26] for c in ascii_letters[:3]]
    towns = ("Agra", "Bhopal", "Cochin", "Delhi", "Erode")
    one.add([news(f"{name} of {towns[n % 5]} reports good sales") for n, name in enumerate(names)], NOW)
    assert len(one) == len(names) == 2_028
    assert len(compared) < len(names) ** 2 / 8  # a fifth of those before; with numbers or symbols, fewer


WORDS = st.lists(st.sampled_from("abcdefghij"), min_size=1)


@given(st.lists(WORDS, max_size=12))
def test_no_two_kept_are_nearly_the_same_and_everything_left_out_is(titles):
    one = board()
    headlines = [news(" ".join(words), n * timedelta(minutes=1)) for n, words in enumerate(titles)]
    kept = [frozenset(h.title.split()) for h in one.add(headlines, NOW)]
    for n, words in enumerate(kept):
        assert all(similarity(words, other) < 0.8 for other in kept[:n])
    for headline in headlines:
        assert any(similarity(frozenset(headline.title.split()), other) >= 0.8 for other in kept)


def test_what_was_kept_restores_the_board():
    one, again = board(), board()
    one.add([news("good Infosys", HOUR), news("bad TCS")], NOW)
    again.add(one.headlines, NOW)
    assert again.scores(NOW) == one.scores(NOW)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="half_life"):
        board(half_life=timedelta(0))
    with pytest.raises(ValueError, match="time zone"):
        board().scores(datetime(2026, 11, 25))  # noqa: DTZ001 - what is refused


def test_the_default_scorer_scores():
    one = HeadlineBoard(TAGGER)
    (good,) = one.add([news("Infosys beats estimates, raises guidance")], NOW)
    assert one.score_of(good.headline_id) > 0.5
    assert one.score_of("unknown") is None
