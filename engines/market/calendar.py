"""The NSE session: 09:15 to 15:30 IST, Monday to Friday, without the exchange's holidays; and the days options expire.

Holidays come from the `holidays` package (XNSE), which follows NSE's yearly circulars from 2001 to 2026. For later
years it computes them: Islamic ones are estimates that can be a day off, and the exchange's own choices are not known
yet. Before 2001 it knows none: every weekday then counts as a session. Single days on which NSE did otherwise
(elections, a budget on a Saturday) are in `reference/session_exceptions.csv`. Evening sessions (Muhurat) and half days
are not known.
"""

from __future__ import annotations

from calendar import monthrange
from datetime import date, datetime, time, timedelta
from functools import cache, lru_cache
from zoneinfo import ZoneInfo

from holidays import financial_holidays

from engines.market.reference_data import expiry_weekday, has_weekly_expiry, session_exceptions

IST = ZoneInfo("Asia/Kolkata")
SESSION_OPEN = time(9, 15)
SESSION_CLOSE = time(15, 30)
SESSION_SECONDS = 22_500
TRADING_DAYS_PER_YEAR = 252
FIRST_HOLIDAY_YEAR, LAST_HOLIDAY_YEAR = 2001, 2100
_DAY = timedelta(days=1)


def session_open(day: date) -> datetime:
    """09:15 IST of the day."""
    return datetime.combine(day, SESSION_OPEN, IST)


def session_close(day: date) -> datetime:
    """15:30 IST of the day."""
    return datetime.combine(day, SESSION_CLOSE, IST)


def is_session_day(day: date) -> bool:
    """Whether NSE trades on the day. See the module for the years in which that is sure."""
    exception = session_exceptions().get(day)
    if exception is not None:
        return exception
    return day.weekday() < 5 and day not in _holidays(day.year)


def next_session_day(day: date) -> date:
    """The first session day after `day`."""
    following = day + _DAY
    while not is_session_day(following):
        following += _DAY
    return following


def previous_session_day(day: date) -> date:
    """The last session day before `day`."""
    return _session_day_until(day - _DAY)


def session_day(moment: datetime) -> date:
    """The day whose session contains the moment, or is the next to open after it."""
    local = moment.astimezone(IST)
    if local.time() < SESSION_CLOSE and is_session_day(local.date()):
        return local.date()
    return next_session_day(local.date())


def is_open(moment: datetime) -> bool:
    """Whether the session runs: from 09:15 on, until before 15:30."""
    local = moment.astimezone(IST)
    return SESSION_OPEN <= local.time() < SESSION_CLOSE and is_session_day(local.date())


def weekly_expiry(day: date, underlying: str = "NIFTY") -> date:
    """The first expiry on or after the day. Raises `ValueError` where the underlying has no weekly ones."""
    if not has_weekly_expiry(underlying, day):
        raise ValueError(f"{underlying} has no weekly expiry on {day}")
    return expiries(underlying, day, 1)[0]


def monthly_expiry(day: date, underlying: str = "NIFTY") -> date:
    """The month's last expiry, or the next month's once that has passed. Raises `ValueError`."""
    expiry = monthly_expiry_of(underlying, day.year, day.month)
    return expiry if expiry >= day else monthly_expiry_of(underlying, *_month_after(day.year, day.month))


@lru_cache(maxsize=1_000)
def monthly_expiry_of(underlying: str, year: int, month: int) -> date:
    """The last Tuesday (Thursday before September 2025) of the month, or the session day before when that is a holiday.
    Raises `ValueError` for what the reference data does not know."""
    last = date(year, month, monthrange(year, month)[1])
    weekday = expiry_weekday(underlying, "monthly", last)
    return _session_day_until(last - timedelta(days=(last.weekday() - weekday) % 7))


def expiries(underlying: str, day: date, count: int) -> list[date]:
    """The next `count` expiries on or after the day, weekly and monthly, in order. Raises `ValueError`."""
    if count < 0:
        raise ValueError(f"count is {count}, it must not be negative")
    found: list[date] = []
    year, month = day.year, day.month
    while len(found) < count:
        found += [expiry for expiry in _expiries_of_month(underlying, year, month) if expiry >= day]
        year, month = _month_after(year, month)
    return found[:count]


@lru_cache(maxsize=1_000)
def _expiries_of_month(underlying: str, year: int, month: int) -> tuple[date, ...]:
    """Those that nominally fall into the month, each once."""
    moved = {monthly_expiry_of(underlying, year, month)}
    for number in range(1, monthrange(year, month)[1] + 1):
        day = date(year, month, number)
        if has_weekly_expiry(underlying, day) and day.weekday() == expiry_weekday(underlying, "weekly", day):
            moved.add(_session_day_until(day))
    return tuple(sorted(moved))


def _month_after(year: int, month: int) -> tuple[int, int]:
    return (year + 1, 1) if month == 12 else (year, month + 1)


def _session_day_until(day: date) -> date:
    """The last session day up to and including the day."""
    while not is_session_day(day):
        day -= _DAY
    return day


@cache
def _holidays(year: int) -> frozenset[date]:
    if not FIRST_HOLIDAY_YEAR <= year <= LAST_HOLIDAY_YEAR:
        return frozenset()
    return frozenset(financial_holidays("XNSE", years=year))
