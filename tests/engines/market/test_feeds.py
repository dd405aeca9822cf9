import asyncio
import csv
import itertools
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from engines.market.calendar import IST, is_session_day, session_open
from engines.market.feeds.replay import ReplayFeed, load_bars
from engines.market.feeds.simulated import SimulatedFeed
from engines.market.files import UnusableFile

SHIPPED = Path(__file__).parents[3] / "data" / "daily_bars.csv"


async def no_sleep(seconds):
    assert seconds > 0


def take(feed, count):
    async def collect():
        batches = feed.batches()
        got = [await anext(batches) for _ in range(count)]
        await batches.aclose()
        return got

    return asyncio.run(collect())


def simulated(seed=7, **options):
    return SimulatedFeed(start=date(2026, 1, 5), sleep=no_sleep, seed=seed, **{"options": False} | options)


def test_the_same_seed_makes_the_same_market():
    assert take(simulated(), 50) == take(simulated(), 50)
    assert take(simulated(), 50) != take(simulated(seed=8), 50)


def test_it_is_labelled_as_simulated():
    assert simulated().simulated
    assert "simulated" in simulated().description


def test_quotes_are_sane_and_time_moves_on_within_sessions():
    batches = take(simulated(speed=6_000), 2_000)
    times = [batch[0].time for batch in batches]
    assert all(earlier < later for earlier, later in itertools.pairwise(times))
    for quote in itertools.chain.from_iterable(batches):
        assert 0 < quote.bid < quote.ask
        assert quote.bid <= quote.last <= quote.ask
        local = quote.time.astimezone(IST)
        for size in (quote.bid_size, quote.ask_size):
            assert 50 <= size <= 2_000
        assert is_session_day(local.date())
        assert (9, 15) <= (local.hour, local.minute) <= (15, 30)


def test_stocks_move_with_the_market_and_volatility_clusters():
    batches = take(simulated(speed=600), 6_000)
    prices = np.log([[quote.last for quote in batch] for batch in batches])
    returns = np.diff(prices, axis=0)
    names = [quote.symbol for quote in batches[0]]
    correlation = np.corrcoef(returns.T)
    assert correlation[names.index("NIFTY"), names.index("BANKNIFTY")] > 0.7
    assert correlation[names.index("NIFTY"), names.index("RELIANCE")] > 0.3
    banks = correlation[names.index("HDFCBANK"), names.index("ICICIBANK")]
    assert banks > correlation[names.index("HDFCBANK"), names.index("ITC")]
    size = np.abs(returns[:, names.index("NIFTY")])
    lags = [np.corrcoef(size[:-lag], size[lag:])[0, 1] for lag in range(1, 11)]
    assert np.mean(lags) > 0.05


def test_the_first_quote_is_the_opening_of_the_start_and_previous_closes_are_known():
    feed = simulated(speed=6_000)
    closes = {bar.symbol: bar.close for bar in feed.warmup()}
    for batch in take(feed, 40):
        for quote in batch:
            assert quote.previous_close == pytest.approx(closes[quote.symbol])
        if batch[0].time.astimezone(IST).time() == datetime(2026, 1, 5, 15, 30, tzinfo=IST).time():
            closes = {quote.symbol: quote.last for quote in batch}
    assert take(simulated(), 1)[0][0].time == session_open(date(2026, 1, 5))


@pytest.mark.parametrize("speed", [1.0, 60.0, 6_000.0])
def test_the_warm_up_is_whole_minutes_before_the_first_quote(speed):
    feed = simulated(speed=speed)
    bars = feed.warmup()
    assert len(bars) == 120 * 14
    assert len({(bar.symbol, bar.time) for bar in bars}) == len(bars)
    assert [bar.time for bar in bars] == sorted(bar.time for bar in bars)
    first = take(feed, 1)[0][0].time
    for bar in bars:
        assert bar.time + timedelta(minutes=1) <= first
        assert 0 < bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high
    assert feed.warmup() is bars


@pytest.mark.parametrize(
    ("stopped", "goes_on"),
    [
        (datetime(2026, 3, 4, 11, 20, 7, tzinfo=IST), datetime(2026, 3, 4, 11, 20, 22, tzinfo=IST)),
        (datetime(2026, 3, 4, 9, 15, tzinfo=IST), datetime(2026, 3, 4, 9, 15, 15, tzinfo=IST)),
        (datetime(2026, 3, 6, 15, 30, tzinfo=IST), datetime(2026, 3, 9, 9, 15, tzinfo=IST)),
        (datetime(2026, 3, 7, 12, 0, tzinfo=IST), datetime(2026, 3, 9, 9, 15, tzinfo=IST)),  # a Saturday
    ],
)
@pytest.mark.parametrize("read_before", [False, True])
def test_it_goes_on_where_it_stopped(stopped, goes_on, read_before):
    prices = {"NIFTY": 21_234.55, "ITC": 500.05, "NIFTY26MAR25000CE": 12.0}
    feed = simulated(options=True)
    if read_before:
        assert feed.warmup()
        assert feed.instruments
    feed.resume(prices, stopped)
    closes = {bar.symbol: bar.close for bar in feed.warmup()}
    assert closes["NIFTY"] == 21_234.55
    assert closes["ITC"] == 500.05
    assert feed.warmup()[-1].time + timedelta(minutes=1) <= stopped
    assert any(i.symbol.endswith("21250CE") for i in feed.instruments)
    first = {quote.symbol: quote for quote in take(feed, 1)[0]}
    assert first["NIFTY"].time == goes_on
    assert first["NIFTY"].last == pytest.approx(21_234.55, rel=0.04)
    assert first["NIFTY"].previous_close == pytest.approx(21_234.55, rel=0.08)
    with pytest.raises(RuntimeError, match="runs already"):
        feed.resume(prices, stopped)


@pytest.mark.parametrize("price", [0.0, -1.0, float("nan"), float("inf")])
def test_a_price_to_go_on_from_must_be_one(price):
    with pytest.raises(ValueError, match="positive"):
        simulated().resume({"NIFTY": price}, session_open(date(2026, 3, 4)))


def test_the_shipped_bars_are_good():
    file = load_bars(SHIPPED)
    assert len(file.bars) > 7_000
    assert file.bad_rows == []
    assert {bar.symbol for bar in file.bars} == {"AAPL", "FB", "GOOG", "IBM", "MSFT"}


def write(path, rows, header="date,symbol,open,high,low,close,volume"):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_bad_rows_are_reported_with_file_and_line_and_skipped(tmp_path):
    path = write(
        tmp_path / "bars.csv",
        [
            "2020-01-01,A,10,11,9,10.5,100",
            "2020-01-32,A,10,11,9,10.5,100",
            "2020-01-02,A,10,11,9,12,100",
            "2020-01-03,A,-1,11,9,10,100",
            "2020-01-04,A,10,11,9,nan,100",
            "2020-01-01,A,10,11,9,10.5,100",
            "2020-01-05,A,10,11,9",
            "2020-01-06,A,x,11,9,10,1",
            "2020-01-06,,10,11,9,10,1",
            "2020-01-06,^NSEI,10,11,9,10,1",
            "2020-01-06,A,0.00001,11,0.00001,10,1",
        ],
    )
    file = load_bars(path)
    assert len(file.bars) == 1
    assert [str(row).split(":")[:2] for row in file.bad_rows] == [["bars.csv", str(n)] for n in range(3, 13)]
    assert "close must lie between" in str(file.bad_rows[1])
    assert "second bar of A" in str(file.bad_rows[4])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("date,open,high,low,close\n2020-01-01,1,1,1,nan\n", "no row can be used"),
        ("date,open,high,low\n", "close"),
        ("", "missing"),
        ("\x00\x01", "missing"),
    ],
)
def test_a_file_with_nothing_good_is_refused(tmp_path, content, says):
    path = tmp_path / "bars.csv"
    path.write_text(content)
    with pytest.raises(UnusableFile, match=says):
        load_bars(path)
    with pytest.raises(UnusableFile):
        load_bars(tmp_path / "none.csv")


def test_parquet_is_read_like_csv(tmp_path):
    with SHIPPED.open() as file:
        rows = list(csv.DictReader(file))[:500]
    columns = {
        name.upper(): [row[name] if name in {"date", "symbol"} else float(row[name]) for row in rows]
        for name in rows[0]
    }
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "bars.parquet")
    write(tmp_path / "bars.csv", [",".join(row.values()) for row in rows])
    assert load_bars(tmp_path / "bars.parquet").bars == load_bars(tmp_path / "bars.csv").bars
    (tmp_path / "bad.parquet").write_text("no parquet")
    with pytest.raises(UnusableFile):
        load_bars(tmp_path / "bad.parquet")


def test_each_bar_is_walked_open_extremes_close(tmp_path):
    rows = [f"2020-01-{day:02},A,10,12,9,11,130" for day in (1, 2)] + [
        f"2020-01-{day:02},B,10,12,9,9.5,130" for day in (1, 2)
    ]
    feed = ReplayFeed(load_bars(write(tmp_path / "bars.csv", rows)), name="bars.csv", sleep=no_sleep)
    assert "replay" in feed.description
    feed.resume({"A": 1.0}, session_open(date(2026, 1, 5)))
    assert feed.listed == 0
    batches = take(feed, 13)
    rising = [batch[0].last for batch in batches]
    falling = [batch[1].last for batch in batches]
    assert [rising[n] for n in (0, 4, 8, 12)] == [10, 9, 12, 11]
    assert [falling[n] for n in (0, 4, 8, 12)] == [10, 12, 9, 9.5]
    assert sum(batch[0].volume for batch in batches) == pytest.approx(130)
    assert (min(rising), max(rising)) == (9, 12)


def test_a_replay_ends_with_its_file():
    file = load_bars(SHIPPED)
    first_days = [bar for bar in file.bars if bar.time.date() < date(2006, 1, 12)]
    feed = ReplayFeed(type(file)(first_days, []), name="x", sleep=no_sleep)

    async def collect():
        return [batch[0].time async for batch in feed.batches()]

    times = asyncio.run(collect())
    days = len({bar.time for bar in first_days})
    assert len(times) == 13 * (days - days // 2)
    assert times == sorted(set(times))
