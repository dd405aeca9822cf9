"""Marking every account to market: `LivePnl` beside a plain loop over the same books, in one run.

Target: 20,000 users with 10 positions each, marked at every tick, in under 50 ms.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from decimal import Decimal
from random import Random

from rich.console import Console

from engines.trading.book import Book, Fill, money
from engines.trading.pnl import LivePnl

USERS = 20_000
POSITIONS = 10
SYMBOLS = 500
TICKS = 30
SAMPLE = 1_000  # books that the plain loop marks; its time is scaled to all


def run(users: int = USERS) -> dict[str, float]:
    """Milliseconds per tick (median, and the worst) and per tick of the loop, their ratio, and the microseconds that it
    takes to put an account after a fill. Raises `ArithmeticError` when the two differ in any figure."""
    random = Random(20_000)  # noqa: S311 - a workload, no secret
    symbols = [f"S{number:03}" for number in range(SYMBOLS)]
    prices = {symbol: round(random.uniform(50, 3_000), 2) for symbol in symbols}
    books = {user: _book(random, prices) for user in range(users)}
    live = LivePnl()
    for user, book in books.items():
        live.put(user, book)
    sample = list(books)[:SAMPLE]
    mark_ms, loop_ms, put_us = [], [], []
    for _ in range(TICKS):
        prices = {symbol: price * (1 + random.gauss(0, 0.001)) for symbol, price in prices.items()}
        began = time.perf_counter()
        live.mark(prices)
        mark_ms.append((time.perf_counter() - began) * 1e3)
    for _ in range(5):
        prices = {symbol: price * (1 + random.gauss(0, 0.001)) for symbol, price in prices.items()}
        live.mark(prices)
        began = time.perf_counter()
        totals = []
        for user in sample:
            books[user].mark(prices)
            totals.append(books[user].totals())
        loop_ms.append((time.perf_counter() - began) * 1e3 * users / len(sample))
        if live.totals(sample) != totals:
            raise ArithmeticError("the books and the arrays differ")
    for user in sample:
        symbol = random.choice(symbols)
        books[user].fill(Fill(symbol, 1, money(prices[symbol])))
        began = time.perf_counter()
        live.put(user, books[user])
        put_us.append((time.perf_counter() - began) * 1e6)
    mark, loop = statistics.median(mark_ms), statistics.median(loop_ms)
    return {
        "users": users,
        "positions": users * POSITIONS,
        "symbols": SYMBOLS,
        "mark_ms": round(mark, 3),
        "mark_worst_ms": round(max(mark_ms), 3),
        "loop_over_books_ms": round(loop, 1),
        "times_faster": round(loop / mark, 1),
        "put_us": round(statistics.median(put_us), 1),
    }


def _book(random: Random, prices: Mapping[str, float]) -> Book:
    book = Book(Decimal(1_000_000))
    for symbol in random.sample(list(prices), POSITIONS):
        quantity = random.choice((-1, 1)) * random.randint(1, 100)
        book.fill(Fill(symbol, quantity, money(prices[symbol]), Decimal("12.34")))
    return book


if __name__ == "__main__":
    Console().print(run())
