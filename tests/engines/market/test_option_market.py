import asyncio
import itertools
import math
from collections import defaultdict
from datetime import date, timedelta
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.market.calendar import IST, next_session_day, session_open
from engines.market.data import MarketData
from engines.market.feeds.option_market import SURFACES, OptionMarket
from engines.market.feeds.simulated import SimulatedFeed
from engines.market.feeds.volatility_surface import SurfaceParameters, VolatilitySurface
from engines.options.implied_volatility import implied_volatility

MONDAY = date(2026, 1, 5)  # NIFTY expires on Tuesday the 6th
SPOTS = {"NIFTY": 25_000.0, "BANKNIFTY": 56_000.0}
MINUTE = 1 / 375


def opened(seed=1, day=MONDAY, spots=SPOTS):
    market = OptionMarket(seed)
    assert market.list_contracts(day, spots)
    return market


def at(day=MONDAY, minutes=60):
    return session_open(day) + timedelta(minutes=minutes)


def chains(market, quotes):
    """(calls, puts) of each (underlying, expiry), in the order of the strikes: (strike, quote)."""
    found = defaultdict(lambda: ([], []))
    for contract, quote in zip(market.instruments, quotes, strict=True):
        assert contract.symbol == quote.symbol
        side = found[contract.underlying, contract.expiry][contract.option_type == "PE"]
        side.append((float(contract.strike), quote))
    return found


def test_two_expiries_of_41_strikes_in_calls_and_puts_are_listed():
    market = opened()
    found = chains(market, market.quote(at(), SPOTS, MINUTE))
    expected = [
        ("NIFTY", date(2026, 1, 6), 50),
        ("NIFTY", date(2026, 1, 13), 50),
        ("BANKNIFTY", date(2026, 1, 27), 100),
        ("BANKNIFTY", date(2026, 2, 24), 100),
    ]
    assert list(found) == [(underlying, expiry) for underlying, expiry, _ in expected]
    for underlying, expiry, step in expected:
        calls, puts = found[underlying, expiry]
        strikes = [strike for strike, _ in calls]
        assert strikes == [SPOTS[underlying] + step * n for n in range(-20, 21)]
        assert strikes == [strike for strike, _ in puts]
    assert {i.lot_size for i in market.instruments if i.underlying == "NIFTY"} == {65}


def test_every_quote_is_on_the_tick_in_whole_lots_and_not_crossed():
    market = opened()
    for minute in range(1, 376, 25):  # until the last second of the day before expiry
        for contract, quote in zip(market.instruments, market.quote(at(minutes=minute), SPOTS, MINUTE), strict=True):
            for price in (quote.last, quote.bid, quote.ask):
                assert Decimal(str(price)) % contract.tick_size == 0
            assert 0 <= quote.bid < quote.ask
            assert quote.last > 0
            assert quote.bid <= quote.last <= quote.ask
            for units in (quote.bid_size, quote.ask_size, quote.open_interest, quote.volume):
                assert units >= 0
                assert units % contract.lot_size == 0
            assert (quote.bid == 0) == (quote.bid_size == 0)
            assert quote.ask_size > 0
            assert quote.previous_close > 0


@pytest.mark.parametrize(("day", "minutes"), [(MONDAY, 1), (date(2026, 1, 6), 180), (date(2026, 1, 6), 375)])
def test_no_arbitrage_beyond_the_spread(day, minutes):
    market = opened(day=day)
    for calls, puts in chains(market, market.quote(at(day, minutes), SPOTS, MINUTE)).values():
        for (low, lower), (high, higher) in itertools.pairwise(calls):
            assert higher.bid <= lower.ask  # a call of a higher strike is not worth more
            assert lower.bid - higher.ask <= high - low
        for (low, lower), (high, higher) in itertools.pairwise(puts):
            assert lower.bid <= higher.ask
            assert higher.bid - lower.ask <= high - low
        for side in (calls, puts):
            for (_, left), (_, middle), (_, right) in zip(side, side[1:], side[2:], strict=False):
                assert 2 * middle.bid <= left.ask + right.ask + 1e-9  # a butterfly costs something


def test_puts_and_calls_are_in_parity_within_the_spread():
    market = opened()
    moment = at()
    for (underlying, expiry), (calls, puts) in chains(market, market.quote(moment, SPOTS, MINUTE)).items():
        closing = session_open(expiry) + timedelta(seconds=22_500)
        years = (closing - moment).total_seconds() / (365 * 86_400)
        for (strike, call), (_, put) in zip(calls, puts, strict=True):
            worth = SPOTS[underlying] - strike * math.exp(-0.065 * years)
            assert call.bid - put.ask - 1e-9 <= worth <= call.ask - put.bid + 1e-9


def test_the_spread_widens_away_from_the_money_and_what_is_worthless_has_no_bid():
    market = opened()
    expiry_day = date(2026, 1, 6)
    market.list_contracts(expiry_day, SPOTS)
    calls, _ = chains(market, market.quote(at(expiry_day, 370), SPOTS, MINUTE))["NIFTY", expiry_day]
    spread = {strike: quote.ask - quote.bid for strike, quote in calls}
    assert spread[24_200] > spread[24_600] > spread[25_000]
    assert (calls[-1][1].bid, calls[-1][1].last) == (0, 0.05)


def test_low_strikes_have_the_higher_volatility_and_it_can_be_read_from_the_prices():
    market = opened()
    moment = at()
    calls, puts = chains(market, market.quote(moment, SPOTS, MINUTE))["NIFTY", date(2026, 1, 13)]
    years = (session_open(date(2026, 1, 13)) + timedelta(seconds=22_500) - moment).total_seconds() / (365 * 86_400)
    strikes = np.array([24_500.0, 25_500.0])
    prices = np.array([(dict(side)[k].bid + dict(side)[k].ask) / 2 for side, k in ((puts, 24_500), (calls, 25_500))])
    forward = SPOTS["NIFTY"] * math.exp(0.065 * years)
    low, high = implied_volatility(
        prices, forward, strikes, years, 0.065, is_call=np.array([False, True])
    ).volatility.tolist()
    assert 0.10 < high < 0.135 < low < 0.20


def test_open_interest_and_volume_gather_at_round_strikes_near_the_money():
    market = opened()
    traded = defaultdict(float)
    for minute in range(1, 20):
        quotes = market.quote(at(minutes=minute), SPOTS, MINUTE)
        for quote in quotes:
            traded[quote.symbol] += quote.volume
    calls, _ = chains(market, quotes)["NIFTY", date(2026, 1, 13)]
    interest = {strike: quote.open_interest for strike, quote in calls}
    volume = {strike: traded[quote.symbol] for strike, quote in calls}
    for measure in (interest, volume):
        assert measure[25_500] > 1.2 * max(measure[25_450], measure[25_550])
        assert measure[25_000] > measure[24_000]


def test_open_interest_moves_and_never_falls_below_nothing():
    market = opened()
    moment, seen = session_open(MONDAY), []
    for _ in range(40):
        moment += timedelta(minutes=5)
        seen.append([quote.open_interest for quote in market.quote(moment, SPOTS, 5 * MINUTE)])
    assert np.min(seen) >= 0
    assert np.all(np.ptp(seen, axis=0) > 0)


def test_strikes_follow_the_spot_and_the_old_ones_stay():
    market = opened()
    market.quote(at(minutes=1), SPOTS, MINUTE)
    before = {i.symbol for i in market.instruments}
    near = SPOTS | {"NIFTY": 25_500.0}
    assert not market.recentre(MONDAY, near, SPOTS)
    moved = SPOTS | {"NIFTY": 25_510.0}
    assert market.recentre(MONDAY, moved, SPOTS)
    after = {i.symbol for i in market.instruments}
    assert before < after
    assert len(after) - len(before) == 2 * 2 * 10
    assert max(i.strike for i in market.instruments if i.underlying == "NIFTY") == 26_500
    assert {quote.symbol for quote in market.quote(at(minutes=2), moved, MINUTE)} == after
    assert not market.recentre(MONDAY, moved, SPOTS)


def test_a_new_day_drops_what_expired_and_lists_the_next_expiry():
    market = opened()
    tuesday, wednesday = date(2026, 1, 6), date(2026, 1, 7)
    assert not market.list_contracts(tuesday, SPOTS)
    last = {quote.symbol: quote.last for quote in market.quote(at(tuesday, 375), SPOTS, MINUTE)}
    interest = {quote.symbol: quote.open_interest for quote in market.quote(at(tuesday, 375), SPOTS, 0.0)}
    last = {quote.symbol: quote.last for quote in market.quote(at(tuesday, 375), SPOTS, 0.0)}
    assert market.list_contracts(wednesday, SPOTS)
    expiries = sorted({i.expiry for i in market.instruments if i.underlying == "NIFTY"})
    assert expiries == [date(2026, 1, 13), date(2026, 1, 20)]
    quotes = market.quote(at(wednesday, 0), SPOTS, 0.0, 0.002)
    for quote in quotes:
        if quote.symbol in last:
            assert quote.previous_close == last[quote.symbol]
            assert quote.open_interest == pytest.approx(interest[quote.symbol], abs=65)
        assert quote.volume == 0
        assert quote.previous_close > 0


def test_a_fall_of_the_index_raises_volatility():
    levels = {}
    for name, move in (("fall", 0.97), ("rise", 1.03)):
        surface = VolatilitySurface(SURFACES["NIFTY"])
        surface.advance(math.log(move), 1 / 252, 0.0)
        levels[name] = surface.level
    assert levels["fall"] > 1.1 * SURFACES["NIFTY"].level
    assert levels["rise"] < 0.9 * SURFACES["NIFTY"].level


surfaces = st.builds(
    SurfaceParameters,
    level=st.floats(0.05, 0.6),
    long_level=st.floats(0.05, 0.6),
    index_volatility=st.just(0.13),
    reversion=st.floats(0.5, 10),
    skew=st.floats(-0.8, 0.8),
    curvature=st.floats(0.1, 1.1),
)


@given(surfaces, st.floats(-3, 3))
@settings(max_examples=100, deadline=None)
def test_total_variance_grows_with_time_and_the_smile_implies_a_density(parameters, shock):
    surface = VolatilitySurface(parameters)
    surface.advance(0.0, 1 / 50, shock)
    log_moneyness = np.linspace(-0.3, 0.3, 601)[:, np.newaxis]
    years = np.array([1 / 8_760, 1 / 365, 7 / 365, 30 / 365, 0.25, 1.0])
    variance = surface.total_variance(log_moneyness, years)
    assert np.all(variance > 0)
    assert np.all(np.diff(variance, axis=1) > 0)
    # Durrleman's condition, Gatheral and Jacquier (2014), equation 2.1, away from what finite differences can see
    for column in range(2, len(years)):
        w, k = variance[:, column], log_moneyness[:, 0]
        slope = np.gradient(w, k)
        bend = np.gradient(slope, k)
        g = (1 - k * slope / (2 * w)) ** 2 - slope**2 / 4 * (1 / w + 1 / 4) + bend / 2
        assert np.all(g[5:-5] > -1e-2)


@pytest.mark.parametrize("change", [{"level": 0.0}, {"skew": -1.0}, {"curvature": 1.5}, {"long_level": math.nan}])
def test_a_surface_that_admits_arbitrage_is_refused(change):
    with pytest.raises(ValueError, match=r"must|arbitrage"):
        SurfaceParameters(**{"level": 0.13, "long_level": 0.14, "index_volatility": 0.13} | change)


def run(feed, steps):
    async def collect():
        batches = feed.batches()
        got = [(await anext(batches), feed.listed) for _ in range(steps)]
        await batches.aclose()
        return got

    return asyncio.run(collect())


async def no_sleep(seconds):
    assert seconds > 0


def simulated(seed=7, speed=60.0, **options):
    return SimulatedFeed(start=MONDAY, sleep=no_sleep, seed=seed, speed=speed, **options)


@pytest.mark.parametrize(("speed", "every"), [(60.0, 4), (6_000.0, 4), (1.0, 1)])
def test_options_are_quoted_once_a_second_with_the_indices(speed, every):
    batches = [batch for batch, _ in run(simulated(speed=speed), 12)]
    assert [len(batch) > 14 for batch in batches] == [step % every == 0 for step in range(12)]
    for batch in batches:
        assert len({quote.time for quote in batch}) == 1
        assert [quote.symbol for quote in batch[:2]] == ["NIFTY", "BANKNIFTY"]


def test_options_do_not_change_the_indices_and_the_same_seed_makes_the_same_options():
    with_options, again = run(simulated(), 30), run(simulated(), 30)
    assert with_options == again
    without = run(simulated(options=False), 30)
    assert [batch[:14] for batch, _ in with_options] == [batch for batch, _ in without]
    assert run(simulated(seed=8), 1)[0] != with_options[0]


def test_listed_counts_changes_and_every_quote_is_of_a_listed_instrument():
    feed = simulated(speed=6_000.0)  # a session is 16 steps
    names = {feed.listed: {instrument.symbol for instrument in feed.instruments}}
    first = feed.instruments
    assert len(first) == 14 + 4 * 82

    async def follow():
        batches = feed.batches()
        for _ in range(16 * 12):
            batch = await anext(batches)
            names.setdefault(feed.listed, {instrument.symbol for instrument in feed.instruments})
            assert names[feed.listed] == {instrument.symbol for instrument in feed.instruments}
            assert {quote.symbol for quote in batch} <= names[feed.listed]
            day = batch[0].time.astimezone(IST).date()
            assert all(i.expiry is None or i.expiry >= day for i in feed.instruments)
        await batches.aclose()

    asyncio.run(follow())
    assert len(names) >= 3
    assert len(first) == 14 + 4 * 82  # what was handed out does not change
    assert feed.instruments[:14] == first[:14]


def test_the_quote_filter_lets_the_whole_market_through_over_an_expiry():
    market = MarketData(simulated(speed=600.0), lambda: 0.0)  # a session is 150 steps

    async def follow():
        batches = market.feed.batches()
        for _ in range(151 * 3):
            assert market.take(await anext(batches)).quotes
        await batches.aclose()

    asyncio.run(follow())
    assert dict(market.rejected) == {}
    assert market.market_time.astimezone(IST).date() == next_session_day(next_session_day(MONDAY))
