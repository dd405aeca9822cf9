"""The runner on the simulated market: everything lives, and a restart goes on."""

import asyncio
from datetime import date

import pytest

from apps.trading import accounts, demo, models, runner
from engines.market.calendar import IST
from engines.market.data import MarketData
from engines.market.feeds.simulated import SimulatedFeed

pytestmark = pytest.mark.django_db(transaction=True)

STEPS = 160


class Clock:
    seconds = 0.0

    def __call__(self):
        return self.seconds


class Engine:
    """The runner, moved step by step in the test's own thread."""

    def __init__(self, monkeypatch, user):
        self.clock = Clock()
        feed = SimulatedFeed(start=date(2026, 11, 25), sleep=self._sleep)
        demo.seed(user, feed)
        self.market = MarketData(feed, self.clock)
        monkeypatch.setattr(runner.runtime().clock, "monotonic", self.clock)
        monkeypatch.setattr(
            runner.runtime().broker, "publish_many_soon", len
        )  # the other tests' clients need none of it
        self.runner = runner.TradingRunner(self.market)
        self.runner._begin()
        self._batches = feed.batches()

    async def _sleep(self, seconds):
        self.clock.seconds += seconds

    def step(self, count=1):
        loop = asyncio.new_event_loop()
        for _ in range(count):
            quotes = loop.run_until_complete(anext(self._batches))
            self.runner._on_market(self.market.take(quotes))
            self.runner._take_requests()
        loop.close()


def test_the_demo_account_trades_and_a_restart_goes_on(user, instruments, monkeypatch):
    engine = Engine(monkeypatch, user)
    engine.step(STEPS)
    account = models.Account.objects.get(user=user)
    strategies = set(models.Signal.objects.values_list("strategy", flat=True))
    assert strategies
    assert models.Signal.objects.exclude(status="NEW").exists()
    traded = models.Order.objects.filter(account=account, status="FILLED")
    assert {row.symbol for row in traded if row.client_order_id.startswith("demo:")}
    assert traded.exclude(client_order_id__startswith="demo:").exists()
    assert accounts.load_book(account).imbalance == 0
    assert models.OptionChain.objects.filter(underlying="NIFTY").count() == 2
    assert models.Sentiment.objects.filter(scope="MARKET").exists()
    volatility = models.OptionChain.objects.first().data["greeks"]["options"]
    assert any(option["iv"] is not None for option in volatility)
    assert not models.Order.objects.filter(status="PENDING_NEW").exists()

    spot = models.LastPrice.objects.get(symbol="NIFTY")
    positions = dict(account.positions.values_list("symbol", "quantity"))
    open_signals = set(models.Signal.objects.filter(status__in=models.Signal.OPEN).values_list("pk", flat=True))
    again = Engine(monkeypatch, user)
    assert set(models.Signal.objects.filter(status__in=models.Signal.OPEN).values_list("pk", flat=True)) == open_signals
    again.step()
    quote = again.market.quotes["NIFTY"]
    assert quote.time >= spot.market_time
    assert quote.time.astimezone(IST).date() == date(2026, 11, 25)
    assert quote.last == pytest.approx(float(spot.price), rel=0.003)
    assert {s: positions[s] for s in positions if "26D01" in s} == {
        s: q for s, q in account.positions.values_list("symbol", "quantity") if "26D01" in s
    }


def test_a_silent_feed_pauses_signals_and_fills(user, instruments, monkeypatch):
    engine = Engine(monkeypatch, user)
    engine.step(4)
    assert not engine.runner._signals.paused
    engine.clock.seconds += 31
    engine.runner._take_requests()
    assert engine.runner._signals.paused
    assert engine.runner._desk.paused
    engine.step()
    assert not engine.runner._desk.paused
