"""Which of many accounts need their monitor: one pass over arrays instead of one call per account and tick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import numpy as np
import numpy.typing as npt

from engines.trading.risk.limits import RiskLimits
from engines.trading.risk.monitor import REARM_AT, WARNING_AT
from engines.trading.risk.numbers import VAR_RULES, RuleName

_Floats = npt.NDArray[np.float64]
_Ints = npt.NDArray[np.int64]

_FIELDS = get_args(RuleName)
_OFF = np.inf
_NEAR = WARNING_AT * REARM_AT * (1 - 1e-9)  # a little early, so that no rounding can hide what the monitor would see


@dataclass(frozen=True)
class RiskArrays:
    """Many accounts' numbers, index by index, in rupees: the fields of `AccountRisk`. `largest_position`: the greatest
    size of a position's market value, NaN when one is unknown.

    What is `None` is not screened. In a one-day figure NaN is unknown, and minus infinity stands for `None`.
    """

    account_ids: _Ints
    total_value: _Floats
    day_start_value: _Floats
    day_pnl: _Floats
    peak_value: _Floats
    gross_exposure: _Floats
    largest_position: _Floats
    margin_used: _Floats | None = None
    var_95: _Floats | None = None
    var_99: _Floats | None = None
    cvar_95: _Floats | None = None
    cvar_99: _Floats | None = None


class LimitTable:
    """The limits of many accounts, and whether their monitors are `watching`, as columns. An account that was not put
    is always suspect."""

    def __init__(self) -> None:
        self._slots: dict[int, int] = {}
        self._free: list[int] = []
        self._limits: _Floats = np.full((len(_FIELDS), 64), np.nan)
        self._watching: npt.NDArray[np.bool_] = np.ones(64, dtype=np.bool_)
        self._sorted: tuple[_Ints, _Ints] | None = None  # account ids, their slots

    def __len__(self) -> int:
        return len(self._slots)

    def put(self, account_id: int, limits: RiskLimits, *, watching: bool) -> None:
        """Take over an account's limits, and what its monitor says; call it after each `RiskMonitor.check`."""
        slot = self._slots.get(account_id)
        if slot is None:
            slot = self._free.pop() if self._free else len(self._slots)
            if slot == len(self._watching):
                self._limits = np.concatenate((self._limits, np.full_like(self._limits, np.nan)), axis=1)
                self._watching = np.concatenate((self._watching, np.ones_like(self._watching)))
            self._slots[account_id] = slot
            self._sorted = None
        values = (getattr(limits, name) for name in _FIELDS)
        self._limits[:, slot] = [_OFF if value is None else float(value) for value in values]
        self._watching[slot] = watching

    def drop(self, account_id: int) -> None:
        """Forget an account; nothing happens when it is not here."""
        slot = self._slots.pop(account_id, None)
        if slot is not None:
            self._limits[:, slot], self._watching[slot] = np.nan, True
            self._free.append(slot)
            self._sorted = None

    def columns(self, account_ids: _Ints) -> tuple[_Floats, npt.NDArray[np.bool_]]:
        """For these accounts: limits, a row per rule (infinite: off), and whether they are watching or unknown here."""
        if not self._slots:
            return np.full((len(_FIELDS), len(account_ids)), np.nan), np.ones(len(account_ids), dtype=np.bool_)
        if self._sorted is None:
            ids = np.fromiter(self._slots, dtype=np.int64, count=len(self._slots))
            slots = np.fromiter(self._slots.values(), dtype=np.int64, count=len(self._slots))
            order = np.argsort(ids)
            self._sorted = ids[order], slots[order]
        ids, slots = self._sorted
        found = np.minimum(np.searchsorted(ids, account_ids), len(ids) - 1)
        slot = slots[found]
        return self._limits[:, slot], self._watching[slot] | (ids[found] != account_ids)


def suspects(numbers: RiskArrays, table: LimitTable) -> _Ints:
    """The indexes of the accounts whose monitor must be called, ascending.

    Those with a rule at 72 % of its limit or above, with a number that is NaN or infinite, that are watching, or that
    are not in the table. For all others `RiskMonitor.check` would do nothing, apart from telling once a day that a
    one-day figure is missing: call it also when an account's limits change, and at the start of a day.
    """
    limits, suspect = table.columns(numbers.account_ids)
    near = dict(zip(_FIELDS, limits * _NEAR, strict=True))
    total, profit = numbers.total_value, numbers.day_pnl
    with np.errstate(invalid="ignore", over="ignore"):  # infinite limits times nothing; what is NaN is looked for
        shares = {
            "daily_loss": (-profit, numbers.day_start_value),
            "drawdown": (numbers.peak_value - total, numbers.peak_value),
            "concentration": (numbers.largest_position, total),
            "gross_exposure": (numbers.gross_exposure, total),
        }
        known = profit + total + numbers.day_start_value + numbers.peak_value + numbers.gross_exposure
        known += numbers.largest_position
        if numbers.margin_used is not None:
            shares["margin_used"] = numbers.margin_used, total
            known += numbers.margin_used
        suspect |= ~np.isfinite(known)
        for name in VAR_RULES:
            figure: _Floats | None = getattr(numbers, name)
            if figure is not None:
                shares[name] = figure, total
        for rule, (amount, base) in shares.items():
            low = (amount < near[rule] * base) | ((base <= 0) & (amount <= 0))
            suspect |= ~low & (near[rule] < _OFF)
        suspect |= ~(profit < near["mtm_target"])
        suspect |= ~(-profit < near["mtm_stop"])
    return np.flatnonzero(suspect)
