"""What the exchange sets and changes: lot sizes, expiry days, strike steps; from dated CSV files in `reference/`.

A row holds from its date until the next row of the same underlying. An unknown underlying, or a date before its first
row, is a `ValueError`: a guess would be a wrong position size. The files are read once per process.
"""

from __future__ import annotations

import csv
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Generic, Literal, TypeVar

REFERENCE = Path(__file__).parent / "reference"
Series = Literal["weekly", "monthly"]
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")
_T = TypeVar("_T")


class DatedTable(Generic[_T]):
    """Values by key, each valid from a date on. `what` names the value in errors."""

    def __init__(self, what: str, rows: Mapping[str, Mapping[date, _T]]) -> None:
        self._what = what
        self._dates = {key: sorted(values) for key, values in rows.items()}
        self._values = {key: [values[day] for day in self._dates[key]] for key, values in rows.items()}

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(sorted(self._dates))

    def on(self, key: str, day: date) -> _T:
        """The value that is valid on the day. Raises `ValueError`."""
        dates = self._dates.get(key)
        if dates is None:
            raise ValueError(f"no {self._what} is known of {key!r}, only of {', '.join(self.keys)}")
        position = bisect_right(dates, day)
        if not position:
            raise ValueError(f"the {self._what} of {key} on {day} is not known, only from {dates[0]} on")
        return self._values[key][position - 1]


def lot_size(underlying: str, on: date) -> int:
    """Units per lot of the underlying's futures and options on a trading day. Raises `ValueError`."""
    return _lot_sizes().on(underlying, on)


def strike_step(underlying: str, on: date) -> Decimal:
    """Index points between neighbouring strikes near the money. Raises `ValueError`."""
    return _strike_steps().on(underlying, on)


def expiry_weekday(underlying: str, series: Series, on: date) -> int:
    """The weekday (Monday is 0) of expiries that fall on or after the day. Raises `ValueError`."""
    return _expiry_rules(series).on(underlying, on)


def has_weekly_expiry(underlying: str, on: date) -> bool:
    """Whether options expire weekly, and not only monthly. An unknown underlying is a `ValueError`."""
    if underlying not in _expiry_rules("weekly").keys:
        expiry_weekday(underlying, "monthly", date.max)
        return False
    try:
        expiry_weekday(underlying, "weekly", on)
    except ValueError:
        return False
    return True


def underlyings() -> tuple[str, ...]:
    """The underlyings that all tables know."""
    known = set(_lot_sizes().keys) & set(_strike_steps().keys) & set(_expiry_rules("monthly").keys)
    return tuple(sorted(known))


@cache
def session_exceptions() -> Mapping[date, bool]:
    """Days that differ from the calendar package: true for a whole session, false for none."""
    return {
        date.fromisoformat(row["date"]): _one_of(row["session"], ("closed", "open")) == 1
        for row in _rows("session_exceptions.csv")
    }


@cache
def index_symbols() -> Mapping[str, str]:
    """Our symbol by the vendor's name of an index."""
    return {row["tradingsymbol"]: row["symbol"] for row in _rows("index_symbols.csv")}


@cache
def _lot_sizes() -> DatedTable[int]:
    return _table("lot size", "lot_sizes.csv", lambda row: int(row["lot_size"]))


@cache
def _strike_steps() -> DatedTable[Decimal]:
    return _table("strike step", "strike_steps.csv", lambda row: Decimal(row["strike_step"]))


@cache
def _expiry_rules(series: Series) -> DatedTable[int]:
    return _table(
        f"{series} expiry",
        "expiry_rules.csv",
        lambda row: _one_of(row["weekday"], _WEEKDAYS),
        lambda row: row["series"] == series,
    )


def _one_of(value: str, allowed: tuple[str, ...]) -> int:
    if value not in allowed:
        raise ValueError(f"{value!r} is none of {', '.join(allowed)}")
    return allowed.index(value)


def _table(
    what: str,
    name: str,
    value: Callable[[Mapping[str, str]], _T],
    wanted: Callable[[Mapping[str, str]], bool] = lambda _: True,
) -> DatedTable[_T]:
    rows: dict[str, dict[date, _T]] = {}
    for row in _rows(name):
        if not wanted(row):
            continue
        of_underlying = rows.setdefault(row["underlying"], {})
        day = date.fromisoformat(row["valid_from"])
        if day in of_underlying:
            raise ValueError(f"{name}: two rows of {row['underlying']} from {day}")
        of_underlying[day] = value(row)
    return DatedTable(what, rows)


def _rows(name: str) -> Iterator[Mapping[str, str]]:
    with (REFERENCE / name).open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)
