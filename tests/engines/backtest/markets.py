"""Small markets for the tests of backtests."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np

from engines.backtest.market import historical_market
from engines.backtest.run import run_backtest
from engines.backtest.simulation import Simulation
from engines.backtest.spec import BacktestSpec
from engines.backtest.traders import SignalTrader
from engines.learning.spec import LabelSpec
from engines.market.history import BarSeries, history_of
from engines.market.quotes import Bar
from engines.trading.strategies.base import Proposal

D = Decimal
FIRST = date(2024, 1, 1)
START = datetime(2024, 1, 1, 3, 45, tzinfo=UTC)  # 09:15 IST
NO_SLIPPAGE = {"slippage_basis_points": 0.0}


def day(number):
    return FIRST + timedelta(days=number)


def bars(*prices, symbol="X", first=0):
    """Daily bars from (open, high, low, close), or from one price for all four."""
    rows = [price if isinstance(price, tuple) else (price,) * 4 for price in prices]
    return [Bar(symbol, START + timedelta(days=first + n), *row, volume=1_000) for n, row in enumerate(rows)]


def filled_up(*prices, symbol="X", first=0, length=60):
    """As `bars`, then the last close again and again: a backtest needs 60 bars."""
    rest = prices[-1] if not isinstance(prices[-1], tuple) else prices[-1][3]
    return bars(*prices, *[rest] * (length - len(prices)), symbol=symbol, first=first)


def walk(symbol, seed, length=200, daily=0.03):
    """A random walk with gaps."""
    random = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(random.normal(0, daily, length)))
    opening = np.concatenate(([100.0], close[:-1])) * np.exp(random.normal(0, daily / 3, length))
    high = np.maximum(opening, close) * np.exp(np.abs(random.normal(0, daily / 3, length)))
    low = np.minimum(opening, close) * np.exp(-np.abs(random.normal(0, daily / 3, length)))
    times = int(START.timestamp()) + 86_400 * np.arange(length, dtype=np.int64)
    columns = [np.round(column, 2) for column in (opening, high, low, close)]
    return BarSeries(symbol, times, *columns, random.lognormal(10, 0.5, length))


def walks(count=3, seed=7, **options):
    return {f"S{n}": walk(f"S{n}", seed + n, **options) for n in range(count)}


def chances(history, seed=3):
    """P(up) of a model that knows nothing, and says nothing of the first twenty bars."""
    random = np.random.default_rng(seed)
    found = {symbol: random.uniform(0.4, 0.6, len(series)) for symbol, series in history.items()}
    for column in found.values():
        column[:20] = np.nan
    return found


def direction(horizon_bars=1):
    """What P(up) is of, mostly."""
    return LabelSpec(horizon_bars=horizon_bars)


NEXT_CLOSE = direction()


def run(history, *, report=lambda _progress: None, cancelled=lambda: False, chance=None, label=NEXT_CLOSE, **spec):
    """A backtest of bars, or of a history."""
    found = history_of(history) if isinstance(history, list) else history
    return run_backtest(
        found,
        BacktestSpec(**spec),
        report=report,
        cancelled=cancelled,
        probabilities=chance,
        label=label,
    )


class Scripted:
    """A strategy that proposes what it is told, by the number of a symbol's bar: ("BUY", target and stop distance)."""

    name, description = "scripted", "what the test says"

    def __init__(self, script):
        self.script = script
        self.seen = {}

    def on_bar(self, bar):
        number = self.seen[bar.symbol] = self.seen.get(bar.symbol, -1) + 1
        if number not in self.script:
            return None
        direction, target, stop = self.script[number]
        return Proposal(bar.symbol, direction, 1.0, target, stop, "the test says so")


def simulate(history, script, **spec):
    """The run of a `Scripted` strategy."""
    wanted = BacktestSpec(**{"strategy": "trend", **NO_SLIPPAGE, **spec})
    market = historical_market(history_of(history) if isinstance(history, list) else history, wanted)
    simulation = Simulation(market, wanted, SignalTrader(Scripted(script), market))
    pass_all_days(simulation, market)
    return simulation


def pass_all_days(simulation, market):
    for at, moments in market.moments():
        simulation.pass_day(at, moments)
