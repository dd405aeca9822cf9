"""Reading the market of an option: what counts as a price."""

import math
from datetime import date
from decimal import Decimal

import numpy as np
import pytest

from engines.market.instruments import Instrument
from engines.market.quotes import QuoteTick
from engines.options.quotes import ChainQuotes
from tests.engines.options.samples import EXPIRY, NOW, chain_of, side_quotes


@pytest.mark.parametrize(
    ("bid", "ask", "last", "price"),
    [
        (10.0, 12.0, 50.0, 11.0),
        (10.0, 10.0, 50.0, 10.0),
        (0.0, 12.0, 9.0, 9.0),
        (0.0, 12.0, 15.0, 12.0),  # an old trade above what one can buy at now
        (10.0, 0.0, 8.0, 10.0),
        (10.0, math.nan, 11.0, 11.0),
        (math.nan, math.nan, 11.0, 11.0),
        (12.0, 10.0, 11.5, 11.5),  # crossed: neither side says anything
        (0.0, 12.0, 0.0, None),
        (math.inf, math.inf, math.nan, None),
        (-1.0, -1.0, -1.0, None),
        (1e308, 1e308, 1e308, None),
    ],
)
def test_the_price_is_the_middle_else_the_last_within_what_is_quoted(bid, ask, last, price):
    quotes = side_quotes(np.array([bid]), np.array([ask]), np.array([last]))
    found = quotes.price[0]
    assert math.isnan(found) if price is None else found == price


def option(strike, side, expiry=EXPIRY, underlying="NIFTY"):
    symbol = f"{underlying}{expiry:%y%m%d}{strike}{side}"
    return Instrument(
        symbol, symbol, "option", underlying=underlying, expiry=expiry, strike=Decimal(strike), option_type=side
    )


def test_a_chain_is_built_from_ticks_and_instruments():
    instruments = [
        option(25_050, "CE"),
        option(25_000, "CE"),
        option(25_000, "PE"),
        option(25_000, "PE", date(2026, 1, 20)),
        option(25_000, "CE", underlying="BANKNIFTY"),
        Instrument("NIFTY", "NIFTY 50", "index"),
    ]
    symbol = instruments[1].symbol
    ticks = {
        symbol: QuoteTick(symbol, NOW, 101.0, 100.0, 102.0, 5.0, 130, 65, 7_000),
        "NIFTY": QuoteTick("NIFTY", NOW, 25_000.0, 25_000.0, 25_000.0),
    }
    chain = ChainQuotes.of("NIFTY", EXPIRY, 25_000.0, ticks, instruments, volumes={symbol: 900.0})
    assert chain.strikes.tolist() == [25_000.0, 25_050.0]
    assert [chain.calls.bid[0], chain.calls.ask[0], chain.calls.last[0]] == [100.0, 102.0, 101.0]
    assert [chain.calls.open_interest[0], chain.calls.volume[0], chain.calls.bid_size[0]] == [7_000, 900, 130]
    assert np.isnan(chain.calls.price[1])
    assert np.isnan(chain.puts.price).all()


def test_a_chain_without_instruments_is_empty():
    chain = ChainQuotes.of("NIFTY", EXPIRY, 25_000.0, {}, [])
    assert chain.strikes.size == chain.calls.bid.size == 0


@pytest.mark.parametrize("strikes", [[100.0, 100.0], [200.0, 100.0], [0.0, 1.0], [1.0, math.nan], [1.0, math.inf]])
def test_strikes_out_of_order_are_refused(strikes):
    side = side_quotes(np.ones(2), np.ones(2))
    with pytest.raises(ValueError, match="strictly rising"):
        ChainQuotes("NIFTY", EXPIRY, 1.0, np.array(strikes), side, side)


def test_sides_of_another_length_are_refused():
    chain = chain_of(0.14)
    with pytest.raises(ValueError, match="shape"):
        ChainQuotes("NIFTY", EXPIRY, 1.0, chain.strikes[:-1], chain.calls, chain.puts)
