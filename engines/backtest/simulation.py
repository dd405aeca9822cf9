"""Days of the past, one after the other: what is filled, decided and counted, and in which order.

Of all bars that start at the same time:

1. Their openings: open signals see them, the account is marked at them, and what was decided at earlier closes is
   carried out at them: first all sales, then purchases, the strongest first.
2. Inside, symbol by symbol: open signals see the path of prices (`path_of`); one that ends is sold at that price.
3. Their closes: the account is marked at them, and the trader decides what is to be done at the next openings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime

import msgspec

from engines.backtest.account import BacktestAccount
from engines.backtest.market import HistoricalMarket, Moment
from engines.backtest.path import path_of, quote_at
from engines.backtest.results import Trade
from engines.backtest.spec import BacktestSpec
from engines.backtest.traders import Entry, Trader
from engines.market.quotes import Bar, QuoteTick
from engines.trading.performance import Drawdown


class BacktestProgress(msgspec.Struct, frozen=True):
    """Where the simulation is, after a day. `drawdown` is the share below the highest equity so far; `new_trades` are
    those closed on it."""

    percentage: float
    day: date
    equity: float
    drawdown: float
    trades: int
    new_trades: tuple[Trade, ...]


class Simulation:
    """One run of one trader. `equity` and `invested_shares`: at each day's close, of `market.days`."""

    def __init__(self, market: HistoricalMarket, spec: BacktestSpec, trader: Trader) -> None:
        self._days, self._trader = len(market.days), trader
        self.description = trader.description
        self.account = BacktestAccount(spec, market)
        self.equity: list[float] = []
        self.invested_shares: list[float] = []
        self._entries: dict[str, Entry] = {entry.symbol: entry for entry in trader.first_entries()}
        self._exits: dict[str, str] = {}  # symbol: reason
        self._drawdown = Drawdown(peak=float(spec.opening_cash))

    def pass_day(self, day: date, moments: Iterable[Moment]) -> BacktestProgress:
        """What this day brings; the days one after the other, as `market.moments()` has them."""
        account, trades_before = self.account, len(self.account.trades)
        account.start_day(day)
        closes: dict[str, float] = {}
        for moment in moments:
            self._open(moment)
            self._inside(moment)
            self._close(moment, closes)
        equity = self._end_day(closes, day)
        return BacktestProgress(
            percentage=100 * len(self.equity) / self._days,
            day=day,
            equity=equity,
            drawdown=self._drawdown.current,
            trades=len(account.trades),
            new_trades=tuple(account.trades[trades_before:]),
        )

    def _open(self, moment: Moment) -> None:
        quotes = {}
        for bar in moment.bars:
            symbol = bar.symbol
            watched = self._trader.levels(symbol) is not None
            if watched or symbol in self._entries or symbol in self._exits:
                quotes[symbol] = quote_at(symbol, moment.time, bar.open)
            if watched:
                for ended in self._trader.on_quote(quotes[symbol]):
                    self._entries.pop(symbol, None)
                    self._exits.setdefault(symbol, ended.reason)
        entries = [self._entries.pop(symbol) for symbol in quotes if symbol in self._entries]
        exits = {symbol: self._exits.pop(symbol) for symbol in quotes if symbol in self._exits}
        if entries or exits or self.account.risk.is_on:
            self.account.mark({bar.symbol: bar.open for bar in moment.bars}, moment.time)
            self._carry_out(entries, exits, quotes, moment.time)

    def _carry_out(
        self, entries: Sequence[Entry], exits: Mapping[str, str], quotes: Mapping[str, QuoteTick], now: datetime
    ) -> None:
        for symbol, reason in exits.items():
            if self.account.holds(symbol):
                self.account.sell(quotes[symbol], reason, now)
        for entry in sorted(entries, key=lambda entry: (-entry.strength, entry.symbol)):
            if not self.account.holds(entry.symbol):
                self.account.buy(quotes[entry.symbol], entry.budget, now)

    def _inside(self, moment: Moment) -> None:
        for bar in moment.bars:
            levels = self._trader.levels(bar.symbol)
            if levels is not None:
                self._walk(bar, path_of(bar, levels.prices, falls_first=levels.falls_first))

    def _walk(self, bar: Bar, path: Sequence[float]) -> None:
        for price in path[1:]:  # the opening was seen
            quote = quote_at(bar.symbol, bar.time, price)
            for ended in self._trader.on_quote(quote):
                if self.account.holds(bar.symbol):
                    self.account.sell(quote, ended.reason, bar.time)

    def _close(self, moment: Moment, closes: dict[str, float]) -> None:
        for bar in moment.bars:
            closes[bar.symbol] = bar.close
            for decision in self._trader.on_close(bar, held=self.account.holds(bar.symbol)):
                if isinstance(decision, Entry):
                    self._entries[decision.symbol] = decision
                else:
                    self._entries.pop(decision.symbol, None)
                    self._exits[decision.symbol] = decision.reason
        if self.account.risk.is_on:
            self.account.mark(closes, moment.time)

    def _end_day(self, closes: Mapping[str, float], day: date) -> float:
        self.account.book.mark(closes)
        self.account.risk.end_day(day)
        totals = self.account.book.totals()
        equity = float(totals.total_value)
        self.equity.append(equity)
        self.invested_shares.append(float(totals.gross_exposure / totals.total_value))
        self._drawdown = self._drawdown.after(equity)
        return equity
