"""Questions for the database share a trip to its thread, and each gets its own answer."""

from __future__ import annotations

import asyncio
import threading

import pytest
from django.db import OperationalError

from apps.streaming import threads
from apps.streaming.threads import MAX_CALLS_PER_TRIP, MAX_QUESTIONS_PER_CALL, in_database, in_database_together


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
    monkeypatch.setattr(threads, "CROWD_SECONDS", 0.0)
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


async def test_after_a_crowd_the_next_trip_waits_for_more_and_who_asks_alone_never_does(trips, monkeypatch):
    monkeypatch.setattr(threads, "CROWD_SECONDS", 3_600.0)
    for n in range(3):
        assert await in_database(int, str(n)) == n
    crowd = [asyncio.create_task(in_database(int)) for _ in range(MAX_CALLS_PER_TRIP + 5)]
    await asyncio.gather(*crowd[:MAX_CALLS_PER_TRIP])
    assert not any(late.done() for late in crowd[MAX_CALLS_PER_TRIP:])
    assert trips == [1, 1, 1, MAX_CALLS_PER_TRIP]


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


class Library:
    """Answers many questions at once, and keeps what it was asked together."""

    def __init__(self):
        self.asked = []

    def squares(self, numbers):
        self.asked.append(numbers)
        return {n: n * n for n in numbers if n >= 0}


async def test_who_asks_the_same_at_one_moment_shares_a_call_and_gets_an_answer_of_its_own(trips):
    library = Library()
    squares = library.squares
    answers = await asyncio.gather(*(in_database_together(squares, n) for n in (3, 1, 3, -2)))
    assert answers == [9, 1, 9, None]
    assert library.asked == [[3, 1, -2]]
    assert await in_database_together(squares, 3) == 9, "asked anew: an answer is as old as its question at most"
    assert library.asked == [[3, 1, -2], [3]]


async def test_a_shared_call_takes_no_more_questions_than_others_can_wait_for(trips):
    library = Library()
    squares = library.squares
    await asyncio.gather(*(in_database_together(squares, n) for n in range(MAX_QUESTIONS_PER_CALL + 1)))
    assert [len(numbers) for numbers in library.asked] == [MAX_QUESTIONS_PER_CALL, 1]


async def test_a_question_that_comes_while_a_call_is_away_goes_with_the_next(trips):
    library = Library()
    squares = library.squares
    first = asyncio.create_task(in_database_together(squares, 1))
    while not trips:
        await asyncio.sleep(0)
    assert await in_database_together(squares, 2) == 4
    assert await first == 1
    assert library.asked == [[1], [2]]


async def test_a_question_that_cannot_be_asked_fails_alone(trips):
    def inverse(numbers):
        return {n: 1 / n for n in numbers}

    outcomes = await asyncio.gather(*(in_database_together(inverse, n) for n in (2, 0, 4)), return_exceptions=True)
    assert [outcomes[0], type(outcomes[1]), outcomes[2]] == [0.5, ZeroDivisionError, 0.25]
    with pytest.raises(ZeroDivisionError):
        await in_database_together(inverse, 0)


async def test_while_the_database_is_away_nobody_asks_one_by_one(trips):
    asked = []

    def away(numbers):
        asked.append(numbers)
        raise OperationalError("away")

    outcomes = await asyncio.gather(*(in_database_together(away, n) for n in range(3)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [OperationalError] * 3
    assert asked == [[0, 1, 2]]


async def test_one_who_gives_up_takes_nothing_from_the_others(trips):
    squares = Library().squares
    impatient, patient = (asyncio.create_task(in_database_together(squares, 4)) for _ in range(2))
    await asyncio.sleep(0)
    impatient.cancel()
    assert await patient == 16
