"""The behaviour that Channels' own layers are held to, and the way from a group to a stream."""

from __future__ import annotations

import asyncio
import random
import secrets
import threading

import pytest
from asgiref.sync import async_to_sync
from channels.exceptions import ChannelFull
from channels.layers import get_channel_layer

from apps.streaming.channel_layer.memory import MemoryChannelLayer
from apps.streaming.channel_layer.redis import RedisChannelLayer
from realtime.errors import InvalidMessage
from tests.conftest import wait_until


@pytest.fixture(params=["memory", "redis_server", "redis_cluster"])
async def make(request):
    """Layers of one system: each stands for a process."""
    made = []
    prefix = secrets.token_hex(4)

    def make_layer(**options):
        if request.param == "memory":
            if made and not options:
                return made[0]  # one process is all there is
            layer = MemoryChannelLayer(**options)
        else:
            layer = RedisChannelLayer(url=request.getfixturevalue(request.param).url, prefix=prefix, **options)
        made.append(layer)
        return layer

    yield make_layer
    for layer in made:
        await layer.flush()
        await layer.close()


@pytest.fixture
async def layer(make):
    return make(capacity=3)


async def receives_nothing(layer, channel):
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await layer.receive(channel)


async def all_of(layer, channel, count):
    async with asyncio.timeout(5):
        return [(await layer.receive(channel))["n"] for _ in range(count)]


async def test_what_was_sent_is_received_in_order(layer):
    message = {"type": "test.message", "text": "Ahoy ☂", "nested": {"a": [1, 2.5, None, True]}, "bytes": b"\x00\xff"}
    await layer.send("test-channel-1", message)
    assert await layer.receive("test-channel-1") == message
    for n in range(3):
        await layer.send("test-channel-1", {"type": "x", "n": n})
    assert await all_of(layer, "test-channel-1", 3) == [0, 1, 2]


async def test_a_channel_of_this_process(layer):
    name = await layer.new_channel()
    await layer.send(name, {"type": "x", "n": 1})
    assert await all_of(layer, name, 1) == [1]
    prefixed = await layer.new_channel("mine")
    assert prefixed.startswith("mine.")
    with pytest.raises(AssertionError, match="another process"):
        await layer.receive("specific.0123456789abcdef!x")


async def test_who_waits_is_woken_wherever_the_message_comes_from(make):
    here, there = make(), make()
    name = await here.new_channel()
    receiving = asyncio.create_task(here.receive(name))
    await asyncio.sleep(0)
    await there.send(name, {"type": "x", "n": 1})
    async with asyncio.timeout(5):
        assert (await receiving)["n"] == 1


async def test_of_several_who_wait_one_gets_the_message(make):
    layers = [make(), make()]
    receiving = [asyncio.create_task(each.receive("work")) for each in layers for _ in range(2)]
    for n in range(4):
        await layers[0].send("work", {"type": "x", "n": n})
    async with asyncio.timeout(5):
        got = await asyncio.gather(*receiving)
    assert sorted(message["n"] for message in got) == [0, 1, 2, 3]


async def test_a_full_channel_says_so(make, layer):
    name = await layer.new_channel()
    for channel in ("test-channel-1", name):
        for n in range(3):
            await layer.send(channel, {"type": "x", "n": n})
        with pytest.raises(ChannelFull):
            await layer.send(channel, {"type": "x", "n": 3})
        await layer.receive(channel)
        await layer.send(channel, {"type": "x", "n": 4})
    other = make(channel_capacity={"one.*": 1})
    await other.send("one.a", {"type": "x"})
    with pytest.raises(ChannelFull):
        await other.send("one.a", {"type": "x"})


@pytest.mark.parametrize("name", ["=+135!", "¯\\_(ツ)_/¯", "a" * 101, "", 7])
async def test_bad_names_are_refused(layer, name):
    for refused in (
        layer.send(name, {"type": "x"}),
        layer.receive(name),
        layer.group_add(name, "channel"),
        layer.group_send(name, {"type": "x"}),
    ):
        with pytest.raises(TypeError):
            await refused


async def test_only_dicts_are_messages(layer):
    for bad in ("text", None, {"type": "x", "__asgi_channel__": "y"}):
        with pytest.raises(AssertionError):
            await layer.send("channel", bad)
        with pytest.raises(AssertionError):
            await layer.group_send("group", bad)


async def test_what_a_receiver_does_to_a_message_concerns_nobody_else(layer):
    names = [await layer.new_channel() for _ in range(2)]
    for name in names:
        await layer.group_add("group", name)
    message = {"type": "x", "items": [1]}
    await layer.group_send("group", message)
    message["items"].append(2)
    (await layer.receive(names[0]))["items"].append(3)
    assert (await layer.receive(names[1]))["items"] == [1]


async def test_groups(make, layer):
    names = [await layer.new_channel(prefix=f"test-gr-chan-{n}") for n in range(3)]
    for name in names:
        await layer.group_add("test-group", name)
    await layer.group_add("test-group", names[0])  # twice is once
    await layer.group_discard("test-group", names[1])
    await layer.group_discard("test-group", "never.there")
    await layer.group_discard("no-such-group", names[0])
    await layer.group_send("test-group", {"type": "x", "n": 1})
    await layer.group_send("no-such-group", {"type": "x"})
    assert await all_of(layer, names[0], 1) == [1]
    assert await all_of(layer, names[2], 1) == [1]
    await receives_nothing(layer, names[0])
    await receives_nothing(layer, names[1])


async def test_a_group_reaches_the_channels_of_other_processes(make):
    here, there = make(), make()
    mine, theirs = await here.new_channel(), await there.new_channel()
    await here.group_add("group", mine)
    await there.group_add("group", theirs)
    await here.group_send("group", {"type": "x", "n": 1})
    assert await all_of(here, mine, 1) == await all_of(there, theirs, 1) == [1]


async def test_a_full_member_does_not_keep_a_group_from_the_others(layer):
    full, other = await layer.new_channel(), await layer.new_channel()
    for name in (full, other):
        await layer.group_add("test-group", name)
    for n in range(3):
        await layer.group_send("test-group", {"type": "x", "n": n})
    assert await all_of(layer, other, 3) == [0, 1, 2]
    await layer.group_send("test-group", {"type": "x", "n": 3})
    assert await all_of(layer, other, 1) == [3]
    assert await all_of(layer, full, 3) == [0, 1, 2]


async def test_messages_expire_each_for_itself(make):
    layer = make(expiry=0.4)
    name = await layer.new_channel()
    await layer.group_add("group", name)
    await layer.send(name, {"type": "x", "n": "old"})
    await asyncio.sleep(0.25)  # expiry is real time, in Redis too
    await layer.group_send("group", {"type": "x", "n": "young"})
    await asyncio.sleep(0.25)
    assert await all_of(layer, name, 1) == ["young"]
    await receives_nothing(layer, name)


async def test_an_expired_message_takes_no_room(make):
    layer = make(expiry=0.2, capacity=1)
    await layer.send("channel", {"type": "x", "n": 1})
    await asyncio.sleep(0.25)
    await layer.send("channel", {"type": "x", "n": 2})
    assert await all_of(layer, "channel", 1) == [2]


async def test_membership_expires(make):
    layer = make(group_expiry=0.2)
    kept, forgotten = await layer.new_channel(), await layer.new_channel()
    for name in (kept, forgotten):
        await layer.group_add("group", name)
    await asyncio.sleep(0.15)
    await layer.group_add("group", kept)
    await asyncio.sleep(0.1)
    await layer.group_send("group", {"type": "x", "n": 1})
    assert await all_of(layer, kept, 1) == [1]
    await receives_nothing(layer, forgotten)


async def test_flush_drops_everything(layer):
    name = await layer.new_channel()
    await layer.group_add("group", name)
    await layer.send("channel", {"type": "x"})
    await layer.flush()
    await layer.group_send("group", {"type": "x"})
    await receives_nothing(layer, "channel")
    await receives_nothing(layer, name)


async def test_cancelling_a_receive_loses_no_message(make):
    layer = make()
    got = []
    for n in range(60):
        receiving = asyncio.create_task(layer.receive("channel"))
        await asyncio.sleep(random.uniform(0, 0.003))
        await layer.send("channel", {"type": "x", "n": n})
        await asyncio.sleep(random.uniform(0, 0.003))
        receiving.cancel()
        try:
            got.append((await receiving)["n"])
        except asyncio.CancelledError:
            got += await all_of(layer, "channel", 1)
    assert got == list(range(60))


def test_every_thread_and_loop_shares_the_layer(make, request):
    layer = asyncio.run(_made(make))
    for n in range(3):
        async_to_sync(layer.send)("channel", {"type": "x", "n": n})
    assert [async_to_sync(layer.receive)("channel")["n"] for _ in range(3)] == [0, 1, 2]
    got = []
    receiver = threading.Thread(target=lambda: got.append(async_to_sync(layer.receive)("channel")))
    receiver.start()
    wait_until(lambda: bool(layer._waiting), "nobody waits")
    async_to_sync(layer.send)("channel", {"type": "x", "n": 3})
    receiver.join(5)
    assert got[0]["n"] == 3
    assert not layer._waiting


async def _made(make):
    return make()


def test_names_do_not_depend_on_the_random_seed(make):
    random.seed(1)
    first = asyncio.run(_made(make))
    names = {asyncio.run(first.new_channel())}
    random.seed(1)
    names.add(asyncio.run(first.new_channel()))
    assert len(names) == 2


# From a group to a stream


def test_a_group_that_is_a_streams_topic_reaches_the_stream(server, user, other_user):
    signal = {"id": "s1", "symbol": "NIFTY", "signal_type": "BUY", "confidence_score": 0.8, "entry_price": 18_500.0}
    mine, theirs = server.open("trading/signals/", user), server.open("trading/signals/", other_user)
    for client in (mine, theirs):
        client.until("recent_signals")
    layer = get_channel_layer()
    async_to_sync(layer.group_send)(f"trading.signals.user.{user.pk}", {"type": "new_signal", "signal": signal})
    message = mine.until("new_signal")
    assert message["signal"]["entry_price"] == 18_500.0
    assert message["offset"] == 1
    theirs.send("subscribe_symbol", symbol="NIFTY")
    theirs.until("subscription_confirmed")
    async_to_sync(layer.group_send)("trading.signals.symbol.NIFTY", {"type": "new_signal", "signal": signal})
    assert theirs.until("new_signal")["topic"] == "trading.signals.symbol.NIFTY"


def test_a_group_message_that_does_not_fit_its_stream_is_refused_and_others_are_not_the_streams_business(server, user):
    group = f"trading.signals.user.{user.pk}"
    send = async_to_sync(get_channel_layer().group_send)
    with pytest.raises(InvalidMessage, match="confidence_score"):
        send(group, {"type": "new_signal", "signal": {"id": "s1", "symbol": "NIFTY", "signal_type": "BUY"}})
    with pytest.raises(InvalidMessage, match="colour"):
        send(group, {"type": "new_signal", "signal": {}, "colour": "red"})
    client = server.open("trading/signals/", user)
    client.until("recent_signals")
    send(group, {"type": "chat.message", "text": "for other Channels code"})
    send("trading.signals.symbol.OTHER", {"type": "new_signal", "signal": {"symbol": "NIFTY"}})
    assert client.answer("ping")["type"] == "pong"
    assert {message["type"] for message in client.received} == {"welcome", "recent_signals", "pong"}
