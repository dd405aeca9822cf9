from datetime import UTC, date, datetime, timedelta

import pytest

from engines.market.calendar import monthly_expiry, session_day, weekly_expiry
from engines.market.quotes import DAY_SECONDS, BarBuilder, QuoteTick

START = datetime(2026, 1, 5, 3, 45, tzinfo=UTC)


def quote(seconds, price, volume=1.0):
    return QuoteTick("X", START + timedelta(seconds=seconds), price, price, price, volume)


def test_a_bar_closes_with_the_first_quote_of_the_next():
    builder = BarBuilder(60)
    assert [builder.add(quote(s, p)) for s, p in ((0, 10.0), (20, 12.0), (40, 9.0), (59, 11.0))] == [None] * 4
    bar = builder.add(quote(61, 20.0))
    assert (bar.open, bar.high, bar.low, bar.close, bar.volume) == (10, 12, 9, 11, 4)
    assert bar.time == START


def test_a_late_quote_changes_nothing():
    builder = BarBuilder(60)
    builder.add(quote(61, 10.0))
    assert builder.add(quote(59, 99.0)) is None
    assert builder.add(quote(121, 10.0)).high == 10


def test_daily_bars_follow_the_indian_day():
    builder = BarBuilder(DAY_SECONDS)
    builder.add(quote(0, 10.0))
    assert builder.add(quote(6 * 3600, 11.0)) is None
    assert builder.add(quote(24 * 3600, 12.0)).close == 11


@pytest.mark.parametrize(
    ("day", "weekly", "monthly"),
    [
        (date(2026, 1, 5), date(2026, 1, 6), date(2026, 1, 27)),
        (date(2026, 1, 6), date(2026, 1, 6), date(2026, 1, 27)),
        (date(2026, 1, 28), date(2026, 2, 3), date(2026, 2, 24)),
        (date(2026, 12, 30), date(2027, 1, 5), date(2027, 1, 26)),
    ],
)
def test_expiries_are_tuesdays(day, weekly, monthly):
    assert weekly_expiry(day) == weekly
    assert monthly_expiry(day) == monthly


def test_the_session_day_of_a_moment():
    assert session_day(datetime(2026, 1, 2, 9, 0, tzinfo=UTC)) == date(2026, 1, 2)
    assert session_day(datetime(2026, 1, 2, 11, 0, tzinfo=UTC)) == date(2026, 1, 5)
    assert session_day(datetime(2026, 1, 3, 6, 0, tzinfo=UTC)) == date(2026, 1, 5)
