"""What a bad day may cost: historical value at risk and expected shortfall, one day, at 95 % and 99 %.

Each day of the history is played on today's exposures: P&L of day t = sum over factors of exposure * return of t. With
the n results sorted from the worst, and k = n * (1 - c) for the confidence c:

    VaR  = minus the result number floor(k) + 1: the smallest loss that at least a share c of the days did not exceed,
           inf{l : F(l) >= c} of the empirical distribution (McNeil, Frey, Embrechts, Quantitative Risk Management)
    CVaR = minus the mean of the worst k results, where the one at the border counts by the fraction left of k
           (Acerbi, Tasche, "On the coherence of expected shortfall", 2002); never below VaR, and subadditive

Both are rupees, positive for a loss. Fewer than `MIN_DAYS` days give no figure. All days weigh the same; the 99 %
figures rest on very few of them.

A factor is whatever moves an exposure: a share, or for an option its underlying, with delta * units * price as exposure
(so without gamma and vega). A factor without a return on a day, new or never seen, moves that day as the mean of those
that have one; `coverage` says how much of an account's exposure has at least `MIN_DAYS` returns of its own.
"""

from __future__ import annotations

import math
from bisect import insort
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from scipy import sparse

MIN_DAYS = 100
KEPT_DAYS = 500
_CONFIDENCES = (95, 99)
_CHUNK = 2_000  # accounts at once: 500 days of them are 8 MB

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Returns:
    """Simple daily returns, days x symbols, complete. `proxy` is each day's mean, for symbols that are not here; `own`
    the number of each symbol's own returns."""

    days: tuple[date, ...]
    symbols: tuple[str, ...]
    matrix: _Floats
    proxy: _Floats
    own: npt.NDArray[np.int64]


class ReturnHistory:
    """The last `KEPT_DAYS` daily closes of every symbol, in any order of arrival."""

    def __init__(self) -> None:
        self._closes: dict[str, dict[date, float]] = defaultdict(dict)
        self._days: dict[str, list[date]] = defaultdict(list)

    def add_close(self, symbol: str, day: date, close: float) -> None:
        """Note a close, adjusted for splits and dividends; a second one of the same day replaces the first. Raises
        `ValueError` for one that is not above 0."""
        if not (math.isfinite(close) and close > 0):
            raise ValueError(f"the close of {symbol} on {day} is {close}: it must be above 0")
        closes, days = self._closes[symbol], self._days[symbol]
        if day not in closes:
            insort(days, day)
        closes[day] = close
        if len(days) > KEPT_DAYS:
            del closes[days.pop(0)]

    def forget(self, symbols: Iterable[str] | None = None) -> None:
        """Drop these symbols, or (another market) all."""
        for symbol in list(self._closes) if symbols is None else symbols:
            self._closes.pop(symbol, None)
            self._days.pop(symbol, None)

    def closes(self, symbol: str) -> dict[date, float]:
        """A symbol's closes by day, oldest first: for storing them."""
        return {day: self._closes[symbol][day] for day in self._days[symbol]} if symbol in self._closes else {}

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(sorted(self._closes))

    def returns(self) -> Returns:
        """All returns between neighbouring days. Days are those on which anything has a close; a symbol without a close
        on one of two neighbours has no return there: moves over gaps are not taken for daily ones."""
        symbols = self.symbols
        days = sorted({day for closes in self._closes.values() for day in closes})[-KEPT_DAYS:]
        row = {day: index for index, day in enumerate(days)}
        prices = np.full((len(days), len(symbols)), np.nan)
        for column, symbol in enumerate(symbols):
            for day, close in self._closes[symbol].items():
                if day in row:
                    prices[row[day], column] = close
        changes = prices[1:] / prices[:-1] - 1
        known = np.isfinite(changes)
        counts = known.sum(axis=1)
        used = counts > 0
        changes, known = changes[used], known[used]
        proxy = np.where(known, changes, 0.0).sum(axis=1) / counts[used]
        kept = tuple(day for day, use in zip(days[1:], used, strict=True) if use)
        return Returns(kept, symbols, np.where(known, changes, proxy[:, None]), proxy, known.sum(axis=0))


class OneDayRisk(msgspec.Struct, frozen=True, kw_only=True):
    """One account's figures in rupees, positive for a loss; NaN when an exposure is unknown. `coverage` is 1 for an
    account without exposure."""

    var_95: float
    var_99: float
    cvar_95: float
    cvar_99: float
    days: int
    coverage: float


@dataclass(frozen=True)
class OneDayRisks:
    """The same for many accounts, index by index."""

    var_95: _Floats
    var_99: _Floats
    cvar_95: _Floats
    cvar_99: _Floats
    days: int
    coverage: _Floats


def value_at_risk(exposures: Mapping[str, float], returns: Returns) -> OneDayRisk | None:
    """The figures of one account: `exposures` are signed rupees by factor. `None`: fewer than `MIN_DAYS` days."""
    factors = tuple(exposures)
    amounts = sparse.csr_array(np.array([[exposures[factor] for factor in factors]], dtype=np.float64))
    many = values_at_risk(amounts, factors, returns)
    if many is None:
        return None
    return OneDayRisk(
        var_95=float(many.var_95[0]),
        var_99=float(many.var_99[0]),
        cvar_95=float(many.cvar_95[0]),
        cvar_99=float(many.cvar_99[0]),
        days=many.days,
        coverage=float(many.coverage[0]),
    )


def values_at_risk(exposures: Any, factors: Sequence[str], returns: Returns) -> OneDayRisks | None:
    """The figures of many accounts. `exposures`: a SciPy sparse array, accounts x factors, signed rupees, columns as
    `factors`. `None`: fewer than `MIN_DAYS` days. Raises `ValueError` when columns and factors do not agree."""
    if exposures.ndim != 2 or exposures.shape[1] != len(factors):
        raise ValueError(f"exposures are {exposures.shape}: they are accounts x {len(factors)} factors")
    days = len(returns.days)
    if days < MIN_DAYS:
        return None
    moves, own = _moves(factors, returns)
    table = sparse.csr_array(exposures, dtype=np.float64, copy=True)
    table.data[~np.isfinite(table.data)] = np.nan  # NaN spoils all of the account's results, and no other's
    count = table.shape[0]
    figures = {f"{kind}_{level}": np.empty(count) for kind in ("var", "cvar") for level in _CONFIDENCES}
    for start in range(0, count, _CHUNK):
        rows = slice(start, min(start + _CHUNK, count))
        for level, (var, cvar) in tail_figures(np.asarray(table[rows] @ moves)).items():
            figures[f"var_{level}"][rows], figures[f"cvar_{level}"][rows] = var, cvar
    return OneDayRisks(**figures, days=days, coverage=_coverage(table, own))


def tail_figures(pnl: _Floats) -> dict[int, tuple[_Floats, _Floats]]:
    """(VaR, CVaR) of each row of an array accounts x days, by confidence in per cent, as the module defines them."""
    days = pnl.shape[1]
    deepest = max(days * (100 - level) // 100 for level in _CONFIDENCES) + 1
    worst = np.sort(np.partition(pnl, deepest - 1, axis=1)[:, :deepest], axis=1)
    result = {}
    for level in _CONFIDENCES:
        whole, rest = divmod(days * (100 - level), 100)
        border = worst[:, whole]
        tail = worst[:, :whole].sum(axis=1) + border * (rest / 100)
        result[level] = (-border, -tail / (days * (100 - level) / 100))
    return result


def _moves(factors: Sequence[str], returns: Returns) -> tuple[_Floats, npt.NDArray[np.bool_]]:
    """Returns of these factors, factors x days, and which have a history of their own."""
    column = {symbol: index for index, symbol in enumerate(returns.symbols)}
    moves = np.empty((len(factors), len(returns.days)))
    own = np.zeros(len(factors), dtype=np.bool_)
    for row, factor in enumerate(factors):
        index = column.get(factor)
        moves[row] = returns.proxy if index is None else returns.matrix[:, index]
        own[row] = index is not None and returns.own[index] >= MIN_DAYS
    return moves, own


def _coverage(table: Any, own: npt.NDArray[np.bool_]) -> _Floats:
    sizes = abs(table)
    total = np.asarray(sizes.sum(axis=1), dtype=np.float64)
    covered = np.asarray(sizes @ own.astype(np.float64))
    share: _Floats = np.divide(covered, total, out=np.ones(len(total)), where=total != 0)
    return share
