"""The bars of a market, in memory and in the database, and what a model is trained on."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from apps.accounts.models import User
from apps.ai_studio import bar_store, models
from apps.ai_studio.bar_store import BarStore, bars_for
from engines.learning.features import WINDOW_BARS
from engines.market.calendar import IST
from engines.market.data import MarketData
from engines.market.instruments import Instrument
from engines.market.quotes import Bar

pytestmark = pytest.mark.django_db

MONDAY = datetime(2026, 11, 23, 9, 15, tzinfo=IST)


class Feed:
    """A feed that a test tells what it is."""

    simulated = True
    bar_seconds = 60
    listed = 1

    def __init__(self, description="a market of the tests", warmup=(), *, is_live=False):
        self.description, self.is_live, self._warmup = description, is_live, list(warmup)
        self.instruments = [
            Instrument("NIFTY", "Nifty 50", "index"),
            Instrument("TCS", "TCS", "equity"),
            Instrument("NIFTY26DECFUT", "Nifty December", "future"),
        ]

    def warmup(self):
        return self._warmup


def minute(number, symbol="TCS", close=100.0, start=MONDAY, seconds=60):
    time = start + timedelta(seconds=number * seconds)
    return Bar(symbol, time, close, close + 1, close - 1, close, 10.0)


def store_of(feed, now=MONDAY):
    store = BarStore(MarketData(feed, lambda: 0.0))
    store.begin(now)
    return store


def closes(store, symbol="TCS", seconds=60):
    series = store.series(seconds, [symbol])
    return series[symbol].close.tolist() if series else []


@pytest.fixture
def model(db):
    owner = User.objects.create_user("asha@example.com")  # without a password, whose hash takes a second
    return models.Model.objects.create(owner=owner, name="momentum")


def test_the_latest_bars_are_kept_as_columns():
    store = store_of(Feed())
    for number in range(2 * WINDOW_BARS + 50):
        assert store.take({60: [minute(number, close=100.0 + number)]})
    series = store.series(60, ["TCS", "NIFTY"])["TCS"]
    assert len(series) == WINDOW_BARS
    assert series.close[-1] == 100.0 + 2 * WINDOW_BARS + 49
    assert (np.diff(series.times) == 60).all()
    assert series.high[0] == series.close[0] + 1


def test_a_series_stays_as_it_was_while_the_market_goes_on():
    store = store_of(Feed())
    store.take({60: [minute(0)]})
    before = store.series(60, ["TCS"])["TCS"]
    for number in range(1, 2 * WINDOW_BARS + 2):
        store.take({60: [minute(number, close=5.0)]})
    assert before.close.tolist() == [100.0]


def test_a_restart_goes_on_from_the_database():
    store = store_of(Feed())
    for number in range(5):
        store.take({60: [minute(number, close=100.0 + number)]})
        store.write()
    assert closes(store_of(Feed())) == [100.0, 101.0, 102.0, 103.0, 104.0]
    assert closes(store_of(Feed("another market"))) == []


def test_what_the_market_did_counts_more_than_a_new_warm_up():
    store = store_of(Feed(warmup=[minute(n, close=50.0) for n in range(3)]))
    store.take({60: [minute(3, close=51.0)]})
    store.write()
    again = store_of(Feed(warmup=[minute(n, close=70.0) for n in range(5)]))
    assert closes(again) == [50.0, 50.0, 50.0, 51.0, 70.0]


def test_a_market_that_starts_over_has_no_future():
    store = store_of(Feed(warmup=[minute(n) for n in range(3)]))
    for number in range(3, 8):
        store.take({60: [minute(number)], 300: [minute(number, seconds=300)]})
    store.write()
    again = store_of(Feed(warmup=[minute(n) for n in range(3)]))
    assert closes(again) == [100.0] * 3
    assert models.StoredBar.objects.count() == 3


def test_a_live_market_keeps_what_it_stored():
    store = store_of(Feed(is_live=True))
    store.take({60: [minute(7)]})
    store.write()
    assert closes(store_of(Feed(warmup=[minute(1)], is_live=True))) == [100.0, 100.0]


def test_a_bar_that_comes_again_counts_in_place_of_the_first():
    store = store_of(Feed())
    for bar in (minute(0), minute(1), minute(2), minute(1, close=90.0)):
        store.take({60: [bar]})
        store.write()
    assert closes(store) == [100.0, 90.0]
    assert models.StoredBar.objects.get(time=MONDAY + timedelta(minutes=1)).close == 90.0


def test_contracts_and_lengths_that_no_model_uses_are_left_out(model):
    store = store_of(Feed())
    closed = {1: [minute(0)], 60: [minute(0), minute(0, "NIFTY"), minute(0, "NIFTY26DECFUT")], 300: [minute(0)]}
    assert {s: [b.symbol for b in bars] for s, bars in store.take(closed).items()} == {60: ["TCS", "NIFTY"]}
    assert not store.wants({1: [minute(1)], 60: []})
    models.Model.objects.update(bar_seconds=300)
    store.refresh()
    assert set(store.take(closed)) == {60, 300}
    store.need([1])
    assert store.wants({1: [minute(1)]})
    assert set(store.take(closed)) == {1, 60, 300}
    store.write()
    assert set(models.StoredBar.objects.values_list("seconds", flat=True)) == {1, 60, 300}


def test_bars_that_could_not_be_stored_are_stored_with_the_next(monkeypatch):
    store = store_of(Feed())
    store.take({60: [minute(0)]})
    with monkeypatch.context() as broken:
        broken.setattr(models.StoredBar.objects, "bulk_create", lambda *args, **kwargs: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            store.write()
    store.take({60: [minute(1)]})
    store.write()
    assert models.StoredBar.objects.count() == 2
    monkeypatch.setattr(bar_store, "MAX_UNWRITTEN", 3)
    for number in range(2, 10):
        store.take({60: [minute(number)]})
    store.write()
    assert models.StoredBar.objects.count() == 5


def test_old_bars_are_pruned_by_symbol_and_length(monkeypatch):
    monkeypatch.setattr(bar_store, "KEPT_BARS", 4)
    store = store_of(Feed())
    for number in range(10):
        store.take({60: [minute(number)]})
    store.take({60: [minute(0, "NIFTY")]})
    store.write()
    other = models.StoredBar.objects.create(
        market="other", symbol="TCS", seconds=60, time=MONDAY, open=1, high=1, low=1, close=1, volume=0
    )
    store.prune()
    kept = models.StoredBar.objects.filter(market="a market of the tests")
    assert list(kept.filter(symbol="TCS").values_list("time", flat=True)) == [
        MONDAY + timedelta(minutes=n) for n in range(6, 10)
    ]
    assert kept.filter(symbol="NIFTY").count() == 1
    assert models.StoredBar.objects.filter(pk=other.pk).exists()


@pytest.mark.parametrize(
    ("back_at", "unbroken"),
    [
        (MONDAY + timedelta(minutes=5, seconds=50), True),  # the sixth bar still ends
        (MONDAY + timedelta(minutes=6, seconds=10), False),
        (MONDAY + timedelta(days=60), False),
        (MONDAY - timedelta(days=1), True),  # a clock that is wrong
    ],
)
def test_an_absence_of_a_live_market_is_noticed(back_at, unbroken):
    store = store_of(Feed(is_live=True))
    for number in range(5):
        store.take({60: [minute(number)]})
    store.write()
    again = store_of(Feed(is_live=True), now=back_at)
    assert again.is_unbroken_since(60, "TCS", MONDAY) is unbroken
    assert again.is_unbroken_since(60, "TCS", MONDAY + timedelta(days=100))


def test_a_night_or_a_holiday_is_no_absence():
    store = store_of(Feed(is_live=True))
    store.take({60: [minute(374)]})  # until 15:30
    store.write()
    wednesday = MONDAY + timedelta(days=2)  # the Tuesday is a holiday
    assert store_of(Feed(is_live=True), wednesday).is_unbroken_since(60, "TCS", MONDAY)
    assert not store_of(Feed(is_live=True), wednesday + timedelta(minutes=2)).is_unbroken_since(60, "TCS", MONDAY)


def test_the_past_of_a_length_that_is_needed_later_is_read_when_it_is_asked_for(model):
    market = store_of(Feed(is_live=True))
    market.need([300])
    for number in range(2):
        market.take({300: [minute(number, seconds=300)]})
    market.write()
    again = store_of(Feed(is_live=True), MONDAY + timedelta(minutes=10))
    assert closes(again, seconds=300) == [], "nobody needs it"
    again.need([300])
    assert closes(again, seconds=300) == [100.0, 100.0]
    assert again.is_unbroken_since(300, "TCS", MONDAY)
    late = store_of(Feed(is_live=True), MONDAY + timedelta(minutes=16))
    late.need([300])
    assert closes(late, seconds=300)
    assert not late.is_unbroken_since(300, "TCS", MONDAY)


def test_a_length_that_was_not_kept_for_a_while_has_a_gap(model):
    store = store_of(Feed(is_live=True))
    store.need([300])
    store.take({60: [minute(0)], 300: [minute(0, seconds=300)]})
    store.write()
    store.need([])
    for number in range(1, 20):
        store.take({60: [minute(number)]})
    store.need([300])
    store.take({300: [minute(4, close=104.0, seconds=300)]})
    assert closes(store, seconds=300) == [100.0, 104.0]
    assert not store.is_unbroken_since(300, "TCS", MONDAY)


def test_when_the_stored_bars_begin():
    store = store_of(Feed())
    assert store.first_time() is None
    store.take({60: [minute(3), minute(2, "NIFTY")]})
    store.write()
    assert store.first_time() == MONDAY + timedelta(minutes=2)
    assert store_of(Feed("another market")).first_time() is None


# Training


def test_a_model_is_trained_on_the_market_that_runs(model):
    for description, close in (("first", 10.0), ("second", 20.0)):
        store = store_of(Feed(description))
        store.take({60: [minute(n, symbol, close) for n in (1, 0) for symbol in ("TCS", "NIFTY")]})
        store.write()
    assert {symbol: series.close.tolist() for symbol, series in bars_for(model).items()} == {
        "NIFTY": [20.0, 20.0],
        "TCS": [20.0, 20.0],
    }
    store_of(Feed("first"))
    model.symbols = ["TCS", "UNKNOWN"]
    history = bars_for(model)
    assert list(history) == ["TCS"]
    assert history["TCS"].close.tolist() == [10.0, 10.0]
    assert [datetime.fromtimestamp(time, UTC) for time in history["TCS"].times] == [
        MONDAY,
        MONDAY + timedelta(minutes=1),
    ]
    model.bar_seconds = 300
    assert bars_for(model) == {}


def test_between_symbols_the_caller_may_write_or_stop(model):
    store = store_of(Feed())
    store.take({60: [minute(n, symbol) for n in (0, 1) for symbol in ("TCS", "NIFTY")]})
    store.write()
    asked = []

    def write():
        asked.append(models.StoredBar.objects.update(volume=1.0))
        store.take({60: [minute(2 + len(asked))]})
        store.write()

    history = bars_for(model, on_symbol=write)
    assert asked == [4, 5]
    assert [len(series) for series in history.values()] == [2, 2], "what came meanwhile is left out"
    with pytest.raises(ZeroDivisionError):
        bars_for(model, on_symbol=lambda: 1 / 0)


def test_without_any_market_there_are_no_bars(model):
    assert bars_for(model) == {}


def test_the_shipped_bars(model):
    model.data_source, model.bar_seconds = models.DataSource.SHIPPED, 86_400
    history = bars_for(model)
    assert set(history) == {"AAPL", "FB", "GOOG", "IBM", "MSFT"}
    assert sum(len(series) for series in history.values()) == 7_404
    model.symbols = ["IBM"]
    assert bars_for(model)["IBM"] is history["IBM"]
