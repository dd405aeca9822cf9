"""Analysing quotes: whole markets, thin ones, and nonsense."""

import math
from datetime import datetime, timedelta

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.market.calendar import IST
from engines.market.quotes import Bar
from engines.options.black76 import greeks
from engines.options.chain import ChainAnalysis, RealisedVolatility, analyse
from engines.options.quotes import ChainQuotes, SideQuotes
from tests.engines.options.samples import CLOSE, EXPIRY, FORWARD, NOW, RATE, STRIKES, YEARS, chain_of, side_quotes

MEASURES = ("delta", "gamma", "theta", "vega", "rho")
SMILE = 0.13 - 0.4 * np.log(STRIKES / FORWARD)


def test_it_finds_the_forward_the_volatilities_and_the_greeks_that_made_the_quotes():
    analysis = analyse(chain_of(SMILE, half_spread=0.01), NOW, RATE)
    assert analysis.forward == pytest.approx(FORWARD)
    assert analysis.forward_source == "parity"
    assert analysis.years == pytest.approx(YEARS)
    assert analysis.atm_iv == pytest.approx(0.13, abs=1e-6)
    assert analysis.risk_reversal_25 < 0
    for side, is_call in ((analysis.calls, True), (analysis.puts, False)):
        expected = greeks(FORWARD, STRIKES, YEARS, SMILE, RATE, is_call=is_call)
        assert side.iv == pytest.approx(SMILE.tolist(), abs=1e-6)
        assert side.reason == [None] * 41
        assert all(side.two_sided)
        for name in ("price", *MEASURES):
            assert getattr(side, name) == pytest.approx(getattr(expected, name).tolist(), rel=1e-5, abs=1e-6)


def test_open_interest_and_volume_are_counted():
    chain = chain_of(SMILE, open_interest=np.r_[np.zeros(20), 100.0, np.zeros(20)], volume=10.0)
    puts = side_quotes(chain.puts.bid, chain.puts.ask, open_interest=np.full(41, 5.0), volume=np.full(41, 20.0))
    analysis = analyse(ChainQuotes("NIFTY", EXPIRY, 25_000.0, STRIKES, chain.calls, puts), NOW, RATE)
    assert (analysis.call_open_interest, analysis.put_open_interest) == (100, 205)
    assert (analysis.call_volume, analysis.put_volume) == (410, 820)
    assert analysis.pcr_open_interest == 2.05
    assert analysis.pcr_volume == 2
    assert analysis.max_pain == 25_000
    assert analyse(chain_of(SMILE), NOW, RATE).pcr_open_interest is None


def test_a_market_that_quotes_few_strikes_works():
    chain = chain_of(0.14)
    call_known, put_known = (np.isin(np.arange(41), known) for known in ([12, 21, 30], [18, 21]))
    calls, puts = (
        side_quotes(np.where(known, side.bid, 0.0), np.where(known, side.ask, 0.0))
        for side, known in ((chain.calls, call_known), (chain.puts, put_known))
    )
    analysis = analyse(ChainQuotes("NIFTY", EXPIRY, 25_000.0, STRIKES, calls, puts), NOW, RATE)
    assert analysis.forward == pytest.approx(FORWARD)
    assert analysis.atm_iv == pytest.approx(0.14)
    assert [index for index, iv in enumerate(analysis.calls.iv) if iv is not None] == [12, 21, 30]
    assert analysis.calls.reason[0] == "no_price"
    assert analysis.calls.price[0] is None
    # The put of strike 30 is not quoted: no volatility of its own, but Greeks at that of the call.
    assert (analysis.puts.iv[30], analysis.puts.reason[30]) == (None, "no_price")
    expected = greeks(FORWARD, STRIKES, YEARS, 0.14, RATE, is_call=False)
    assert analysis.puts.delta[30] == pytest.approx(expected.delta[30])
    assert analysis.puts.delta[0] is None


def test_without_a_pair_the_forward_is_the_spot_carried():
    chain = chain_of(0.14)
    nothing = side_quotes(np.zeros(41), np.zeros(41))
    analysis = analyse(ChainQuotes("NIFTY", EXPIRY, 25_000.0, STRIKES, chain.calls, nothing), NOW, RATE)
    assert analysis.forward == pytest.approx(25_000 * math.exp(RATE * YEARS))
    assert analysis.forward_source == "spot"
    alone = analyse(ChainQuotes("NIFTY", EXPIRY, math.nan, STRIKES, chain.calls, nothing), NOW, RATE)
    assert (alone.spot, alone.forward, alone.forward_source) == (None, None, None)
    assert set(alone.calls.reason) == {"no_forward"}
    assert set(alone.calls.delta) == {None}


def test_a_parity_forward_far_off_the_spot_is_not_believed():
    chain = chain_of(0.14)
    wild = side_quotes(chain.calls.bid + 9_000, chain.calls.ask + 9_000)
    analysis = analyse(ChainQuotes("NIFTY", EXPIRY, 25_000.0, STRIKES, wild, chain.puts), NOW, RATE)
    assert analysis.forward_source == "spot"


def test_a_price_below_intrinsic_has_a_reason_and_the_greeks_of_its_strike():
    chain = chain_of(0.14)
    low = np.where(np.arange(41) == 2, 500.0, chain.calls.bid)
    analysis = analyse(ChainQuotes("NIFTY", EXPIRY, 25_000.0, STRIKES, side_quotes(low, low), chain.puts), NOW, RATE)
    assert (analysis.calls.iv[2], analysis.calls.reason[2]) == (None, "below_intrinsic")
    assert analysis.calls.delta[2] == pytest.approx(greeks(FORWARD, STRIKES, YEARS, 0.14, RATE, is_call=True).delta[2])


def test_the_last_second_is_analysed_and_after_it_all_is_expired():
    second = 1 / (365 * 86_400)
    strikes = FORWARD + np.arange(-3.0, 4.0)  # as wide apart as the market then still moves
    analysis = analyse(chain_of(0.14, years=second, strikes=strikes), CLOSE - timedelta(seconds=1), RATE)
    assert analysis.years == pytest.approx(second)
    assert analysis.atm_iv == pytest.approx(0.14, rel=1e-6)
    assert analysis.puts.iv == pytest.approx([0.14] * 7, rel=1e-4)
    listed = analyse(chain_of(0.14, years=second), CLOSE - timedelta(seconds=1), RATE)
    assert listed.atm_iv is None  # 37 points in a second are worth less than a double can hold
    assert listed.calls.reason[-1] == "no_price"
    assert listed.puts.reason[-1] == "no_time_value"
    after = analyse(chain_of(0.14), CLOSE, RATE)
    assert after.years == 0
    assert set(after.calls.reason) == {"expired"}
    assert set(after.calls.iv) == set(after.puts.vega) == {None}
    assert after.atm_iv is None


def test_a_rate_that_is_none_is_refused():
    for rate in (math.nan, 6.5):
        with pytest.raises(ValueError, match="fraction"):
            analyse(chain_of(0.14), NOW, rate)


def numbers(value):
    if isinstance(value, float):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from numbers(each)
    elif isinstance(value, list):
        for each in value:
            yield from numbers(each)


GARBAGE = st.one_of(st.floats(), st.floats(0.05, 3_000), st.sampled_from([0.0, -0.0, 0.05, 5e-324, 1e308, math.nan]))


@settings(deadline=None, max_examples=60)
@given(data=st.data(), spot=st.one_of(st.floats(), st.just(25_000.0)), seconds=st.floats(-1e3, 1e8))
def test_nothing_that_leaves_is_nan_whatever_came(data, spot, seconds):
    count = data.draw(st.integers(0, 6))
    strikes = np.array(sorted(data.draw(st.sets(st.floats(1e-6, 9e11), min_size=count, max_size=count))))
    column = st.lists(GARBAGE, min_size=count, max_size=count).map(lambda row: np.array(row, dtype=float))
    sides = [SideQuotes(*(data.draw(column) for _ in SideQuotes.__struct_fields__)) for _ in range(2)]
    now = CLOSE - timedelta(seconds=seconds)
    analysis = analyse(ChainQuotes("NIFTY", EXPIRY, spot, strikes, *sides), now, RATE)
    assert all(math.isfinite(each) for each in numbers(msgspec.to_builtins(analysis)))
    for side in (analysis.calls, analysis.puts):
        assert [iv is None for iv in side.iv] == [reason is not None for reason in side.reason]
    assert msgspec.json.decode(msgspec.json.encode(analysis), type=ChainAnalysis) == analysis


@given(noise=st.lists(st.floats(-0.3, 0.3), min_size=82, max_size=82), missing=st.sets(st.integers(0, 81), max_size=60))
def test_quotes_within_a_tick_or_so_keep_parity_and_order(noise, missing):
    chain = chain_of(SMILE, half_spread=0.5)
    kept = ~np.isin(np.arange(82), list(missing)).reshape(2, 41)
    shift = np.array(noise).reshape(2, 41)
    sides = [
        side_quotes(np.where(known, np.maximum(0.05, side.bid + by), 0), np.where(known, side.ask + by + 0.05, 0))
        for side, known, by in zip((chain.calls, chain.puts), kept, shift, strict=True)
    ]
    analysis = analyse(ChainQuotes("NIFTY", EXPIRY, 25_000.0, STRIKES, *sides), NOW, RATE)
    if analysis.forward_source == "parity":
        assert analysis.forward == pytest.approx(FORWARD, abs=2.5)
    for call, put in zip(analysis.calls.delta, analysis.puts.delta, strict=True):
        assert call is None or 0 <= call <= 1
        assert put is None or -1 <= put <= 0


def test_realised_volatility_finds_what_was_put_in():
    rng = np.random.default_rng(1)
    measured = RealisedVolatility(60, decay=0.999)
    price = 100.0
    for day in range(60):
        price *= 1.03  # the gap over night does not count
        for minute in range(375):
            price *= math.exp(rng.normal(0, 0.20 / math.sqrt(252 * 375)))
            time = datetime(2026, 1, 5, 9, 15, tzinfo=IST) + timedelta(days=day, minutes=minute)
            measured.add(Bar("X", time, price, price, price, price))
    assert measured.annualised == pytest.approx(0.20, rel=0.1)
    assert RealisedVolatility(60).annualised == 0.05


def test_realised_volatility_of_daily_bars():
    rng = np.random.default_rng(1)
    measured = RealisedVolatility(86_400, decay=0.999)
    price = 100.0
    for day in range(5_000):
        price *= math.exp(rng.normal(0, 0.20 / math.sqrt(252)))
        measured.add(Bar("X", datetime(2000, 1, 1, tzinfo=IST) + timedelta(days=day), price, price, price, price))
    assert measured.annualised == pytest.approx(0.20, rel=0.1)
