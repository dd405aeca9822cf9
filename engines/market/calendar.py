"""The NSE session: Monday to Friday, 09:15 to 15:30 IST. Exchange holidays are not known here yet."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

IST = ZoneInfo("Asia/Kolkata")
SESSION_OPEN = time(9, 15)
SESSION_CLOSE = time(15, 30)
SESSION_SECONDS = 22_500
TRADING_DAYS_PER_YEAR = 252
_TUESDAY = 1


def session_open(day: date) -> datetime:
    """09:15 IST of the day."""
    return datetime.combine(day, SESSION_OPEN, IST)


def next_session_day(day: date) -> date:
    """The first weekday after `day`."""
    following = day + timedelta(days=1)
    while following.weekday() >= 5:
        following += timedelta(days=1)
    return following


def session_day(moment: datetime) -> date:
    """The day whose session contains the moment, or is the next to open after it."""
    local = moment.astimezone(IST)
    if local.weekday() < 5 and local.time() < SESSION_CLOSE:
        return local.date()
    return next_session_day(local.date())


def weekly_expiry(day: date) -> date:
    """The Tuesday on or after the day: NIFTY's weekly expiry since September 2025."""
    return day + timedelta(days=(_TUESDAY - day.weekday()) % 7)


def monthly_expiry(day: date) -> date:
    """The last Tuesday of the month, or of the next month once that has passed."""
    for month_start in (day.replace(day=1), (day.replace(day=1) + timedelta(days=32)).replace(day=1)):
        last = (month_start + timedelta(days=32)).replace(day=1) - timedelta(days=1)
        expiry = last - timedelta(days=(last.weekday() - _TUESDAY) % 7)
        if expiry >= day:
            return expiry
    raise AssertionError("the next month's expiry is always ahead")
