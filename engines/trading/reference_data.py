"""What the paper broker has to know from outside: charges, margins, price bands; from dated CSV files in `reference/`.

A row holds from its date until the next row of the same key; before the first row, the first row holds. The files are
read once per process; `reference/README.md` has their sources.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Generic, TypeVar

from engines.market.reference_data import DatedTable

REFERENCE = Path(__file__).parent / "reference"
_T = TypeVar("_T")


class ReferenceTable(Generic[_T]):
    """Values by key, each valid from a date on, the first also before. `what` names the value in errors."""

    def __init__(self, what: str, rows: Mapping[str, Mapping[date, _T]]) -> None:
        self._table = DatedTable(what, rows)
        self._first = {key: min(values) for key, values in rows.items()}

    @property
    def keys(self) -> tuple[str, ...]:
        return self._table.keys

    def on(self, key: str, day: date) -> _T:
        """The value of the day. Raises `ValueError` for an unknown key."""
        return self._table.on(key, max(day, self._first.get(key, day)))


def read_table(
    what: str, name: str, key: Callable[[Mapping[str, str]], str], value: Callable[[Mapping[str, str]], _T]
) -> ReferenceTable[_T]:
    """Read a file of `reference/`. Raises `ValueError` when two rows say the same thing of the same day."""
    rows: dict[str, dict[date, _T]] = {}
    with (REFERENCE / name).open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            of_key = rows.setdefault(key(row), {})
            day = date.fromisoformat(row["valid_from"])
            if day in of_key:
                raise ValueError(f"{name}: two rows of {key(row)} from {day}")
            of_key[day] = value(row)
    return ReferenceTable(what, rows)
