from datetime import date
from decimal import Decimal

import pytest

from engines.market.instruments import Instrument
from engines.trading.margin import margin_required

D = Decimal
DAY = date(2026, 11, 25)
SHARE = Instrument("SBIN", "State Bank of India", "equity")


def future(underlying):
    return Instrument(f"{underlying}26NOVFUT", "", "future", lot_size=65, underlying=underlying, expiry=DAY)


def option(underlying, strike=25_000):
    return Instrument(
        f"{underlying}26NOV{strike}PE",
        "",
        "option",
        lot_size=65,
        underlying=underlying,
        expiry=DAY,
        strike=D(strike),
        option_type="PE",
    )


@pytest.mark.parametrize(
    ("instrument", "quantity", "price", "product", "expected"),
    [
        (SHARE, 10, 800, "DELIVERY", 8_000),
        (SHARE, 10, 800, "INTRADAY", 8_000),
        (SHARE, -10, 800, "INTRADAY", 1_600),
        (future("NIFTY"), 65, 25_000, "NORMAL", 195_000),  # 12 % of 1,625,000
        (future("NIFTY"), -65, 25_000, "NORMAL", 195_000),
        (future("SBIN"), 65, 800, "NORMAL", 10_400),  # any other: 20 %
        (option("NIFTY"), 65, 100, "NORMAL", 6_500),  # bought: the premium
        (option("NIFTY"), -65, 100, "NORMAL", 201_500),  # written: 12 % of strike * units, and the premium
        (option("SBIN", 800), -65, 10, "NORMAL", 11_050),
        (SHARE, 0, 800, "DELIVERY", 0),
    ],
)
def test_the_schedule(instrument, quantity, price, product, expected):
    assert margin_required(instrument, quantity, D(price), product, DAY) == expected


def test_a_multiplier_counts():
    gold = Instrument("X26NOVFUT", "", "future", multiplier=100, underlying="X", expiry=DAY)
    assert margin_required(gold, 1, D(50), "NORMAL", DAY) == 1_000


def test_a_product_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="must be NORMAL"):
        margin_required(future("NIFTY"), 65, D(1), "DELIVERY", DAY)
