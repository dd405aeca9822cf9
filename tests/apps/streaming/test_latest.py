"""The newest rows of each of many, asked for together, are those that one would get alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from operator import attrgetter

import pytest

from apps.accounts.models import User
from apps.streaming import latest
from apps.streaming.latest import latest_of_each
from apps.trading.models import Signal

pytestmark = pytest.mark.django_db
START = datetime(2026, 11, 2, 9, 15, tzinfo=UTC)


@pytest.fixture
def users():
    users = [User.objects.create_user(f"{n}@example.com", "x") for n in range(3)]
    Signal.objects.bulk_create(
        Signal(
            user=users[n % 3] if n % 4 else None,
            symbol=("TCS", "INFY")[n % 2],
            signal_type="BUY",
            confidence_score=0.5,
            entry_price=n,
            metadata={"n": n, "what": "100 % sure"},
            created_at=START + timedelta(minutes=n),
        )
        for n in range(60)
    )
    return users


def test_each_gets_its_own_newest_rows_with_every_field(users):
    found = list(latest_of_each(Signal.objects.all(), "user_id", [str(user.pk) for user in users], 5))
    expected = [row for user in users for row in Signal.objects.filter(user=user)[:5]]
    in_order = attrgetter("user_id", "created_at")
    for row, other in zip(sorted(found, key=in_order), sorted(expected, key=in_order), strict=True):
        assert row.pk == other.pk
        assert (row.metadata, row.entry_price, row.created_at) == (other.metadata, other.entry_price, other.created_at)


def test_what_else_is_filtered_stays_filtered(users):
    found = latest_of_each(
        Signal.objects.filter(user=users[1], signal_type="BUY"), "symbol", ["TCS", "INFY", "SBIN"], 3
    )
    expected = [row for symbol in ("TCS", "INFY") for row in Signal.objects.filter(user=users[1], symbol=symbol)[:3]]
    assert {row.pk for row in found} == {row.pk for row in expected}


def test_a_query_serves_many_and_hundreds_take_several(users, monkeypatch, django_assert_num_queries):
    ids = [user.pk for user in users]
    with django_assert_num_queries(1):
        assert len(list(latest_of_each(Signal.objects.all(), "user_id", ids, 2))) == 6
    monkeypatch.setattr(latest, "VALUES_PER_QUERY", 2)
    with django_assert_num_queries(2):
        assert len(list(latest_of_each(Signal.objects.all(), "user_id", ids, 2))) == 6


def test_nobody_gets_nothing_without_a_query(django_assert_num_queries):
    with django_assert_num_queries(0):
        assert list(latest_of_each(Signal.objects.all(), "user_id", [], 2)) == []
