"""Small histories, made from a seed, for tests of what learns from bars."""

import numpy as np

from engines.market.history import BarSeries

DAY = 86_400
START = 1_300_000_000 // DAY * DAY


def series_of(returns, symbol="A", seed=0):
    """Daily bars whose closes have these log returns."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(returns))
    opening = np.concatenate([[100.0], close[:-1]])
    spread = 1 + 0.004 * rng.random(len(close))
    high, low = np.maximum(opening, close) * spread, np.minimum(opening, close) / spread
    times = START + DAY * np.arange(len(close), dtype=np.int64)
    return BarSeries(symbol, times, opening, high, low, close, rng.integers(1_000, 9_000, len(close)).astype(float))


def noise(symbols="AB", bars=420, seed=1):
    """Nothing to learn: independent returns."""
    rng = np.random.default_rng(seed)
    return {
        symbol: series_of(0.01 * rng.standard_normal(bars), symbol, number) for number, symbol in enumerate(symbols)
    }


def momentum(symbols="AB", bars=420, seed=1, persistence=0.8):
    """Something to learn: a bar goes on in the direction of the one before, with this probability."""
    rng = np.random.default_rng(seed)
    history = {}
    for number, symbol in enumerate(symbols):
        signs = np.cumprod(np.where(rng.random(bars) < persistence, 1.0, -1.0))
        history[symbol] = series_of(signs * 0.01 * (0.5 + rng.random(bars)), symbol, number)
    return history
