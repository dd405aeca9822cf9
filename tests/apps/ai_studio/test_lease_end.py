"""The end of a lease ends what it opened, at that moment."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from django.db import DatabaseError

from apps.ai_studio import models
from apps.streaming import revocation
from apps.streaming.authentication import StreamConnection
from apps.streaming.runtime import runtime
from realtime.brokers.memory import MemoryBroker
from realtime.clock import ManualClock
from realtime.errors import AccessDenied
from realtime.hub import Hub
from realtime.limits import Limits
from realtime.metrics import NullMetrics
from realtime.protocol import CommandSet
from tests.apps.ai_studio.test_streams import studio
from tests.conftest import connection_of, wait_until


@pytest.fixture
def ahead(monkeypatch):
    """By how much the server's clock is; and nothing but the clock ends a lease."""
    shift = {"by": timedelta(0)}
    monkeypatch.setattr(runtime().clock, "now", lambda: datetime.now(UTC) + shift["by"])
    monkeypatch.setattr("realtime.hub.TICK_SECONDS", 0.05)
    monkeypatch.setattr(revocation, "OBJECT_CHECKS_EVERY", 1_000_000)
    return shift


@pytest.fixture
def lease(transactional_db, user, other_user):
    studio(user)
    now = datetime.now(UTC)
    listing = models.Listing.objects.create(model=models.Model.objects.get(), title="Momentum", price_per_month=1)
    return listing.leases.create(
        lessee=other_user, starts_at=now - timedelta(days=30), ends_at=now + timedelta(seconds=60), price=1
    )


def test_an_open_connection_gets_4003_when_the_lease_ends(server, lease, user, other_user, ahead):
    path = f"ai-studio/predictions/{lease.listing.model_id}/"
    with server.open(path, other_user) as lessee, server.open(path, user) as owner:
        lessee.until("recent_predictions")
        owner.until("recent_predictions")
        ahead["by"] = timedelta(seconds=55)
        assert lessee.answer("ping")["type"] == "pong"
        ahead["by"] = timedelta(seconds=61)
        assert lessee.close_code() == 4003
        assert lessee.received[-1]["error_code"] == "access_denied"
        assert owner.answer("ping")["type"] == "pong"
    with server.open(path, other_user) as lessee:
        assert lessee.close_code() == 4003


def test_another_lease_keeps_the_connection_open(server, lease, other_user, ahead):
    path = f"ai-studio/predictions/{lease.listing.model_id}/"
    with server.open(path, other_user) as lessee:
        lessee.until("recent_predictions")
        renewed = lease.listing.leases.create(
            lessee=other_user, starts_at=lease.ends_at, ends_at=lease.ends_at + timedelta(seconds=60), price=1
        )
        ahead["by"] = timedelta(seconds=61)
        connection = connection_of(other_user)
        wait_until(lambda: connection.rights_end_at == renewed.ends_at, "the new lease was not found")
        assert lessee.answer("ping")["type"] == "pong"
        ahead["by"] = timedelta(seconds=122)
        assert lessee.close_code() == 4003


# The connection alone, with a clock that is turned by hand


class Socket:
    """A transport that takes everything and keeps the close."""

    writable = True
    closed_with = None

    def attach(self, *_):
        pass

    def write(self, batch):
        pass

    def close(self, code, reason, last):
        self.closed_with = code


class Right:
    """What `authorize` asks: whether the right still stands."""

    def __init__(self, clock):
        self.connection = StreamConnection(
            connection_id="1",
            user_id="7",
            stream="ai-studio.predictions",
            transport=Socket(),
            hub=Hub(MemoryBroker(clock), clock, NullMetrics()),
            commands=CommandSet(()),
            limits=Limits(),
            clock=clock,
            metrics=NullMetrics(),
        )
        self.connection.rights_end_at = clock.now() + timedelta(seconds=10)
        self.connection.reauthorize = self.ask
        self.answers = []
        self.asked = 0

    async def ask(self):
        self.asked += 1
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        self.connection.rights_end_at = answer

    async def tick(self, clock, seconds):
        clock.advance(seconds)
        self.connection.tick()
        if self.connection._asking is not None:
            await asyncio.wait((self.connection._asking,))


async def test_the_right_is_asked_about_when_it_ends_and_not_before():
    clock = ManualClock()
    right = Right(clock)
    right.answers = [clock.now() + timedelta(seconds=20), DatabaseError("away"), AccessDenied("no lease")]
    await right.tick(clock, 9.9)
    assert right.asked == 0
    await right.tick(clock, 0.1)
    await right.tick(clock, 1)
    assert (right.asked, right.connection.closed_with) == (1, None), "it goes on for ten seconds"
    await right.tick(clock, 9)
    assert (right.asked, right.connection.closed_with) == (2, None), "a lost database closes nothing"
    await right.tick(clock, 1)
    assert (right.asked, right.connection.closed_with) == (3, 4003)
    await right.tick(clock, 1)
    assert right.asked == 3
