"""Live profit and loss of all accounts at once: books as columns of integers, marked to market together.

Amounts are int64 in units of 0.0001 rupee, the grid of the books: every figure equals the book's own to the last digit.

Each account owns a *slot*: one column of `_accounts`, and a run of cells in `_rows` (a cell is one open position, spare
cells hold nothing). What flat positions leave behind is folded into the account's sums. An account that outgrows its
run moves to a new slot; free slots are used again, and closed up when more than half of all cells are free.

Bound: cash, every sum of an account, and its gross exposure stay within 2 * 10^14 rupees (int64 ends at 9.2 * 10^14,
and up to four of these are added). What would pass it raises `ValueError`, and changes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from engines.trading.book import PLACES, Book, Position, Totals, price_of

UNITS_PER_RUPEE = 10_000
BOUND = 2 * 10**14 * UNITS_PER_RUPEE

_Ints = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]
_Number = TypeVar("_Number", np.int64, np.float64)

# Rows, one cell per open position. HELD is quantity * multiplier.
_ROW_FIELDS = 10
SYMBOL, HELD, LAST, COST, DAY_COST, DAY_CHARGES, REALISED, CHARGES, MULTIPLIER, MARGINED = range(_ROW_FIELDS)
# Accounts, one column per slot. The first are set by `put`; from NET on they change with every mark.
_ACCOUNT_FIELDS = 15
(
    COUNT,
    OPENING_CASH,
    CASH,
    ACCOUNT_REALISED,
    ACCOUNT_CHARGES,
    ACCOUNT_COST,
    MARGINED_COST,
    ACCOUNT_DAY_COST,  # and the day's charges
    SIZE,  # sum of |HELD|: bounds what a price can do
    NET,
    GROSS,
    LARGEST,
    TOTAL_VALUE,
    PEAK,
    ACCOUNT_ID,
) = range(_ACCOUNT_FIELDS)

_RUN_STEP = 4  # cells of a run are a multiple of it
_FEW_CELLS = 4096  # not worth closing up
_FREE = -1


@dataclass(frozen=True)
class AccountArrays:
    """Every account at the last mark, index by index. Money is float64 in rupees, rounded once from the exact figure.
    `drawdown`: the share below `peak`, 0 where that is not above 0. `largest_position`: the greatest |market value|."""

    account_ids: _Ints
    opening_cash: _Floats
    cash: _Floats
    total_value: _Floats
    realised_pnl: _Floats
    unrealised_pnl: _Floats
    charges: _Floats
    daily_pnl: _Floats
    gross_exposure: _Floats
    net_exposure: _Floats
    largest_position: _Floats
    position_count: _Ints
    peak: _Floats
    drawdown: _Floats
    max_drawdown: _Floats


class LivePnl:
    """All accounts' books, marked together. Use from one thread. `put` an account after each change of its book."""

    def __init__(self) -> None:
        self._slots: dict[int, int] = {}  # account id -> slot
        self._free_slots: dict[int, list[int]] = defaultdict(list)  # by cells
        self._free_cells = 0
        self._slot_count = 0
        self._cell_count = 0
        self._accounts: _Ints = np.zeros((_ACCOUNT_FIELDS, 64), dtype=np.int64)
        self._max_drawdown: _Floats = np.zeros(64)
        self._starts: _Ints = np.zeros(64, dtype=np.int64)  # each slot's first cell; they ascend
        self._sizes: _Ints = np.zeros(64, dtype=np.int64)  # each slot's cells
        self._rows: _Ints = np.zeros((_ROW_FIELDS, 256), dtype=np.int64)
        self._symbols = _Symbols()

    def __len__(self) -> int:
        return len(self._slots)

    def __contains__(self, account_id: object) -> bool:
        return account_id in self._slots

    @property
    def symbols(self) -> Collection[str]:
        """What anybody holds."""
        return self._symbols.index.keys()

    def put(
        self, account_id: int, book: Book, *, peak: Decimal | None = None, max_drawdown: float | None = None
    ) -> None:
        """Take over an account's book as it is now; what is kept is a copy.

        Its last prices are the book's: mark a book that was not marked with the others before putting it. `peak` and
        `max_drawdown` restore what an earlier run had seen; without, a new account's peak is the higher of its opening
        cash and its value, a known account keeps its own. Raises `ValueError` for an amount beyond the bound or finer
        than 0.0001; then nothing changed.
        """
        positions = [position for position in book.positions.values() if position.quantity]
        cells, figures = _columns(account_id, book, positions)
        slot = self._slots.get(account_id)
        total = figures[TOTAL_VALUE]
        if slot is None:
            seen_peak, seen_drawdown = figures[OPENING_CASH], 0.0
        else:
            seen_peak, seen_drawdown = int(self._accounts[PEAK, slot]), float(self._max_drawdown[slot])
        figures[PEAK] = max(total, seen_peak if peak is None else _units(peak))
        worst = max(_drawdown(figures[PEAK], total), seen_drawdown if max_drawdown is None else max_drawdown)
        for position, cell in zip(positions, cells, strict=True):
            cell[SYMBOL] = self._symbols.hold(position.symbol)
        if slot is None:
            slot = self._allocate(account_id, len(cells))
        elif len(cells) <= self._sizes[slot]:
            self._let_go(slot)
        else:
            self._release(account_id)
            self._close_up_if_worthwhile()
            slot = self._allocate(account_id, len(cells))
        start = int(self._starts[slot])
        if cells:
            self._rows[:, start : start + len(cells)] = np.array(cells, dtype=np.int64).T
        self._accounts[:, slot] = figures
        self._max_drawdown[slot] = worst

    def drop(self, account_id: int) -> None:
        """Forget an account; nothing happens when it is not here."""
        if account_id in self._slots:
            self._release(account_id)
            self._close_up_if_worthwhile()

    def mark(self, prices: Mapping[str, Decimal | float]) -> None:
        """Mark every position whose symbol is among the prices; the others keep theirs. Prices are rounded to 0.0001.

        Raises `ValueError` for a price of a held symbol that is negative or not finite, or that brings an account's
        gross exposure beyond the bound; then nothing changed.
        """
        indexes, units = self._known(prices)
        if indexes:
            self._revalue(indexes, units)
            self._raise_peaks()

    def start_day(self, previous_closes: Mapping[str, Decimal | float]) -> None:
        """Begin a trading day for everybody, as `Book.start_day` does. Raises `ValueError` as `mark` does."""
        self._revalue(*self._known(previous_closes))
        rows, accounts = self._rows[:, : self._cell_count], self._accounts[:, : self._slot_count]
        rows[DAY_COST] = rows[HELD] * rows[LAST]
        rows[DAY_CHARGES] = 0
        accounts[ACCOUNT_DAY_COST] = accounts[NET]
        self._raise_peaks()

    def totals(self, account_ids: Iterable[int]) -> list[Totals]:
        """Each account's totals: its book's at the same prices. Raises `ValueError` for one that is not here."""
        columns = self._accounts[:, [self._slot(account_id) for account_id in account_ids]].T.tolist()
        return [
            Totals(
                cash=_rupees(a[CASH]),
                total_value=_rupees(a[TOTAL_VALUE]),
                realised_pnl=_rupees(a[ACCOUNT_REALISED]),
                unrealised_pnl=_rupees(a[NET] - a[ACCOUNT_COST]),
                charges=_rupees(a[ACCOUNT_CHARGES]),
                total_pnl=_rupees(a[TOTAL_VALUE] - a[OPENING_CASH]),
                daily_pnl=_rupees(a[NET] - a[ACCOUNT_DAY_COST]),
                position_count=a[COUNT],
                gross_exposure=_rupees(a[GROSS]),
                net_exposure=_rupees(a[NET]),
            )
            for a in columns
        ]

    def positions_of(self, account_id: int) -> list[Position]:
        """The account's open positions, marked, in its book's order. Raises `ValueError` for one that is not here."""
        slot = self._slot(account_id)
        start = int(self._starts[slot])
        cells = self._rows[:, start : start + int(self._accounts[COUNT, slot])].T.tolist()
        return [
            Position(
                symbol=self._symbols.names[c[SYMBOL]],
                quantity=c[HELD] // c[MULTIPLIER],
                cost=_rupees(c[COST]),
                realised_pnl=_rupees(c[REALISED]),
                charges=_rupees(c[CHARGES]),
                last_price=_rupees(c[LAST]),
                day_cost=_rupees(c[DAY_COST]),
                day_charges=_rupees(c[DAY_CHARGES]),
                margined=bool(c[MARGINED]),
                multiplier=c[MULTIPLIER],
            )
            for c in cells
        ]

    def peak_and_max_drawdown(self, account_id: int) -> tuple[Decimal, float]:
        """What `put` restores: the highest total value seen, and the greatest share lost from a peak.

        Raises `ValueError` for an account that is not here.
        """
        slot = self._slot(account_id)
        return _rupees(int(self._accounts[PEAK, slot])), float(self._max_drawdown[slot])

    @property
    def arrays(self) -> AccountArrays:
        """All accounts' figures for vectorised rules: copies, in no particular order of accounts."""
        slots = np.fromiter(self._slots.values(), dtype=np.int64, count=len(self._slots))
        a = self._accounts[:, slots]
        return AccountArrays(
            account_ids=a[ACCOUNT_ID],
            opening_cash=a[OPENING_CASH] / UNITS_PER_RUPEE,
            cash=a[CASH] / UNITS_PER_RUPEE,
            total_value=a[TOTAL_VALUE] / UNITS_PER_RUPEE,
            realised_pnl=a[ACCOUNT_REALISED] / UNITS_PER_RUPEE,
            unrealised_pnl=(a[NET] - a[ACCOUNT_COST]) / UNITS_PER_RUPEE,
            charges=a[ACCOUNT_CHARGES] / UNITS_PER_RUPEE,
            daily_pnl=(a[NET] - a[ACCOUNT_DAY_COST]) / UNITS_PER_RUPEE,
            gross_exposure=a[GROSS] / UNITS_PER_RUPEE,
            net_exposure=a[NET] / UNITS_PER_RUPEE,
            largest_position=a[LARGEST] / UNITS_PER_RUPEE,
            position_count=a[COUNT],
            peak=a[PEAK] / UNITS_PER_RUPEE,
            drawdown=_drawdowns(a[PEAK], a[TOTAL_VALUE]),
            max_drawdown=self._max_drawdown[slots],
        )

    def _known(self, prices: Mapping[str, Decimal | float]) -> tuple[list[int], list[int]]:
        index = self._symbols.index
        held = [(index[symbol], _price_units(symbol, price)) for symbol, price in prices.items() if symbol in index]
        return [symbol for symbol, _ in held], [units for _, units in held]

    def _revalue(self, indexes: Sequence[int], units: Sequence[int]) -> None:
        """Set last prices by symbol, then NET, GROSS, LARGEST and TOTAL_VALUE of all."""
        if not self._slot_count:
            return
        rows, accounts = self._rows[:, : self._cell_count], self._accounts[:, : self._slot_count]
        starts = self._starts[: self._slot_count]
        by_symbol = np.full(len(self._symbols.names) or 1, -1, dtype=np.int64)
        by_symbol[indexes] = units
        last = by_symbol[rows[SYMBOL]]
        np.copyto(last, rows[LAST], where=last < 0)
        if int(accounts[SIZE].max()) * int(last.max()) > BOUND:  # then some account may be beyond it: look closely
            gross = np.add.reduceat(np.abs(rows[HELD]) * last.astype(np.float64), starts)
            if gross.max() > BOUND:
                account_id = int(accounts[ACCOUNT_ID, gross.argmax()])
                raise ValueError(
                    f"account {account_id} would have a gross exposure of {gross.max() / UNITS_PER_RUPEE:.4g} rupees, "
                    f"at most {BOUND // UNITS_PER_RUPEE:.0e} can be counted"
                )
        rows[LAST] = last
        value = rows[HELD] * last
        np.add.reduceat(value, starts, out=accounts[NET])
        np.abs(value, out=value)
        np.add.reduceat(value, starts, out=accounts[GROSS])
        np.maximum.reduceat(value, starts, out=accounts[LARGEST])
        accounts[TOTAL_VALUE] = accounts[CASH] + accounts[NET] - accounts[MARGINED_COST]

    def _raise_peaks(self) -> None:
        accounts, worst = self._accounts[:, : self._slot_count], self._max_drawdown[: self._slot_count]
        np.maximum(accounts[PEAK], accounts[TOTAL_VALUE], out=accounts[PEAK])
        np.maximum(worst, _drawdowns(accounts[PEAK], accounts[TOTAL_VALUE]), out=worst)

    # Slots

    def _slot(self, account_id: int) -> int:
        slot = self._slots.get(account_id)
        if slot is None:
            raise ValueError(f"account {account_id} is not among the {len(self._slots)} that were put")
        return slot

    def _allocate(self, account_id: int, cells: int) -> int:
        size = max(_RUN_STEP, -(-cells // _RUN_STEP) * _RUN_STEP)
        if self._free_slots[size]:
            slot = self._free_slots[size].pop()
            self._free_cells -= size
        else:
            slot = self._slot_count
            if slot == len(self._starts):
                self._accounts = _doubled(self._accounts)
                self._max_drawdown = _doubled(self._max_drawdown)
                self._starts, self._sizes = _doubled(self._starts), _doubled(self._sizes)
            while self._cell_count + size > self._rows.shape[1]:
                self._rows = _doubled(self._rows)
            self._starts[slot], self._sizes[slot] = self._cell_count, size
            self._slot_count += 1
            self._cell_count += size
        self._slots[account_id] = slot
        return slot

    def _let_go(self, slot: int) -> None:
        """Empty the slot's cells."""
        start, count = int(self._starts[slot]), int(self._accounts[COUNT, slot])
        for symbol in self._rows[SYMBOL, start : start + count].tolist():
            self._symbols.let_go(symbol)
        self._rows[:, start : start + count] = 0

    def _release(self, account_id: int) -> None:
        slot = self._slots.pop(account_id)
        self._let_go(slot)
        self._accounts[:, slot] = 0
        self._accounts[ACCOUNT_ID, slot] = _FREE
        self._max_drawdown[slot] = 0
        size = int(self._sizes[slot])
        self._free_slots[size].append(slot)
        self._free_cells += size

    def _close_up_if_worthwhile(self) -> None:
        if self._cell_count <= _FEW_CELLS or 2 * self._free_cells <= self._cell_count:
            return
        slots = np.sort(np.fromiter(self._slots.values(), dtype=np.int64, count=len(self._slots)))
        sizes, old_starts = self._sizes[slots], self._starts[slots]
        ends = np.cumsum(sizes)
        starts = ends - sizes
        cells = np.arange(int(sizes.sum())) + np.repeat(old_starts - starts, sizes)
        self._rows = self._rows[:, cells]
        self._accounts = self._accounts[:, slots]
        self._max_drawdown = self._max_drawdown[slots]
        self._starts, self._sizes = starts, sizes
        self._slot_count, self._cell_count = len(slots), len(cells)
        self._free_slots.clear()
        self._free_cells = 0
        self._slots = {account_id: slot for slot, account_id in enumerate(self._accounts[ACCOUNT_ID].tolist())}


class _Symbols:
    """Numbers for the symbols that somebody holds. A number is given again after its last holder let go."""

    def __init__(self) -> None:
        self.index: dict[str, int] = {}
        self.names: list[str] = []
        self._holders: list[int] = []
        self._free: list[int] = []

    def hold(self, symbol: str) -> int:
        number = self.index.get(symbol)
        if number is None:
            if self._free:
                number = self._free.pop()
                self.names[number] = symbol
            else:
                number = len(self.names)
                self.names.append(symbol)
                self._holders.append(0)
            self.index[symbol] = number
        self._holders[number] += 1
        return number

    def let_go(self, number: int) -> None:
        self._holders[number] -= 1
        if not self._holders[number]:
            del self.index[self.names[number]]
            self._free.append(number)


def _columns(account_id: int, book: Book, positions: Sequence[Position]) -> tuple[list[list[int]], list[int]]:
    """An account's cells, without the symbols' numbers, and its column, without the peak."""
    cells = [
        [
            0,
            p.quantity * p.multiplier,
            _units(p.last_price),
            _units(p.cost),
            _units(p.day_cost),
            _units(p.day_charges),
            _units(p.realised_pnl),
            _units(p.charges),
            p.multiplier,
            int(p.margined),
        ]
        for p in positions
    ]
    flat = [p for p in book.positions.values() if not p.quantity]
    values = [cell[HELD] * cell[LAST] for cell in cells]
    sizes = [abs(value) for value in values]
    figures = [0] * _ACCOUNT_FIELDS
    figures[COUNT] = len(cells)
    figures[OPENING_CASH] = _units(book.opening_cash)
    figures[CASH] = _units(book.cash)
    figures[ACCOUNT_REALISED] = sum([cell[REALISED] for cell in cells]) + sum([_units(p.realised_pnl) for p in flat])
    figures[ACCOUNT_CHARGES] = sum([cell[CHARGES] for cell in cells]) + sum([_units(p.charges) for p in flat])
    figures[ACCOUNT_COST] = sum([cell[COST] for cell in cells])
    figures[MARGINED_COST] = sum([cell[COST] for cell in cells if cell[MARGINED]])
    figures[ACCOUNT_DAY_COST] = sum([cell[DAY_COST] + cell[DAY_CHARGES] for cell in cells]) + sum(
        [_units(p.day_cost) + _units(p.day_charges) for p in flat]
    )
    figures[SIZE] = sum([abs(cell[HELD]) for cell in cells])
    figures[NET] = sum(values)
    figures[GROSS] = sum(sizes)
    figures[LARGEST] = max(sizes, default=0)
    if max(figures) > BOUND or min(figures) < -BOUND:
        raise ValueError(
            f"account {account_id} is beyond the {BOUND // UNITS_PER_RUPEE:.0e} rupees that can be counted"
        )
    figures[TOTAL_VALUE] = figures[CASH] + figures[NET] - figures[MARGINED_COST]
    figures[ACCOUNT_ID] = account_id
    return cells, figures


def _units(amount: Decimal) -> int:
    """Rupees to units. Raises `ValueError` when that is not exact, or too much."""
    scaled = amount * UNITS_PER_RUPEE
    if scaled.is_finite():
        units = int(scaled)
        if units == scaled and -BOUND <= units <= BOUND:
            return units
    raise ValueError(
        f"{amount} rupees cannot be counted: at most four places, and at most {BOUND // UNITS_PER_RUPEE:.0e} rupees"
    )


def _price_units(symbol: str, price: Decimal | float) -> int:
    """A price in units, rounded as the books round it (`price_of`)."""
    if type(price) is float and 0 <= price < 1e8:  # fast, and exact: the product is off by under 0.001
        scaled = price * UNITS_PER_RUPEE
        nearest = round(scaled)
        if abs(scaled - nearest) < 0.499:
            return nearest
    return _units(price_of(symbol, price))


def _rupees(units: int) -> Decimal:
    return Decimal(units) * PLACES


def _drawdown(peak: int, value: int) -> float:
    return (peak - value) / peak if peak > 0 else 0.0


def _drawdowns(peaks: _Ints, values: _Ints) -> _Floats:
    high, now = peaks.astype(np.float64), values.astype(np.float64)
    return np.divide(high - now, high, out=np.zeros(len(high)), where=high > 0)


def _doubled(array: npt.NDArray[_Number]) -> npt.NDArray[_Number]:
    """The same, with as much room again along the last axis, zeroed."""
    length = array.shape[-1]
    larger = np.zeros((*array.shape[:-1], max(64, 2 * length)), dtype=array.dtype)
    larger[..., :length] = array
    return larger
