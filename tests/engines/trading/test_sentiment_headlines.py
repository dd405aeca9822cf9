"""What is the same news, and whom it is about."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.market.instruments import NSE_UNIVERSE, Instrument
from engines.trading.sentiment.headlines import new_headline, normalise_title
from engines.trading.sentiment.tagging import SymbolTagger

NOW = datetime(2026, 11, 25, 6, tzinfo=UTC)
TAGGER = SymbolTagger(NSE_UNIVERSE)


@pytest.mark.parametrize(
    ("title", "source"),
    [
        ("Acme\N{RIGHT SINGLE QUOTATION MARK}s Q2 profit up 5.2%!", ""),
        ("ACME'S Q2 PROFIT UP 5.2%", ""),
        ("  Acme's  Q2 profit, up 5.2%. ", ""),
        ("Acme's Q2 profit up 5.2% - Reuters", ""),
        ("Acme's Q2 profit up 5.2% | The Economic Times", ""),
        ("Acme's Q2 profit up 5.2% \N{EN DASH} CNBC-TV18", ""),
        ("Acme's Q2 profit up 5.2% - Moneycontrol.com", ""),
        ("Acme's Q2 profit up 5.2% - Village Gazette", "Village Gazette"),
        ("UPDATE 2-Acme's Q2 profit up 5.2%", ""),
        ("BREAKING: Acme's Q2 profit up 5.2%", ""),
    ],
)
def test_the_same_title_has_one_id_however_it_is_set(title, source):
    headline = new_headline(title, published_at=NOW, source=source)
    assert normalise_title(title, source) == "acmes q2 profit up 5.2%"
    assert headline.headline_id == new_headline("Acmes Q2 profit up 5.2%", published_at=NOW).headline_id


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Acme profit up 5.2%", "Acme profit up 52%"),
        ("Nifty ends higher - banks lead", "Nifty ends higher"),
        ("M&M sales", "M M sales up"),
    ],
)
def test_different_titles_have_different_ids(one, other):
    assert new_headline(one, published_at=NOW).headline_id != new_headline(other, published_at=NOW).headline_id


@given(st.text(max_size=200), st.text(max_size=30))
def test_normalising_twice_changes_nothing(title, source):
    once = normalise_title(title, source)
    assert normalise_title(once) == once


def test_a_headline_is_tidied_and_bounded():
    kolkata = timezone(timedelta(hours=5, minutes=30))
    headline = new_headline(
        "  Much \n news " * 200,
        published_at=NOW.astimezone(kolkata),
        source="s" * 200,
        url="https://news.example/" + "x" * 600,
        symbols=[" infy", "INFY", ""],
    )
    assert headline.title.startswith("Much news Much")
    assert (len(headline.title) <= 300, len(headline.source), headline.url) == (True, 80, "")
    assert (headline.published_at, headline.published_at.tzinfo, headline.symbols) == (NOW, UTC, ("INFY",))


def test_what_a_store_gives_back_has_the_same_id():
    long = new_headline("words and words " * 60, published_at=NOW)
    assert new_headline(long.title, published_at=NOW).headline_id == long.headline_id


@pytest.mark.parametrize(
    ("title", "options", "problem"),
    [
        (" ?! ", {}, "no word"),
        ("News", {"published_at": datetime(2026, 11, 25)}, "time zone"),  # noqa: DTZ001 - what is refused
        ("News", {"published_at": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=5)))}, "out of range"),
        ("News", {"url": "javascript:alert(1)"}, "http"),
    ],
)
def test_what_is_no_headline_is_refused(title, options, problem):
    with pytest.raises(ValueError, match=problem):
        new_headline(title, **{"published_at": NOW, **options})


@pytest.mark.parametrize(
    ("title", "symbols"),
    [
        ("Infosys, TCS fall as Nifty slips", ("INFY", "TCS", "NIFTY")),
        ("Bank Nifty outpaces Nifty", ("BANKNIFTY", "NIFTY")),
        ("State Bank of India raises deposit rates", ("SBIN",)),
        ("SBI's profit beats estimates", ("SBIN",)),
        ("HDFC Bank Ltd and ICICI Bank Limited cut rates", ("HDFCBANK", "ICICIBANK")),
        ("L&T bags order; M&M sales rise", ("LT", "M&M")),
        ("Mahindra & Mahindra and Larsen & Toubro in pact", ("M&M", "LT")),
        ("RELIANCE, RIL, Reliance Industries", ("RELIANCE",)),
        ("Reliance Power surges", ()),
        ("India's reliance on imports grows", ()),
        ("Investors keep sbi and lt in mind", ()),
        ("Markets end flat", ()),
        ("", ()),
    ],
)
def test_symbols_are_found_by_name(title, symbols):
    assert TAGGER.tag(title) == symbols


def test_a_symbol_that_is_a_word_counts_in_capitals_only():
    tagger = SymbolTagger([Instrument("IDEA", "Vodafone Idea Limited", "equity")])
    assert tagger.tag("A big Idea for markets") == tagger.tag("A BIG IDEA FOR MARKETS") == ()
    assert tagger.tag("IDEA falls 3%") == tagger.tag("Vodafone Idea falls 3%") == ("IDEA",)


def test_derivatives_are_not_tagged():
    future = Instrument("INFY26NOVFUT", "INFY", "future", underlying="INFY")
    assert SymbolTagger([future]).symbols == frozenset()
