"""The trend strategy over historical bars, with the same books and the same signal engine that trade live."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal
from itertools import count, groupby, pairwise

import msgspec

from engines.market.calendar import TRADING_DAYS_PER_YEAR
from engines.market.quotes import DAY_SECONDS, Bar
from engines.trading.book import Book, Fill, money
from engines.trading.calibration import Calibration
from engines.trading.signals import SignalEngine, SignalEvent
from engines.trading.strategies.trend import Trend

STRATEGY = f"{Trend.name}: {Trend.description}"
OPENING_CASH = Decimal(1_000_000)
POSITION_SHARE = Decimal("0.15")


class BacktestFailed(ValueError):
    """The bars cannot be tested on. The message is for the user."""


class BacktestCancelled(Exception):
    """Someone asked to stop."""


class BacktestProgress(msgspec.Struct, frozen=True):
    """Where the simulation is. `drawdown` is the share below the highest equity so far."""

    percentage: float
    day: date
    equity: float
    drawdown: float
    trades: int


class BacktestResult(msgspec.Struct, frozen=True):
    """`equity_curve`: value at each day's close. Ratios are yearly (252 days), risk-free rate 0."""

    strategy: str
    start: date
    end: date
    final_equity: float
    total_return: float
    cagr: float
    sharpe: float
    max_drawdown: float
    trades: int
    win_rate: float | None
    equity_curve: Sequence[float]


def run_backtest(
    bars: Sequence[Bar], *, report: Callable[[BacktestProgress], None], cancelled: Callable[[], bool]
) -> BacktestResult:
    """Trade every BUY signal long with a share of the equity, in at the bar's close, out at the signal's end. Intraday
    order is taken as `SignalEngine.on_history_bar` says: the stop before the target. No charges, no slippage.

    `report` is called once per day. Raises `BacktestFailed`, `BacktestCancelled`.
    """
    days = [(day, list(of_day)) for day, of_day in groupby(bars, key=lambda bar: bar.time.date())]
    if len(days) < 60:
        raise BacktestFailed(f"{len(days)} days of bars, at least 60 are needed")
    book, numbers = Book(OPENING_CASH), count(1)
    # Confidence is not traded on, and measured on this very history: an empty calibration says so.
    engine = SignalEngine([Trend()], Calibration("backtest", DAY_SECONDS), new_id=lambda: str(next(numbers)))
    equity_curve: list[float] = []
    trade_results: list[Decimal] = []
    peak = float(OPENING_CASH)
    worst = 0.0
    for number, (day, of_day) in enumerate(days, start=1):
        if cancelled():
            raise BacktestCancelled
        for bar in of_day:
            book.mark({bar.symbol: money(bar.close)})
            for event in engine.on_history_bar(bar):
                result = _trade(book, event)
                if result is not None:
                    trade_results.append(result)
        equity = float(book.totals().total_value)
        equity_curve.append(equity)
        peak = max(peak, equity)
        drawdown = 1 - equity / peak
        worst = max(worst, drawdown)
        report(BacktestProgress(100 * number / len(days), day, equity, drawdown, len(trade_results)))
    return _result(days[0][0], days[-1][0], equity_curve, worst, trade_results)


def _trade(book: Book, event: SignalEvent) -> Decimal | None:
    """Act on a signal; the realised profit, when it ended a trade."""
    position = book.positions.get(event.symbol)
    held = position.quantity if position else 0
    if event.status == "NEW" and event.direction == "BUY" and not held:
        price = money(event.entry_price)
        quantity = int(book.totals().total_value * POSITION_SHARE / price)
        if 0 < quantity * price <= book.cash:
            book.fill(Fill(event.symbol, quantity, price))
    elif event.exit_price is not None and event.direction == "BUY" and held:
        return book.fill(Fill(event.symbol, -held, money(event.exit_price))).realised
    return None


def _result(
    start: date, end: date, equity_curve: Sequence[float], max_drawdown: float, trades: Sequence[Decimal]
) -> BacktestResult:
    final = equity_curve[-1]
    growth = final / float(OPENING_CASH)
    years = len(equity_curve) / TRADING_DAYS_PER_YEAR
    returns = [after / before - 1 for before, after in pairwise(equity_curve)]
    mean = sum(returns) / len(returns)
    deviation = math.sqrt(sum((r - mean) ** 2 for r in returns) / (len(returns) - 1))
    return BacktestResult(
        strategy=STRATEGY,
        start=start,
        end=end,
        final_equity=round(final, 2),
        total_return=round(growth - 1, 6),
        cagr=round(growth ** (1 / years) - 1, 6),
        sharpe=round(mean / deviation * math.sqrt(TRADING_DAYS_PER_YEAR), 4) if deviation else 0.0,
        max_drawdown=round(max_drawdown, 6),
        trades=len(trades),
        win_rate=round(sum(t > 0 for t in trades) / len(trades), 4) if trades else None,
        equity_curve=[round(value, 2) for value in equity_curve],
    )
