"""Scores against labelled headlines and plain VADER."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from engines.trading.sentiment.scoring import HeadlineScorer, default_scorer
from engines.trading.sentiment.words import finance_words, parse_finance_words, words_of

NEUTRAL = 0.1
LABELLED = [
    (kind, int(label), title)
    for kind, label, title in (
        line.split("\t")
        for line in Path(__file__).with_name("sentiment_headlines.tsv").read_text("utf-8").splitlines()
        if not line.startswith("#")
    )
]


def accuracy(score, kind):
    right = [label == (score(title) > NEUTRAL) - (score(title) < -NEUTRAL) for k, label, title in LABELLED if k == kind]
    return sum(right) / len(right)


@pytest.mark.parametrize("kind", ["seen", "held_out"])
def test_headlines_are_read_better_than_by_plain_vader(kind):
    plain = SentimentIntensityAnalyzer()
    ours = accuracy(default_scorer().score, kind)
    assert ours >= 0.9
    assert ours >= accuracy(lambda title: plain.polarity_scores(title)["compound"], kind) + 0.25


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("Acme net loss narrows", "Acme net loss widens"),
        ("Acme cuts debt", "Acme debt jumps"),
        ("Gross NPAs decline at Acme", "Gross NPAs rise at Acme"),
        ("Inflation cools", "Inflation accelerates"),
        ("Rate hike fears ease", "Rate hike fears mount"),
        ("Rupee recovers from record low", "Rupee hits record low"),
        ("Acme exits insolvency", "Acme slips into insolvency"),
        ("Acme not in default", "Acme in default"),
    ],
)
def test_direction_depends_on_what_moves(good, bad):
    assert default_scorer().score(good) > NEUTRAL
    assert default_scorer().score(bad) < -NEUTRAL


@pytest.mark.parametrize(
    "title", ["Gross interest on securities shares", "Vice chairman of crude trust", "NPA", "LT", "", "2026"]
)
def test_words_of_the_trade_say_nothing_good(title):
    assert default_scorer().score(title) <= 0
    assert default_scorer().score(title) > -0.3


def test_capitals_hyphens_and_curly_quotes_make_no_difference():
    score = default_scorer().score
    assert score("Acme turns debt-free") == score("ACME TURNS DEBT FREE")
    assert score("Acme isn\N{RIGHT SINGLE QUOTATION MARK}t in default") == score("Acme isn't in default")


@given(st.text(max_size=400))
def test_any_text_has_a_finite_score(text):
    assert -1 <= default_scorer().score(text) <= 1


def test_one_scorer_does_not_change_another():
    words = parse_finance_words("[words]\nacme\t4\n")
    assert HeadlineScorer(words).score("acme") > 0.5
    assert default_scorer().score("acme") == 0
    assert SentimentIntensityAnalyzer().lexicon["gross"] < 0


def test_the_list_is_sound():
    words = finance_words()
    assert len(words.valence) > 300
    assert words.directions["narrows"] == -1
    assert words.valence["surges"] > words.valence["rises"] > 0 > words.valence["falls"] > words.valence["plunges"]
    assert "net loss" in words.bad_when_up


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[words]\nx\t5", "line 2: a valence is from -4 to 4, not '5'"),
        ("[words]\nx\tnan", "not 'nan'"),
        ("[words]\nx\t1\nx\t2", "line 3: 'x' needs one valence"),
        ("[words]\nx", "needs one valence"),
        ("[words]\nDebt-free\t1", "line 2: 'Debt-free' is not made of lower-case words"),
        ("[sideways]\nx", "no section"),
        ("x\t1", "before any section"),
    ],
)
def test_a_wrong_list_is_refused_by_line(text, problem):
    with pytest.raises(ValueError, match=problem.replace("[", r"\[")):
        parse_finance_words(text)


def test_words_keep_decimals_and_inner_signs():
    assert words_of("M&M's profit up 5.2%, at ₹1,200-crore") == ["M&M's", "profit", "up", "5.2%", "at", "1200", "crore"]
