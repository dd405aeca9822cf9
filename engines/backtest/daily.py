"""Value at risk, day after day: the returns of all tested days are worked out once."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from datetime import date, timedelta

import numpy as np

from engines.backtest.market import EPOCH, HistoricalMarket, day_numbers
from engines.trading.risk.value_at_risk import KEPT_DAYS, MIN_DAYS, tail_figures


class DailyRisk:
    """What `engines.trading.risk.value_at_risk` says of a position, with the closes up to a day."""

    def __init__(self, market: HistoricalMarket) -> None:
        self._columns = {symbol: column for column, symbol in enumerate(market.series)}
        closes = []
        for symbol, series in market.series.items():
            earlier = market.earlier[symbol]
            days = day_numbers(np.concatenate([earlier.times, series.times]))
            last = np.flatnonzero(np.diff(days, append=days[-1] + 1))  # bar of each day
            closes.append((days[last], np.concatenate([earlier.close, series.close])[last]))
        every = np.unique(np.concatenate([days for days, _ in closes]))
        prices = np.full((len(every), len(closes)), np.nan)
        for column, (days, of_symbol) in enumerate(closes):
            prices[np.searchsorted(every, days), column] = of_symbol
        changes = prices[1:] / prices[:-1] - 1
        known = np.isfinite(changes)
        counts = known.sum(axis=1)
        proxy = np.where(known, changes, 0.0).sum(axis=1) / np.maximum(counts, 1)
        self._returns = np.where(known, changes, proxy[:, None])
        self._used = counts > 0
        self._days = [EPOCH + timedelta(days=number) for number in every.tolist()]

    def of(self, held: Mapping[str, float], day: date) -> dict[str, float] | None:
        """One-day value at risk and expected shortfall (var_95, var_99, cvar_95, cvar_99) of these rupees by symbol;
        `None`: fewer than `MIN_DAYS` days."""
        stop = max(bisect_right(self._days, day) - 1, 0)
        rows = slice(max(stop - KEPT_DAYS + 1, 0), stop)
        columns = [self._columns[symbol] for symbol in held]
        returns = self._returns[rows, columns][self._used[rows]]
        if len(returns) < MIN_DAYS:
            return None
        found = tail_figures((returns @ np.array(list(held.values())))[None, :])
        return {
            f"{kind}_{level}": float(figure[0])
            for level, both in found.items()
            for kind, figure in zip(("var", "cvar"), both, strict=True)
        }
