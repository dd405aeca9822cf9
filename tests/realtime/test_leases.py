"""Leases run out by themselves, and nobody takes another's."""

import asyncio
import secrets

import pytest

from realtime.brokers.redis.servers import connect
from realtime.errors import BrokerAway
from realtime.leases.local import LocalLeases
from realtime.leases.redis import RedisLeases


@pytest.fixture(params=["redis_server", "redis_sentinel", "redis_cluster"])
async def leases(request):
    made = RedisLeases(connect(request.getfixturevalue(request.param).url), secrets.token_hex(4))
    yield made
    await made.close()


async def until(call, expected, seconds=5):
    async with asyncio.timeout(seconds):
        while await call() != expected:
            await asyncio.sleep(0.02)


async def test_one_holds_a_lease_until_it_runs_out(leases):
    assert await leases.hold("engines", "a", 0.5)
    assert not await leases.hold("engines", "b", 0.5)
    assert await leases.hold("engines", "a", 0.5)
    assert await leases.hold("other", "b", 0.5)
    await until(lambda: leases.hold("engines", "b", 60), True)
    assert not await leases.hold("engines", "a", 0.5)


async def test_a_lease_is_given_up_only_by_its_holder(leases):
    assert await leases.hold("engines", "a", 60)
    await leases.let_go("engines", "b")
    assert not await leases.hold("engines", "b", 60)
    await leases.let_go("engines", "a")
    assert await leases.hold("engines", "b", 60)


async def test_a_group_has_so_many_places(leases):
    assert await leases.enter("user", "1", 60, 2)
    assert await leases.enter("user", "2", 0.3, 2)
    assert not await leases.enter("user", "3", 60, 2)
    assert await leases.enter("user", "1", 60, 2)  # it is in already
    await leases.leave("user", "1")
    await leases.leave("user", "never there")
    assert await leases.enter("user", "3", 60, 2)
    await until(lambda: leases.enter("user", "4", 60, 2), True)  # the place of 2 ran out


async def test_who_stays_keeps_a_place_and_gets_a_lost_one_back(leases):
    await leases.enter("user", "1", 0.3, 1)
    await leases.stay([("user", "1"), ("other", "2")], 60)
    await asyncio.sleep(0.35)  # leases are real time, by Redis' clock
    assert not await leases.enter("user", "2", 60, 1)
    assert not await leases.enter("other", "1", 60, 1)


async def test_without_a_server_the_asker_is_told(own_redis):
    leases = RedisLeases(connect(own_redis.url), "x")
    for call in (
        leases.hold("a", "b", 1),
        leases.let_go("a", "b"),
        leases.enter("a", "b", 1, 1),
        leases.stay([("a", "b")], 1),
        leases.leave("a", "b"),
    ):
        with pytest.raises(BrokerAway):
            await call
    await leases.close()


async def test_a_process_alone_holds_everything():
    leases = LocalLeases()
    assert await leases.hold("engines", "a", 1)
    assert await leases.enter("user", "1", 1, 0)
    await leases.stay([("user", "1")], 1)
    await leases.leave("user", "1")
    await leases.let_go("engines", "a")
    await leases.close()
