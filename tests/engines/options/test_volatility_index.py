"""Against Cboe's own worked examples, flat smiles, and the integral that the sum stands for."""

import csv
import math
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from engines.options.black76 import greeks
from engines.options.quotes import ChainQuotes
from engines.options.volatility_index import IvRank, term_variance, volatility_index
from tests.engines.options.samples import FORWARD, RATE, chain_of, side_quotes

# Out-of-the-money and near-the-money quotes of the appendix of Cboe's white paper
WHITE_PAPER = Path(__file__).parent / "data" / "cboe_white_paper.csv"
MINUTES_PER_YEAR = 525_600


def white_paper_chain(term):
    quoted = {}
    with WHITE_PAPER.open() as file:
        for row in csv.DictReader(file):
            if row["term"] == term:
                quoted.setdefault(float(row["strike"]), {})[row["side"]] = float(row["bid"]), float(row["ask"])
    strikes = sorted(quoted)
    sides = (
        side_quotes(*np.array([quoted[strike].get(side, (math.nan, math.nan)) for strike in strikes]).T)
        for side in ("call", "put")
    )
    return ChainQuotes("SPX", date(2000, 1, 1), math.nan, np.array(strikes), *sides)


@pytest.mark.parametrize(
    ("minutes", "rates", "variances", "index"),
    [
        ((35_924, 46_394), (0.000305, 0.000286), (0.01846292, 0.018821010), 13.69),  # white paper, 2019
        ((34_484, 44_954), (0.00031664, 0.00028797), (0.019233906, 0.019423884), 13.93),  # methodology, 2022 and later
    ],
)
def test_cboe_s_worked_examples(minutes, rates, variances, index):
    terms = [
        term_variance(white_paper_chain(name), minute / MINUTES_PER_YEAR, rate)
        for name, minute, rate in zip(("near", "next"), minutes, rates, strict=True)
    ]
    assert [term.forward for term in terms] == pytest.approx([1962.89996, 1962.40006], abs=1e-5)
    assert [term.strike_zero for term in terms] == [1960, 1960]
    assert [(term.lowest_strike, term.highest_strike) for term in terms] == [(1370, 2125), (1275, 2200)]
    assert [term.variance for term in terms] == pytest.approx(variances, abs=5e-9)
    found = volatility_index(terms)
    assert found.method == "interpolated"
    assert round(found.value, 2) == index


FINE = np.arange(15_000.0, 40_000.0, 10.0)


@pytest.mark.parametrize("volatility", [0.10, 0.25])
def test_of_a_flat_smile_it_is_the_volatility(volatility):
    terms = [term_variance(chain_of(volatility, strikes=FINE, years=days / 365), days / 365, RATE) for days in (23, 37)]
    assert volatility_index(terms).value == pytest.approx(100 * volatility, rel=1e-3)


def test_the_sum_tends_to_the_integral_over_a_skewed_smile():
    years = 30 / 365

    def volatility(strike):
        return 0.14 - 0.15 * math.log(strike / FORWARD)

    def integrand(strike):
        price = greeks(FORWARD, np.array([strike]), years, volatility(strike), RATE, is_call=strike >= FORWARD).price[0]
        return price / strike**2

    lower, upper = (quad(integrand, *ends, epsabs=1e-14)[0] for ends in ((15_000, FORWARD), (FORWARD, 35_000)))
    expected = 2 / years * math.exp(RATE * years) * (lower + upper)
    smile = np.array([volatility(strike) for strike in FINE])
    found = term_variance(chain_of(smile, strikes=FINE, years=years), years, RATE)
    assert found.variance == pytest.approx(expected, rel=2e-3)


def test_two_expiries_on_one_side_of_30_days_are_not_extrapolated():
    week, fortnight, late = (
        term_variance(chain_of(volatility, strikes=FINE, years=days / 365), days / 365, RATE)
        for days, volatility in ((7, 0.12), (14, 0.16), (60, 0.2))
    )
    found = volatility_index([fortnight, None, week])
    assert (found.method, found.near, found.next) == ("nearest_term", fortnight, None)
    assert found.value == pytest.approx(16, rel=1e-3)
    assert volatility_index([late]).value == pytest.approx(20, rel=1e-3)
    assert volatility_index([None]) is None


def test_total_variance_is_linear_between_the_expiries():
    near, following = (
        term_variance(chain_of(volatility, strikes=FINE, years=days / 365), days / 365, RATE)
        for days, volatility in ((20, 0.12), (50, 0.2))
    )
    expected = math.sqrt((20 * near.variance * 20 / 30 + 50 * following.variance * 10 / 30) / 30)
    assert volatility_index([following, near]).value == pytest.approx(100 * expected)


def test_two_running_without_a_bid_end_the_strip():
    chain = chain_of(0.14, half_spread=0.01)
    puts = chain.puts.bid.copy()
    puts[[10, 5, 4]] = 0.0  # 10 alone is left out; 5 and 4 end it
    cut = ChainQuotes("NIFTY", chain.expiry, chain.spot, chain.strikes, chain.calls, side_quotes(puts, chain.puts.ask))
    found = term_variance(cut, 0.02, RATE)
    assert found.lowest_strike == chain.strikes[6]
    assert found.option_count == (41 - 6) - 1


@pytest.mark.parametrize("years", [0.0, -1.0, math.nan])
def test_there_is_none_after_the_expiry(years):
    assert term_variance(chain_of(0.14), years, RATE) is None


def test_there_is_none_without_quotes_or_with_too_few():
    chain = chain_of(0.14)
    empty = side_quotes(np.zeros(41), np.zeros(41))
    assert term_variance(ChainQuotes("NIFTY", chain.expiry, 1.0, chain.strikes, chain.calls, empty), 0.02, RATE) is None
    assert term_variance(chain_of(0.14, strikes=np.array([25_000.0])), 0.02, RATE) is None
    assert term_variance(chain_of(0.14, strikes=np.array([25_050.0, 25_100.0])), 0.02, RATE) is None


@given(st.lists(st.tuples(*[st.floats() | st.floats(0, 500)] * 4), min_size=1, max_size=12), st.floats(1e-9, 2))
def test_whatever_is_quoted_it_is_a_number_or_none(rows, years):
    call_bid, call_ask, put_bid, put_ask = np.array(rows).T
    strikes = 24_000.0 + 50.0 * np.arange(len(rows))
    sides = side_quotes(call_bid, call_ask), side_quotes(put_bid, put_ask)
    found = volatility_index([term_variance(ChainQuotes("NIFTY", date(2026, 1, 6), 1.0, strikes, *sides), years, RATE)])
    assert found is None or (math.isfinite(found.value) and found.value > 0)


def days(count):
    return [date(2026, 1, 1) + timedelta(days=n) for n in range(count)]


def test_rank_and_percentile_of_known_days():
    ranks = IvRank([(day, 0.10 + 0.01 * n) for n, day in enumerate(days(11))], minimum_days=10)
    assert ranks.iv_rank(0.15) == pytest.approx(50)
    assert ranks.iv_percentile(0.145) == pytest.approx(100 * 5 / 11)
    assert (ranks.iv_rank(0.05), ranks.iv_rank(0.5)) == (0, 100)
    assert (ranks.iv_percentile(0.05), ranks.iv_percentile(0.5)) == (0, 100)


def test_there_is_no_rank_before_enough_days_or_when_all_are_alike():
    ranks = IvRank(minimum_days=3)
    for day in days(2):
        ranks.add(day, 0.1)
    ranks.add(days(2)[-1], 0.1)  # the same day again
    for nothing in (None, math.nan, 0.0):
        ranks.add(days(3)[-1], nothing)
    assert ranks.iv_rank(0.1) is None
    assert ranks.iv_percentile(0.1) is None
    ranks.add(days(3)[-1], 0.1)
    assert ranks.iv_rank(0.1) is None
    assert ranks.iv_percentile(0.2) == 100
    assert ranks.iv_percentile(math.nan) is None


def test_the_window_moves_and_history_restores():
    ranks = IvRank([(day, 0.1 + 0.01 * n) for n, day in enumerate(days(20))], window_days=5, minimum_days=5)
    assert len(ranks.history) == 5
    again = IvRank(ranks.history, window_days=5, minimum_days=5)
    assert again.iv_rank(0.27) == ranks.iv_rank(0.27) == pytest.approx(50)
    with pytest.raises(ValueError, match="in order"):
        ranks.add(date(2025, 1, 1), 0.1)
    with pytest.raises(ValueError, match="minimum_days"):
        IvRank(window_days=5, minimum_days=6)
