import csv
import gzip
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engines.market.calendar import expiries, monthly_expiry
from engines.market.files import UnusableFile
from engines.market.instruments import (
    DUMP_COLUMNS,
    NSE_UNIVERSE,
    Instrument,
    load_instruments,
    option_instruments,
    option_symbol,
)

HEADER = ",".join(DUMP_COLUMNS)
TODAY = date(2026, 11, 2)
GOOD = """\
408065,1594,INFY,INFOSYS,0,,,0.05,1,EQ,NSE,NSE
519937,2031,M&M,MAHINDRA & MAHINDRA,0.0,,0.0,0.05,1,EQ,NSE,NSE
256265,1001,NIFTY 50,NIFTY 50,0,,0,0,0,EQ,INDICES,NSE
264969,1035,INDIA VIX,INDIA VIX,0,,0,0,0,EQ,INDICES,NSE
12345,48,NIFTY26NOVFUT,"NIFTY",0,2026-11-23,0,0.1,65,FUT,NFO-FUT,NFO
12346,49,NIFTY26N1725000CE,"NIFTY",0,2026-11-17,25000,0.05,65,CE,NFO-OPT,NFO
12347,50,NTPC26NOV332.5PE,,0,2026-11-23,332.50,0.05,1500,PE,NFO-OPT,NFO
"""


def write(path, text, header=HEADER):
    path.write_text(f"{header}\n{text}")
    return path


def test_a_dump_is_read(tmp_path):
    instruments, bad_rows = load_instruments(write(tmp_path / "dump.csv", GOOD), TODAY)
    assert bad_rows == []
    by_symbol = {instrument.symbol: instrument for instrument in instruments}
    assert list(by_symbol) == [
        "INFY",
        "M&M",
        "NIFTY",
        "INDIAVIX",
        "NIFTY26NOVFUT",
        "NIFTY26N1725000CE",
        "NTPC26NOV332.5PE",
    ]
    assert by_symbol["INFY"] == Instrument("INFY", "INFOSYS", "equity", token=408065)
    assert by_symbol["NIFTY"] == Instrument("NIFTY", "NIFTY 50", "index", token=256265)
    future, option = by_symbol["NIFTY26NOVFUT"], by_symbol["NIFTY26N1725000CE"]
    assert (future.kind, future.underlying, future.expiry, future.strike) == (
        "future",
        "NIFTY",
        date(2026, 11, 23),
        None,
    )
    assert (future.tick_size, future.lot_size, future.exchange) == (Decimal("0.1"), 65, "NFO")
    assert (option.kind, option.strike, option.option_type, option.token) == ("option", 25_000, "CE", 12346)
    stock = by_symbol["NTPC26NOV332.5PE"]
    assert (stock.underlying, stock.strike, stock.option_type) == ("NTPC", Decimal("332.5"), "PE")


def test_bad_rows_are_reported_with_line_and_reason_and_skipped(tmp_path):
    rows = [
        ("408065,1594,INFY,INFOSYS,0,,,0.05,1,EQ,NSE,NSE", None),
        ("408066,1594,INFY,INFOSYS,0,,,0.05,1,EQ,NSE,NSE", "a second row of INFY"),
        (",,,,,,,,,,,", "instrument_type is ''"),
        ("1,1,A,A,0,,,0.05,1,XX,NSE,NSE", "it must be one of EQ, FUT, CE, PE"),
        ("1,1,a b,A,0,,,0.05,1,EQ,NSE,NSE", "tradingsymbol is 'a b'"),
        ("0,1,B,B,0,,,0.05,1,EQ,NSE,NSE", "instrument_token is '0'"),
        ("x,1,B,B,0,,,0.05,1,EQ,NSE,NSE", "instrument_token is 'x'"),
        ("1,1,B,B,0,,,nan,1,EQ,NSE,NSE", "tick_size is 'nan'"),
        ("1,1,B,B,0,,,0,1,EQ,NSE,NSE", "tick_size is '0'"),
        ("1,1,B,B,0,,,0.05,0,EQ,NSE,NSE", "lot_size is '0'"),
        ("1,1,B,B,0,,,0.05,1.5,EQ,NSE,NSE", "lot_size is '1.5'"),
        ("1,1,BFUT,B,0,,,0.05,1,FUT,NFO-FUT,NFO", "expiry is ''"),
        ("1,1,BFUT,B,0,2026-13-01,,0.05,1,FUT,NFO-FUT,NFO", "expiry is '2026-13-01'"),
        ("1,1,BFUT,B,0,2026-11-01,,0.05,1,FUT,NFO-FUT,NFO", "it expired on 2026-11-01"),
        ("1,1,BFUT,,0,2026-11-23,,0.05,1,FUT,NFO-FUT,NFO", "does not say its underlying"),
        ("1,1,BCE,B,0,2026-11-23,-5,0.05,1,CE,NFO-OPT,NFO", "strike is '-5'"),
        ("1,1,BCE,B,0,2026-11-23,1e999999,0.05,1,CE,NFO-OPT,NFO", "strike is '1e999999'"),
        ("1,1,C,C,0,,,0.05,1,EQ,NSE,", "exchange is empty"),
        ("1,1,SILVER26DECFUT,,0,2026-12-31,,1,1,FUT,MCX,MCX", None),
    ]
    path = write(tmp_path / "dump.csv", "\n".join(row for row, _ in rows))
    instruments, bad_rows = load_instruments(path, TODAY)
    assert [instrument.symbol for instrument in instruments] == ["INFY"], "and other exchanges are left out"
    expected = [(line, says) for line, (_, says) in enumerate(rows, start=2) if says]
    assert [row.line for row in bad_rows] == [line for line, _ in expected]
    for row, (line, says) in zip(bad_rows, expected, strict=True):
        assert says in row.reason
        assert str(row).startswith(f"dump.csv:{line}: ")


def test_other_exchanges_are_read_where_asked_for(tmp_path):
    path = write(tmp_path / "dump.csv", "1,1,SENSEX26NOVFUT,SENSEX,0,2026-11-26,,0.05,20,FUT,BFO-FUT,BFO")
    instruments, _ = load_instruments(path, TODAY, exchanges=("BFO",))
    assert instruments[0].exchange == "BFO"
    with pytest.raises(UnusableFile, match="no row can be used"):
        load_instruments(path, TODAY)


@pytest.mark.parametrize(
    ("header", "says"), [("tradingsymbol,name", "instrument_token"), ("", "are missing"), ("\x00\x01", "missing")]
)
def test_a_file_with_nothing_good_is_refused(tmp_path, header, says):
    with pytest.raises(UnusableFile, match=says):
        load_instruments(write(tmp_path / "dump.csv", "1,2\n", header), TODAY)
    with pytest.raises(UnusableFile):
        load_instruments(tmp_path / "none.csv", TODAY)
    (tmp_path / "bad.csv.gz").write_text("no gzip")
    with pytest.raises(UnusableFile):
        load_instruments(tmp_path / "bad.csv.gz", TODAY)


def test_a_gzipped_dump_with_columns_in_any_order_is_the_same(tmp_path):
    plain, _ = load_instruments(write(tmp_path / "dump.csv", GOOD), TODAY)
    rows = list(csv.reader([HEADER, *GOOD.splitlines()]))
    with gzip.open(tmp_path / "dump.csv.gz", "wt") as file:
        csv.writer(file).writerows([name.upper() for name in row] if n == 0 else row for n, row in reversed_rows(rows))
    assert load_instruments(tmp_path / "dump.csv.gz", TODAY)[0] == plain


def reversed_rows(rows):
    return enumerate(row[::-1] for row in rows)


cells = st.sampled_from(
    ["", "0", "1", "-1", "nan", "1e400", "EQ", "CE", "FUT", "NFO", "NSE", "INDICES", "2026-11-23", "X"]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.lists(st.one_of(st.lists(cells, max_size=14).map(",".join), st.text(max_size=40)), max_size=5))
def test_no_file_breaks_the_loader(tmp_path, rows):
    path = tmp_path / "dump.csv"
    path.write_text("\n".join([HEADER, *rows]), encoding="utf-8", errors="replace")
    try:
        instruments, _ = load_instruments(path, TODAY)
    except UnusableFile:
        return
    assert all(instrument.lot_size >= 1 and instrument.tick_size > 0 for instrument in instruments)


@pytest.mark.parametrize(
    ("underlying", "expiry", "strike", "option_type", "symbol"),
    [
        ("NIFTY", date(2026, 11, 17), 25_000, "CE", "NIFTY26N1725000CE"),
        ("NIFTY", date(2026, 11, 23), 25_000.0, "CE", "NIFTY26NOV25000CE"),  # a day early: the 24th is a holiday
        ("NIFTY", date(2026, 1, 6), Decimal(25_050), "PE", "NIFTY2610625050PE"),
        ("NIFTY", date(2026, 10, 13), 25_000, "CE", "NIFTY26O1325000CE"),
        ("NIFTY", date(2026, 12, 1), 25_000, "CE", "NIFTY26D0125000CE"),
        ("NIFTY", date(2025, 8, 28), 24_500, "PE", "NIFTY25AUG24500PE"),
        ("BANKNIFTY", date(2026, 11, 23), 60_000, "PE", "BANKNIFTY26NOV60000PE"),
        ("MIDCPNIFTY", date(2026, 11, 23), Decimal("13012.50"), "CE", "MIDCPNIFTY26NOV13012.5CE"),
    ],
)
def test_options_are_named_as_nse_names_them(underlying, expiry, strike, option_type, symbol):
    assert option_symbol(underlying, expiry, strike, option_type) == symbol


def test_the_options_of_an_expiry():
    made = option_instruments("NIFTY", date(2026, 11, 17), [24_950, Decimal(25_000)], TODAY)
    assert [option.symbol for option in made] == [
        "NIFTY26N1724950CE",
        "NIFTY26N1724950PE",
        "NIFTY26N1725000CE",
        "NIFTY26N1725000PE",
    ]
    assert {(o.kind, o.exchange, o.lot_size, o.tick_size, o.underlying) for o in made} == {
        ("option", "NFO", 65, Decimal("0.05"), "NIFTY")
    }
    assert made[-1].strike == 25_000
    assert made[-1].option_type == "PE"
    in_2025 = option_instruments("NIFTY", date(2025, 11, 18), [25_000], date(2025, 11, 3))
    assert in_2025[0].lot_size == 75


@pytest.mark.parametrize(
    ("underlying", "expiry", "strikes", "says"),
    [
        ("SENSEX", date(2026, 11, 17), [80_000], "no lot size is known of 'SENSEX'"),
        ("NIFTY", date(2026, 10, 27), [25_000], "have expired on 2026-11-02"),
        ("NIFTY", date(2026, 11, 17), [0], "strike is 0"),
        ("NIFTY", date(2026, 11, 17), [float("nan")], "strike is nan"),
    ],
)
def test_options_that_cannot_be_are_refused(underlying, expiry, strikes, says):
    with pytest.raises(ValueError, match=says):
        option_instruments(underlying, expiry, strikes, TODAY)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    st.sampled_from(["NIFTY", "BANKNIFTY", "FINNIFTY", "MIDCPNIFTY"]),
    st.lists(st.integers(1, 2_000).map(lambda n: Decimal(n) * Decimal("12.5")), min_size=1, max_size=5, unique=True),
    st.integers(0, 3),
)
def test_made_options_read_back_from_a_dump_are_the_same(tmp_path, underlying, strikes, which):
    expiry = expiries(underlying, TODAY, 4)[which]
    made = option_instruments(underlying, expiry, strikes, TODAY)
    path = write(
        tmp_path / "dump.csv",
        "\n".join(
            f"{n},{n},{o.symbol},,0,{o.expiry},{o.strike},{o.tick_size},{o.lot_size},{o.option_type},NFO-OPT,NFO"
            for n, o in enumerate(made, start=1)
        ),
    )
    read, bad_rows = load_instruments(path, TODAY)
    assert bad_rows == []

    def fields(option):
        return (option.symbol, option.underlying, option.expiry, option.strike, option.option_type, option.lot_size)

    assert [fields(option) for option in read] == [fields(option) for option in made]


def test_names_of_monthly_and_weekly_options_never_meet():
    weekly = {option_symbol("NIFTY", e, 25_000, "CE") for e in expiries("NIFTY", date(2026, 1, 1), 52)}
    assert len(weekly) == 52
    assert option_symbol("NIFTY", monthly_expiry(date(2026, 5, 1)), 25_000, "CE") == "NIFTY26MAY25000CE"


def test_the_small_universe_has_each_symbol_once():
    assert len({instrument.symbol for instrument in NSE_UNIVERSE}) == len(NSE_UNIVERSE)
