from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.market.calendar import (
    IST,
    expiries,
    is_open,
    is_session_day,
    monthly_expiry,
    monthly_expiry_of,
    next_session_day,
    previous_session_day,
    session_close,
    session_day,
    session_open,
    weekly_expiry,
)
from engines.market.reference_data import (
    expiry_weekday,
    has_weekly_expiry,
    lot_size,
    session_exceptions,
    strike_step,
    underlyings,
)

# NSE's circulars, equity derivatives segment: the weekdays without a session.
CLOSED_2025 = "02-26 03-14 03-31 04-10 04-14 04-18 05-01 08-15 08-27 10-02 10-21 10-22 11-05 12-25"
CLOSED_2026 = "01-15 01-26 03-03 03-26 03-31 04-03 04-14 05-01 05-28 06-26 09-14 10-02 10-20 11-10 11-24 12-25"


def days_of(year):
    return [date(year, 1, 1) + timedelta(days=n) for n in range(365)]


@pytest.mark.parametrize(("year", "closed"), [(2025, CLOSED_2025), (2026, CLOSED_2026)])
def test_weekdays_without_a_session_are_those_of_the_circular(year, closed):
    found = [day for day in days_of(year) if day.weekday() < 5 and not is_session_day(day)]
    assert [f"{day:%m-%d}" for day in found] == closed.split()


def test_weekends_are_none_but_for_the_budget():
    weekends = [day for year in (2025, 2026) for day in days_of(year) if day.weekday() >= 5]
    assert [day for day in weekends if is_session_day(day)] == [date(2025, 2, 1), date(2026, 2, 1)]


def test_every_exception_is_one():
    """A row that says what the calendar says anyway was made useless by a newer package."""
    from engines.market.calendar import _holidays

    for day, is_session in session_exceptions().items():
        assert is_session != (day.weekday() < 5 and day not in _holidays(day.year)), day


def test_the_next_and_the_previous_session_day_skip_weekends_and_holidays():
    assert next_session_day(date(2026, 4, 2)) == date(2026, 4, 6)  # Good Friday
    assert previous_session_day(date(2026, 4, 6)) == date(2026, 4, 2)
    assert next_session_day(date(2026, 1, 30)) == date(2026, 2, 1)  # a budget Sunday


def test_before_the_first_year_of_the_package_only_weekends_are_closed():
    assert is_session_day(date(1999, 1, 26))
    assert not is_session_day(date(1999, 1, 24))


def test_the_session_day_of_a_moment():
    assert session_day(datetime(2026, 1, 2, 9, 0, tzinfo=UTC)) == date(2026, 1, 2)
    assert session_day(datetime(2026, 1, 2, 11, 0, tzinfo=UTC)) == date(2026, 1, 5)
    assert session_day(datetime(2026, 1, 3, 6, 0, tzinfo=UTC)) == date(2026, 1, 5)
    assert session_day(datetime(2026, 1, 26, 6, 0, tzinfo=UTC)) == date(2026, 1, 27)


@pytest.mark.parametrize(
    ("moment", "is_it"),
    [
        (datetime(2026, 1, 5, 9, 14, 59, tzinfo=IST), False),
        (datetime(2026, 1, 5, 9, 15, tzinfo=IST), True),
        (datetime(2026, 1, 5, 15, 29, 59, tzinfo=IST), True),
        (datetime(2026, 1, 5, 15, 30, tzinfo=IST), False),
        (datetime(2026, 1, 5, 6, 0, tzinfo=UTC), True),
        (datetime(2026, 1, 26, 12, 0, tzinfo=IST), False),
        (datetime(2026, 1, 4, 12, 0, tzinfo=IST), False),
    ],
)
def test_whether_the_market_is_open(moment, is_it):
    assert is_open(moment) is is_it


def test_a_session_has_six_hours_and_a_quarter():
    day = date(2026, 1, 5)
    assert session_close(day) - session_open(day) == timedelta(seconds=22_500)


@pytest.mark.parametrize(
    ("day", "weekly", "monthly"),
    [
        (date(2026, 1, 5), date(2026, 1, 6), date(2026, 1, 27)),
        (date(2026, 1, 6), date(2026, 1, 6), date(2026, 1, 27)),
        (date(2026, 1, 28), date(2026, 2, 3), date(2026, 2, 24)),
        (date(2026, 12, 30), date(2027, 1, 5), date(2027, 1, 25)),  # the 26th is Republic Day
        (date(2026, 11, 10), date(2026, 11, 17), date(2026, 11, 23)),  # both Tuesdays, 10th and 24th, are holidays
        (date(2025, 8, 25), date(2025, 8, 28), date(2025, 8, 28)),  # the last on a Thursday
        (date(2025, 8, 29), date(2025, 9, 2), date(2025, 9, 30)),
        (date(2025, 10, 16), date(2025, 10, 20), date(2025, 10, 28)),  # Diwali on the 21st
    ],
)
def test_expiries_of_nifty(day, weekly, monthly):
    assert weekly_expiry(day) == weekly
    assert monthly_expiry(day) == monthly


def test_the_next_expiries_come_in_order():
    november = [date(2026, 11, day) for day in (3, 9, 17, 23)]
    assert expiries("NIFTY", date(2026, 11, 1), 5) == [*november, date(2026, 12, 1)]
    assert expiries("BANKNIFTY", date(2026, 11, 1), 2) == [date(2026, 11, 23), date(2026, 12, 29)]
    assert expiries("NIFTY", date(2026, 11, 1), 0) == []
    with pytest.raises(ValueError, match="must not be negative"):
        expiries("NIFTY", date(2026, 11, 1), -1)


@given(
    st.sampled_from(["NIFTY", "BANKNIFTY", "FINNIFTY", "MIDCPNIFTY"]),
    st.dates(date(2025, 1, 1), date(2035, 12, 31)),
    st.integers(1, 8),
)
def test_expiries_are_session_days_ahead_each_once(underlying, day, count):
    found = expiries(underlying, day, count)
    assert len(set(found)) == count
    assert found == sorted(found)
    assert found[0] >= day
    assert all(is_session_day(expiry) for expiry in found)
    assert monthly_expiry(day, underlying) in expiries(underlying, day, 6)
    nominal = expiry_weekday(underlying, "monthly", found[-1])
    assert all(expiry.weekday() == nominal or not is_session_day(expiry + timedelta(days=1)) for expiry in found[-1:])


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: weekly_expiry(date(2026, 1, 5), "BANKNIFTY"), "BANKNIFTY has no weekly expiry"),
        (lambda: weekly_expiry(date(2018, 1, 5)), "NIFTY has no weekly expiry on 2018-01-05"),
        (lambda: weekly_expiry(date(2026, 1, 5), "SENSEX"), "no monthly expiry is known of 'SENSEX'"),
        (lambda: monthly_expiry(date(1999, 1, 5)), "not known, only from 2000-06-12 on"),
        (lambda: monthly_expiry_of("BANKNIFTY", 2024, 12), "only from 2025-01-01 on"),
        (lambda: expiries("SENSEX", date(2026, 1, 5), 1), "only of BANKNIFTY, FINNIFTY, MIDCPNIFTY, NIFTY"),
        (lambda: lot_size("SENSEX", date(2026, 1, 5)), "no lot size is known of 'SENSEX'"),
        (lambda: lot_size("NIFTY", date(2024, 4, 25)), "not known, only from 2024-04-26 on"),
        (lambda: strike_step("NIFTY", date(2000, 1, 1)), "strike step of NIFTY on 2000-01-01 is not known"),
    ],
)
def test_what_the_reference_data_does_not_know_is_an_error_that_says_so(call, says):
    with pytest.raises(ValueError, match=says):
        call()


@pytest.mark.parametrize(
    ("underlying", "day", "units"),
    [
        ("NIFTY", date(2024, 6, 3), 25),
        ("NIFTY", date(2025, 2, 3), 75),
        ("NIFTY", date(2025, 12, 30), 75),
        ("NIFTY", date(2026, 1, 1), 65),
        ("BANKNIFTY", date(2025, 6, 26), 30),
        ("BANKNIFTY", date(2025, 6, 27), 35),
        ("BANKNIFTY", date(2026, 1, 1), 30),
        ("FINNIFTY", date(2025, 9, 1), 65),
        ("FINNIFTY", date(2026, 1, 1), 60),
        ("MIDCPNIFTY", date(2025, 9, 1), 140),
        ("MIDCPNIFTY", date(2030, 1, 1), 120),
    ],
)
def test_lot_sizes_are_those_of_the_circulars(underlying, day, units):
    assert lot_size(underlying, day) == units


def test_strike_steps_and_who_expires_weekly():
    day = date(2026, 1, 5)
    assert [(u, strike_step(u, day), has_weekly_expiry(u, day)) for u in underlyings()] == [
        ("BANKNIFTY", 100, False),
        ("FINNIFTY", 50, False),
        ("MIDCPNIFTY", 25, False),
        ("NIFTY", 50, True),
    ]
