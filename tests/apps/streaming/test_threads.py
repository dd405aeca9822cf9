"""Questions for the database share a trip to its thread, and each gets its own answer."""

from __future__ import annotations

import asyncio
import threading

import pytest

from apps.streaming import threads
from apps.streaming.threads import MAX_CALLS_PER_TRIP, in_database


@pytest.fixture
def trips(monkeypatch):
    """How many calls each trip took along; made in this very thread, which tests of no database may."""
    taken = []

    def counted(function):
        async def make(calls):
            taken.append(len(calls))
            await asyncio.sleep(0)
            return function(calls)

        return make

    monkeypatch.setattr(threads, "database_sync_to_async", counted)
    return taken


async def test_calls_that_wait_at_one_moment_travel_together_and_keep_their_order(trips):
    made = []
    answers = await asyncio.gather(*(in_database(lambda n=n: made.append(n) or n * n) for n in range(5)))
    assert answers == [0, 1, 4, 9, 16]
    assert made == [0, 1, 2, 3, 4]
    assert trips == [5]


async def test_no_trip_is_so_long_that_the_first_waits_for_a_thousand(trips):
    await asyncio.gather(*(in_database(int) for _ in range(MAX_CALLS_PER_TRIP + 3)))
    assert trips == [MAX_CALLS_PER_TRIP, 3]


async def test_a_call_that_fails_fails_alone(trips):
    outcomes = await asyncio.gather(
        in_database(int, "1"), in_database(int, "one"), in_database(int, "2", base=8), return_exceptions=True
    )
    assert outcomes[0] == 1
    assert isinstance(outcomes[1], ValueError)
    assert outcomes[2] == 2
    assert trips == [3]


async def test_who_went_away_is_not_asked_for(trips):
    made = []
    first = asyncio.create_task(in_database(made.append, "first"))
    gone = asyncio.create_task(in_database(made.append, "gone"))
    await asyncio.sleep(0)
    gone.cancel()
    await first
    assert await in_database(made.append, "last") is None
    assert made in (["first", "last"], ["first", "gone", "last"])  # it may have left with the first


@pytest.mark.django_db(transaction=True)
async def test_calls_are_made_in_a_thread_that_is_not_the_event_loops():
    assert await in_database(threading.get_ident) != threading.get_ident()
