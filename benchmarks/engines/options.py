"""A chain of 82 options, implied volatility and Greeks: the engine beside a plain loop with SciPy's root finder."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from datetime import date, datetime

import numpy as np
from scipy.optimize import brentq

from engines.market.calendar import IST
from engines.options.black76 import greeks
from engines.options.chain import analyse
from engines.options.quotes import ChainQuotes, SideQuotes

SPOT, RATE = 25_000.0, 0.065
NOW, EXPIRY = datetime(2026, 1, 6, 11, 0, tzinfo=IST), date(2026, 1, 13)
ENGINE_RUNS, LOOP_RUNS = 400, 5


def run() -> dict[str, float]:
    """Medians in milliseconds, the ratio of the two, and by how much their volatilities differ at most."""
    chain, forward, years = _chain()
    analysis = analyse(chain, NOW, RATE)
    by_loop = _loop(chain, forward, years)
    engine_ms = _median_ms(lambda: analyse(chain, NOW, RATE), ENGINE_RUNS)
    loop_ms = _median_ms(lambda: _loop(chain, forward, years), LOOP_RUNS)
    differences = [
        abs(ours - theirs[0])
        for ours, theirs in zip(analysis.calls.iv + analysis.puts.iv, by_loop, strict=True)
        if ours is not None
    ]
    return {
        "options": float(len(by_loop)),
        "analyse_ms": engine_ms,
        "scipy_loop_ms": loop_ms,
        "ratio": loop_ms / engine_ms,
        "largest_iv_difference": max(differences),
    }


def _chain() -> tuple[ChainQuotes, float, float]:
    """41 strikes of a skewed surface, quoted with a spread."""
    years = (datetime(2026, 1, 13, 15, 30, tzinfo=IST) - NOW).total_seconds() / (365 * 86_400)
    forward = SPOT * math.exp(RATE * years)
    strikes = SPOT + 50.0 * np.arange(-20, 21)
    volatility = 0.13 - 0.4 * np.log(strikes / forward)
    sides = []
    for is_call in (True, False):
        middle = greeks(forward, strikes, years, volatility, RATE, is_call=is_call).price
        half_spread = 0.002 * middle + 0.05
        counts = np.full(strikes.shape, 1_000.0)
        sides.append(SideQuotes(middle - half_spread, middle + half_spread, middle, counts, counts, counts, counts))
    return ChainQuotes("NIFTY", EXPIRY, SPOT, strikes, *sides), forward, years


def _loop(chain: ChainQuotes, forward: float, years: float) -> list[tuple[float, ...]]:
    """One option at a time, as a first version would have it."""
    found = []
    for side, sign in ((chain.calls, 1.0), (chain.puts, -1.0)):
        for strike, price in zip(chain.strikes.tolist(), side.middle.tolist(), strict=True):
            volatility = brentq(
                lambda guess, strike=strike, price=price, sign=sign: (
                    _price(forward, strike, years, guess, sign)[0] - price
                ),
                1e-4,
                5.0,
                xtol=1e-10,
            )
            found.append((volatility, *_price(forward, strike, years, volatility, sign)))
    return found


def _price(forward: float, strike: float, years: float, volatility: float, sign: float) -> tuple[float, ...]:
    """Price, delta, gamma, theta, vega and rho, with scalar functions."""
    root = volatility * math.sqrt(years)
    d1 = math.log(forward / strike) / root + root / 2
    discount = math.exp(-RATE * years)
    up, down = (0.5 * math.erfc(-sign * d / math.sqrt(2)) for d in (d1, d1 - root))
    price = sign * discount * (forward * up - strike * down)
    density = math.exp(-d1 * d1 / 2) / math.sqrt(2 * math.pi)
    return (
        price,
        sign * discount * up,
        discount * density / (forward * root),
        (RATE * price - discount * forward * density * volatility / (2 * math.sqrt(years))) / 365,
        discount * forward * density * math.sqrt(years) / 100,
        -years * price / 100,
    )


def _median_ms(work: Callable[[], object], runs: int) -> float:
    work()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1_000
