"""What can be quoted: the kinds, a small universe, the vendor's instrument dump, and options by NSE's naming."""

from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import IO, Literal

import msgspec

from engines.market.calendar import monthly_expiry_of
from engines.market.files import BadRow, UnusableFile
from engines.market.reference_data import index_symbols, lot_size

InstrumentKind = Literal["index", "equity", "future", "option"]
OptionType = Literal["CE", "PE"]

DUMP_COLUMNS = (
    "instrument_token",
    "exchange_token",
    "tradingsymbol",
    "name",
    "last_price",
    "expiry",
    "strike",
    "tick_size",
    "lot_size",
    "instrument_type",
    "segment",
    "exchange",
)
OPTION_TICK = Decimal("0.05")
_KINDS: Mapping[str, InstrumentKind] = {"EQ": "equity", "FUT": "future", "CE": "option", "PE": "option"}
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKLY_MONTHS = "123456789OND"
_SYMBOL = re.compile(r"[A-Z0-9][A-Z0-9&_.\-]{0,39}")
_MAX_NUMBER = Decimal(10) ** 9


class Instrument(msgspec.Struct, frozen=True):
    """A quoted thing. `sector` groups what moves together; `token` is the data vendor's number for it, 0 without one.
    A quantity is in units, of which a tradable order holds whole lots."""

    symbol: str
    name: str
    kind: InstrumentKind
    sector: str = ""
    exchange: str = "NSE"
    lot_size: int = 1
    tick_size: Decimal = Decimal("0.05")
    multiplier: int = 1
    underlying: str = ""
    expiry: date | None = None
    strike: Decimal | None = None
    option_type: OptionType | None = None
    token: int = 0


NSE_UNIVERSE: tuple[Instrument, ...] = (
    Instrument("NIFTY", "NIFTY 50", "index"),
    Instrument("BANKNIFTY", "NIFTY Bank", "index", "banks"),
    Instrument("RELIANCE", "Reliance Industries", "equity", "energy"),
    Instrument("HDFCBANK", "HDFC Bank", "equity", "banks"),
    Instrument("ICICIBANK", "ICICI Bank", "equity", "banks"),
    Instrument("SBIN", "State Bank of India", "equity", "banks"),
    Instrument("AXISBANK", "Axis Bank", "equity", "banks"),
    Instrument("INFY", "Infosys", "equity", "technology"),
    Instrument("TCS", "Tata Consultancy Services", "equity", "technology"),
    Instrument("ITC", "ITC", "equity", "consumer"),
    Instrument("HINDUNILVR", "Hindustan Unilever", "equity", "consumer"),
    Instrument("LT", "Larsen & Toubro", "equity", "industry"),
    Instrument("M&M", "Mahindra & Mahindra", "equity", "industry"),
    Instrument("BHARTIARTL", "Bharti Airtel", "equity", "telecom"),
)


def option_symbol(underlying: str, expiry: date, strike: Decimal | float, option_type: OptionType) -> str:
    """NSE's name: `NIFTY26NOV25000CE` for the month's last expiry, `NIFTY26N1725000CE` (month 1-9, O, N, D; day) for
    a weekly one. Raises `ValueError` for an underlying whose expiries are not known, or a strike that is no price."""
    price = _strike(strike)
    if expiry == monthly_expiry_of(underlying, expiry.year, expiry.month):
        when = _MONTHS[expiry.month - 1]
    else:
        when = f"{_WEEKLY_MONTHS[expiry.month - 1]}{expiry.day:02}"
    return f"{underlying}{expiry.year % 100:02}{when}{price:f}{option_type}"


def option_instruments(underlying: str, expiry: date, strikes: Iterable[Decimal | float], on: date) -> list[Instrument]:
    """A call and a put of each strike, in the order of the strikes, with the lot size of the day. Raises `ValueError`
    for an underlying or a day that the reference data does not know, a strike that is no price, and a past expiry."""
    if expiry < on:
        raise ValueError(f"the options of {underlying} of {expiry} have expired on {on}")
    units = lot_size(underlying, on)
    option_types: tuple[OptionType, ...] = ("CE", "PE")
    return [
        Instrument(
            symbol=option_symbol(underlying, expiry, strike, option_type),
            name=f"{underlying} {expiry:%d %b %Y} {_strike(strike):f} {option_type}",
            kind="option",
            exchange="NFO",
            lot_size=units,
            tick_size=OPTION_TICK,
            underlying=underlying,
            expiry=expiry,
            strike=_strike(strike),
            option_type=option_type,
        )
        for strike in strikes
        for option_type in option_types
    ]


def load_instruments(
    path: Path, on: date, *, exchanges: Collection[str] = ("NSE", "NFO")
) -> tuple[Sequence[Instrument], Sequence[BadRow]]:
    """Read an instrument dump (CSV or gzipped CSV with `DUMP_COLUMNS`, any order and case of columns): what can be
    traded on the day `on`, in the file's order, and the rows that are of no use, with line and reason.

    Rows of other exchanges are left out. An index has the symbol that `reference/index_symbols.csv` gives it, else its
    name without spaces. A symbol counts once, the first time. A contract that expired before `on` is a bad row. Raises
    `UnusableFile` for a file that cannot be read, lacks columns or has no good row.
    """
    instruments: dict[str, Instrument] = {}
    bad_rows: list[BadRow] = []
    for line, row in _dump_rows(path):
        try:
            exchange = _text(row, "exchange")
            if exchange and exchange not in exchanges:
                continue
            instrument = _instrument(row, on)
            if instrument.symbol in instruments:
                raise ValueError(f"a second row of {instrument.symbol}")  # noqa: TRY301 - one place reports bad rows
        except ValueError as error:
            bad_rows.append(BadRow(path.name, line, str(error)))
            continue
        instruments[instrument.symbol] = instrument
    if not instruments:
        first = f"; the first problem: {bad_rows[0]}" if bad_rows else ""
        raise UnusableFile(f"{path}: no row can be used{first}")
    return list(instruments.values()), bad_rows


def _instrument(row: Mapping[str, str | None], on: date) -> Instrument:
    is_index = _text(row, "segment") == "INDICES"
    type_name = _text(row, "instrument_type")
    if type_name not in _KINDS:
        raise ValueError(f"instrument_type is {type_name!r}, it must be one of {', '.join(_KINDS)}")
    kind: InstrumentKind = "index" if is_index else _KINDS[type_name]
    written = _text(row, "tradingsymbol")
    symbol = index_symbols().get(written, written.replace(" ", "")) if is_index else written
    if not _SYMBOL.fullmatch(symbol):
        raise ValueError(f"tradingsymbol is {written[:60]!r}, it must be 1 to 40 of A-Z, 0-9, '&', '_', '.' and '-'")
    token = _whole(row, "instrument_token", at_least=1)
    exchange = _text(row, "exchange")
    if not exchange:
        raise ValueError("exchange is empty")
    name = _text(row, "name") or written
    if is_index:  # the dump says 0 for what is not traded
        return Instrument(symbol, name, "index", exchange=exchange, token=token)
    units, tick = _whole(row, "lot_size", at_least=1), _positive(row, "tick_size")
    if kind == "equity":
        return Instrument(symbol, name, kind, exchange=exchange, lot_size=units, tick_size=tick, token=token)
    expiry = _expiry(row, on)
    strike = _positive(row, "strike").normalize() if kind == "option" else None
    return Instrument(
        symbol=symbol,
        name=symbol,
        kind=kind,
        exchange=exchange,
        lot_size=units,
        tick_size=tick,
        underlying=_text(row, "name") or _underlying(symbol, expiry),
        expiry=expiry,
        strike=None if strike is None else _strike(strike),
        option_type=_option_type(type_name),
        token=token,
    )


def _option_type(type_name: str) -> OptionType | None:
    return "CE" if type_name == "CE" else "PE" if type_name == "PE" else None


def _underlying(symbol: str, expiry: date) -> str:
    """What stands before the expiry in the symbol of a derivative, for dumps that leave `name` empty."""
    year = f"{expiry.year % 100:02}"
    for when in (_MONTHS[expiry.month - 1], f"{_WEEKLY_MONTHS[expiry.month - 1]}{expiry.day:02}"):
        before, found, _ = symbol.rpartition(year + when)
        if found and before:
            return before
    raise ValueError(f"name is empty, and {symbol} does not say its underlying before the expiry {expiry}")


def _expiry(row: Mapping[str, str | None], on: date) -> date:
    written = _text(row, "expiry")
    try:
        expiry = date.fromisoformat(written)
    except ValueError:
        raise ValueError(f"expiry is {written[:60]!r}, it must be a date, YYYY-MM-DD") from None
    if expiry < on:
        raise ValueError(f"it expired on {expiry}, before {on}")
    return expiry


def _strike(value: Decimal | float) -> Decimal:
    """A strike without trailing zeros. Raises `ValueError`."""
    strike = value if isinstance(value, Decimal) else Decimal(str(value))
    if not (strike.is_finite() and 0 < strike <= _MAX_NUMBER):
        raise ValueError(f"strike is {value}, it must be above 0 and at most {_MAX_NUMBER:,f}")
    return strike.quantize(Decimal(1)) if strike == strike.to_integral_value() else strike.normalize()


def _text(row: Mapping[str, str | None], column: str) -> str:
    return (row.get(column) or "").strip()


def _positive(row: Mapping[str, str | None], column: str) -> Decimal:
    written = _text(row, column)
    try:
        number = Decimal(written)
    except InvalidOperation:
        number = Decimal("NaN")
    if not (number.is_finite() and 0 < number <= _MAX_NUMBER):
        raise ValueError(f"{column} is {written[:60]!r}, it must be a number above 0 and at most {_MAX_NUMBER:,f}")
    return number


def _whole(row: Mapping[str, str | None], column: str, *, at_least: int) -> int:
    written = _text(row, column)
    if not (written.isascii() and written.isdigit() and len(written) <= 18 and int(written) >= at_least):
        raise ValueError(f"{column} is {written[:60]!r}, it must be a whole number from {at_least} on")
    return int(written)


def _dump_rows(path: Path) -> Iterator[tuple[int, Mapping[str, str | None]]]:
    try:
        with _open_text(path) as file:
            reader = csv.DictReader(file)
            reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
            missing = [column for column in DUMP_COLUMNS if column not in reader.fieldnames]
            if missing:
                raise UnusableFile(f"{path}: the column(s) {', '.join(missing)} are missing")
            for row in reader:
                yield reader.line_num, row
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise UnusableFile(f"{path}: {error}") from None


def _open_text(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return path.open(encoding="utf-8-sig", newline="")
