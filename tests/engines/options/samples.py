"""Chains for tests: quotes around Black's prices of a given smile."""

from datetime import date, datetime

import numpy as np

from engines.market.calendar import IST
from engines.options.black76 import greeks
from engines.options.quotes import ChainQuotes, SideQuotes

EXPIRY = date(2026, 1, 13)
NOW = datetime(2026, 1, 6, 11, 0, tzinfo=IST)
CLOSE = datetime(2026, 1, 13, 15, 30, tzinfo=IST)
YEARS = (CLOSE - NOW).total_seconds() / (365 * 86_400)
FORWARD, RATE = 25_013.0, 0.065
STRIKES = 25_000.0 + 50.0 * np.arange(-20, 21)


def side_quotes(bid, ask, last=None, *, open_interest=0.0, volume=0.0):
    count = len(bid)
    full = [np.broadcast_to(np.asarray(each, dtype=float), count) for each in (open_interest, volume, 65.0, 65.0)]
    return SideQuotes(bid, ask, np.full(count, np.nan) if last is None else last, *full)


def chain_of(volatility, *, strikes=STRIKES, years=YEARS, half_spread=0.0, spot=25_000.0, expiry=EXPIRY, **counts):
    """Both sides of every strike; `volatility` a number or one per strike."""
    sides = []
    for is_call in (True, False):
        middle = greeks(FORWARD, strikes, years, volatility, RATE, is_call=is_call).price
        sides.append(side_quotes(middle - half_spread, middle + half_spread, middle, **counts))
    return ChainQuotes("NIFTY", expiry, spot, strikes, *sides)
