"""Who runs the engines, and when not."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from apps.streaming import engine_room as module
from apps.streaming.engine_room import EngineRoom
from realtime.clock import ManualClock
from realtime.errors import BrokerAway


class Leases:
    """Answers as the test says; an exception is raised."""

    def __init__(self):
        self.answer = True
        self.given_up = 0

    async def hold(self, name, holder, seconds):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def let_go(self, name, holder):
        self.given_up += 1


@pytest.fixture
def house(monkeypatch):
    made = SimpleNamespace(clock=ManualClock(), leases=Leases(), process_id="me")
    monkeypatch.setattr(module, "runtime", lambda: made)
    return made


@pytest.fixture
def room(house, monkeypatch):
    room = EngineRoom(lambda: None)

    async def begin():
        room._tasks = [None]

    async def end():
        room._tasks = []

    monkeypatch.setattr(room, "_begin", begin)
    monkeypatch.setattr(room, "_end", end)
    return room


async def test_whoever_holds_the_lease_acts_and_stops_when_another_has_it(house, room):
    house.leases.answer = False
    await room.attend()
    assert not room.acts
    house.leases.answer = True
    await room.attend()
    assert room.acts
    house.leases.answer = False
    await room.attend()
    assert not room.acts


async def test_a_holder_that_cannot_renew_stops_well_before_another_may_begin(house, room):
    await room.attend()
    house.leases.answer = BrokerAway("away")
    stopped_after = None
    for tenth in range(100):
        house.clock.advance(0.1)
        await room.attend()
        if not room.acts:
            stopped_after = (tenth + 1) / 10
            break
    assert stopped_after is not None
    assert stopped_after + module.STOPPING_SECONDS <= module.LEASE_SECONDS
    assert stopped_after > 4  # a short cut does not stop it


async def test_a_standby_does_not_begin_because_redis_is_away(house, room):
    house.leases.answer = BrokerAway("away")
    await room.attend()
    assert not room.acts


async def test_engines_that_do_not_begin_leave_the_lease_to_another(house, room, monkeypatch):
    async def fail():
        raise ZeroDivisionError

    monkeypatch.setattr(room, "_begin", fail)
    with pytest.raises(ZeroDivisionError):
        await room.attend()
    assert house.leases.given_up == 1


async def test_the_lease_is_given_up_at_the_end(house, room):
    await room.close()
    assert house.leases.given_up == 0  # it has none
    await room.attend()
    await room.close()
    assert not room.acts
    assert house.leases.given_up == 1
