from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.market.instruments import Instrument
from engines.trading.charges import Charges, charges_of, rates, settlement_charges

D = Decimal
DAY = date(2026, 11, 25)
SHARE = Instrument("SBIN", "State Bank of India", "equity")
FUTURE = Instrument("NIFTY26NOVFUT", "", "future", lot_size=65, underlying="NIFTY", expiry=date(2026, 11, 24))
OPTION = Instrument(
    "NIFTY26NOV25000CE",
    "",
    "option",
    lot_size=65,
    underlying="NIFTY",
    expiry=date(2026, 11, 24),
    strike=D(25000),
    option_type="CE",
)
KINDS = [(SHARE, "DELIVERY"), (SHARE, "INTRADAY"), (FUTURE, "NORMAL"), (OPTION, "NORMAL")]


def test_the_worked_example():
    """5,000 shares bought and sold at 1,000 rupees, NSE delivery, no brokerage: 11,124.06 rupees."""
    buy = charges_of(SHARE, "BUY", 5_000, D(1_000), "DELIVERY", DAY)
    sell = charges_of(SHARE, "SELL", 5_000, D(1_000), "DELIVERY", DAY)
    assert buy.stt + sell.stt == 10_000
    assert buy.exchange + sell.exchange == 307
    assert buy.sebi + sell.sebi == 10
    assert (buy.stamp_duty, sell.stamp_duty) == (750, 0)
    assert buy.gst + sell.gst == D("57.06")
    assert buy.brokerage + sell.brokerage == 0
    assert buy.total + sell.total == D("11124.06")


def test_intraday_by_hand():
    """100 bought at 100 and sold at 102 with a discount broker; each line by hand."""
    buy = charges_of(SHARE, "BUY", 100, D(100), "INTRADAY", DAY, "DISCOUNT")
    sell = charges_of(SHARE, "SELL", 100, D(102), "INTRADAY", DAY, "DISCOUNT")
    assert buy == Charges(D("3.00"), D(0), D("0.31"), D("0.01"), D("0.30"), D("0.60"))
    assert sell == Charges(D("3.06"), D("2.55"), D("0.31"), D("0.01"), D(0), D("0.61"))


def test_one_nifty_option_lot_by_hand():
    """65 at a premium of 146, bought and sold: turnover 9,490 each way."""
    buy = charges_of(OPTION, "BUY", 65, D(146), "NORMAL", DAY, "DISCOUNT")
    sell = charges_of(OPTION, "SELL", 65, D(146), "NORMAL", DAY, "DISCOUNT")
    assert buy == Charges(D(20), D(0), D("3.37"), D("0.01"), D("0.28"), D("4.21"))
    assert sell == Charges(D(20), D("14.24"), D("3.37"), D("0.01"), D(0), D("4.21"))


@pytest.mark.parametrize(
    ("instrument", "day", "share"),
    [
        (FUTURE, date(2024, 10, 1), "0.0002"),
        (FUTURE, date(2026, 3, 31), "0.0002"),
        (FUTURE, date(2026, 4, 1), "0.0005"),
        (OPTION, date(2026, 3, 31), "0.001"),
        (OPTION, date(2026, 4, 1), "0.0015"),
        (OPTION, date(2012, 1, 2), "0.001"),  # before the first row, the first row
    ],
)
def test_securities_transaction_tax_of_derivatives_by_date(instrument, day, share):
    assert charges_of(instrument, "SELL", 65, D(1_000), "NORMAL", day).stt == D(share) * 65_000
    assert charges_of(instrument, "BUY", 65, D(1_000), "NORMAL", day).stt == 0


@pytest.mark.parametrize(
    ("instrument", "product", "price", "expected"),
    [
        (SHARE, "DELIVERY", D(1_000), 0),
        (SHARE, "INTRADAY", D(100), D("19.50")),
        (SHARE, "INTRADAY", D(1_000), 20),
        (FUTURE, "NORMAL", D(25_000), 20),
        (OPTION, "NORMAL", D("0.05"), 20),
    ],
)
def test_the_discount_plan(instrument, product, price, expected):
    assert charges_of(instrument, "BUY", 650, price, product, DAY, "DISCOUNT").brokerage == expected
    assert charges_of(instrument, "BUY", 650, price, product, DAY).brokerage == 0


@given(
    st.sampled_from(KINDS),
    st.lists(st.tuples(st.integers(1, 2_000), st.decimals("0.05", 3_000, places=2)), min_size=1, max_size=20),
)
def test_brokerage_is_capped_over_all_fills_of_an_order(kind, fills):
    instrument, product = kind
    so_far = D(0)
    for quantity, price in fills:
        charges = charges_of(instrument, "BUY", quantity, price, product, DAY, "DISCOUNT", brokerage_so_far=so_far)
        assert charges.brokerage >= 0
        so_far += charges.brokerage
    assert so_far <= 20
    if instrument is OPTION:
        assert so_far == 20


@given(
    st.sampled_from(KINDS),
    st.sampled_from(["BUY", "SELL"]),
    st.sampled_from(["ZERO", "DISCOUNT"]),
    st.integers(1, 10**6),
    st.decimals("0.05", 10**5, places=2),
)
def test_every_line_is_a_share_of_the_value_to_the_paisa(kind, side, plan, quantity, price):
    instrument, product = kind
    charges = charges_of(instrument, side, quantity, price, product, DAY, plan)
    lines = [charges.brokerage, charges.stt, charges.exchange, charges.sebi, charges.stamp_duty, charges.gst]
    assert charges.total == sum(lines)
    assert all(line >= 0 and line == line.quantize(D("0.01")) for line in lines)
    segment = {"DELIVERY": "equity_delivery", "INTRADAY": "equity_intraday"}.get(product, instrument.kind)
    of_day, value = rates(segment, DAY), quantity * price
    assert abs(charges.stt - value * (of_day.stt_buy if side == "BUY" else of_day.stt_sell)) <= D("0.005")
    assert abs(charges.exchange - value * of_day.exchange) <= D("0.005")
    assert abs(charges.gst - D("0.18") * (charges.brokerage + charges.exchange + charges.sebi)) <= D("0.005")


def test_exercise_is_taxed_on_the_intrinsic_value_and_only_for_the_holder():
    assert settlement_charges(OPTION, 65, D(100), date(2026, 3, 31)).total == D("8.13")  # 6,500 * 0.125 %
    assert settlement_charges(OPTION, 65, D(100), DAY).total == D("9.75")  # 6,500 * 0.15 %
    assert settlement_charges(OPTION, -65, D(100), DAY).total == 0
    assert settlement_charges(OPTION, 65, D(0), DAY).total == 0
    assert settlement_charges(FUTURE, 65, D(25_000), DAY).total == 0


def test_what_cannot_be_charged_is_said():
    with pytest.raises(ValueError, match="SBIN cannot be traded as NORMAL: it must be DELIVERY or INTRADAY"):
        charges_of(SHARE, "BUY", 1, D(1), "NORMAL", DAY)
    with pytest.raises(ValueError, match="an index is not traded"):
        charges_of(Instrument("NIFTY", "NIFTY 50", "index"), "BUY", 1, D(1), "NORMAL", DAY)
    with pytest.raises(ValueError, match="neither may be negative"):
        charges_of(SHARE, "BUY", -1, D(1), "DELIVERY", DAY)
