"""Logins that are known to be good: asked about together, asked about again, forgotten."""

from __future__ import annotations

import asyncio

import pytest
from django.db import DatabaseError

from apps.accounts.tokens import Login
from apps.streaming import known_logins, threads
from apps.streaming.known_logins import KEEP_SECONDS, TRUST_SECONDS, KnownLogins
from realtime.clock import ManualClock

ASHA = Login("7", is_staff=False)


class Database:
    """Stands for the table of logins, and counts what it is asked."""

    def __init__(self) -> None:
        self.good = {"asha": ASHA}
        self.asked: list[list[str]] = []
        self.away = False

    def good_logins(self, family_ids):
        if self.away:
            raise DatabaseError("away")
        self.asked.append(sorted(family_ids))
        return {family_id: self.good[family_id] for family_id in family_ids if family_id in self.good}


@pytest.fixture
def database(monkeypatch):
    database = Database()
    monkeypatch.setattr(known_logins, "good_logins", database.good_logins)
    monkeypatch.setattr(threads, "database_sync_to_async", _in_the_loop)
    return database


def _in_the_loop(function):
    async def call(*args):
        await asyncio.sleep(0)
        return function(*args)

    return call


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def logins(database, clock):
    return KnownLogins(clock)


async def test_a_login_that_comes_again_is_not_asked_about_again(logins, database, clock):
    assert await logins.find("asha") == ASHA
    clock.advance(TRUST_SECONDS)
    assert await logins.find("asha") == ASHA
    assert database.asked == [["asha"]]


async def test_what_the_database_said_is_believed_for_seconds_only(logins, database, clock):
    await logins.find("asha")
    database.good.clear()
    clock.advance(TRUST_SECONDS + 0.1)
    assert await logins.find("asha") is None


async def test_an_unknown_login_is_asked_about_each_time(logins, database):
    assert await logins.find("nobody") is None
    assert await logins.find("nobody") is None
    assert database.asked == [["nobody"], ["nobody"]]


async def test_logins_that_come_at_once_are_asked_about_together(logins, database):
    database.good = {str(n): Login(str(n), is_staff=False) for n in range(300)}
    found = await asyncio.gather(*(logins.find(str(n % 300)) for n in range(900)))
    assert [login.user_id for login in found] == [str(n % 300) for n in range(900)]
    assert len(database.asked) <= 2


async def test_a_revoked_login_is_known_no_more_after_the_next_check(logins, database, clock):
    await logins.find("asha")
    assert await logins.check({"asha"}) == {"asha"}
    database.good.clear()
    assert await logins.check({"asha"}) == set()
    assert await logins.find("asha") is None


async def test_a_checked_login_needs_no_question_when_it_comes_back(logins, database, clock):
    await logins.find("asha")
    for _ in range(10):
        clock.advance(TRUST_SECONDS / 2)
        await logins.check(set())
    questions = len(database.asked)
    assert await logins.find("asha") == ASHA
    assert len(database.asked) == questions


async def test_logins_that_stay_away_are_forgotten(logins, clock):
    await logins.find("asha")
    clock.advance(KEEP_SECONDS + 1)
    await logins.check({"asha"})
    assert logins.count == 1
    clock.advance(KEEP_SECONDS + 1)
    await logins.check(set())
    assert logins.count == 0


async def test_a_user_who_is_staff_no_more_is_seen_as_such(logins, database):
    database.good = {"asha": Login("7", is_staff=True)}
    await logins.find("asha")
    assert logins.is_staff("asha")
    database.good = {"asha": ASHA}
    await logins.check({"asha"})
    assert not logins.is_staff("asha")


async def test_everyone_who_waits_hears_that_the_database_is_away_and_later_ones_are_served(logins, database):
    database.away = True
    results = await asyncio.gather(*(logins.find(str(n)) for n in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [DatabaseError] * 3
    database.away = False
    assert await logins.find("asha") == ASHA


async def test_one_who_gives_up_takes_nothing_from_the_others(logins):
    impatient, patient = asyncio.create_task(logins.find("asha")), asyncio.create_task(logins.find("asha"))
    await asyncio.sleep(0)
    impatient.cancel()
    assert await patient == ASHA
