"""The contract of `realtime.brokers.base.Broker`. Every broker is a parameter of the fixture."""

import asyncio
import json
import secrets
import threading

import pytest

from realtime.brokers.memory import MemoryBroker
from realtime.brokers.redis import RedisBroker
from realtime.brokers.sharded import ShardedBroker
from realtime.clock import ManualClock, SystemClock
from realtime.errors import BrokerClosed, InvalidTopic
from realtime.publication import Position
from realtime.topic import Retention, RetentionRules

from .conftest import Listener, draft, log_topic, state_topic

RETENTION = RetentionRules([("short.*", Retention(3, 60))])


def redis_broker(server):
    return RedisBroker(server.url, SystemClock(), prefix=secrets.token_hex(4), retention=RETENTION)


@pytest.fixture(params=["memory", "redis_server", "redis_sentinel", "redis_cluster", "sharded"])
async def broker(request):
    if request.param == "memory":
        made = MemoryBroker(ManualClock(), retention=RETENTION)
    elif request.param == "sharded":
        server = request.getfixturevalue("redis_server")
        made = ShardedBroker({f"shard {n}": redis_broker(server) for n in range(3)})
    else:
        made = redis_broker(request.getfixturevalue(request.param))
    made.attach(Listener())
    yield made
    await made.close()


@pytest.fixture
async def received(broker):
    listener = Listener()
    broker.attach(listener)
    return listener.publications


def values(publications):
    return [json.loads(p.body)["value"] for p in publications]


async def test_offsets_start_at_one_and_have_no_gaps(broker):
    positions = [await broker.publish(draft(log_topic(), n)) for n in range(5)]
    assert [p.offset for p in positions] == [1, 2, 3, 4, 5]
    assert len({p.epoch for p in positions}) == 1


async def test_topics_count_for_themselves(broker):
    await broker.publish(draft(log_topic("a"), 1))
    assert (await broker.publish(draft(log_topic("b"), 1))).offset == 1


async def test_subscribed_topics_are_delivered_in_order_and_others_not(broker, received):
    await broker.subscribe(log_topic("a"))
    await broker.publish_many([draft(log_topic("a"), 1), draft(log_topic("b"), 2), draft(log_topic("a"), 3)])
    broker.unsubscribe(log_topic("a"))
    await broker.publish(draft(log_topic("a"), 4))
    assert values(received) == [1, 3]


async def test_reading_since_a_position_is_all_or_nothing(broker):
    topic = log_topic("short.x")
    epoch = (await broker.publish(draft(topic, 1))).epoch
    await broker.publish_many([draft(topic, n) for n in (2, 3, 4, 5)])
    everything = await broker.read(topic, Position(epoch, 2))
    assert (everything.recovered, values(everything.publications)) == (True, [3, 4, 5])
    nothing = await broker.read(topic, Position(epoch, 1))
    assert (nothing.recovered, list(nothing.publications), nothing.position.offset) == (False, [], 5)


async def test_reading_since_the_end_recovers_nothing_missed(broker):
    position = await broker.publish(draft(log_topic(), 1))
    history = await broker.read(log_topic(), position)
    assert history.recovered
    assert not history.publications


@pytest.mark.parametrize("offset", [0, 1, 9])
async def test_another_epoch_or_the_future_is_not_recovered(broker, offset):
    position = await broker.publish(draft(log_topic(), 1))
    assert not (await broker.read(log_topic(), Position("other", offset))).recovered
    assert not (await broker.read(log_topic(), Position(position.epoch, 2))).recovered


async def test_a_topic_nobody_published_on_can_be_resumed_from_its_start(broker):
    await broker.subscribe(log_topic())
    start = (await broker.read(log_topic())).position
    await broker.publish(draft(log_topic(), "first"))
    assert values((await broker.read(log_topic(), start)).publications) == ["first"]


async def test_a_state_keeps_the_latest_per_key_in_order_of_publication(broker):
    topic = state_topic()
    for key, value in [("a", 1), ("b", 2), ("a", 3)]:
        await broker.publish(draft(topic, value, key))
    assert values((await broker.read(topic)).publications) == [2, 3]


async def test_a_forgotten_key_is_not_sent_to_who_comes_later(broker):
    topic = state_topic()
    for key, value in [("a", 1), ("b", 2)]:
        await broker.publish(draft(topic, value, key))
    broker.forget_soon(topic, "a")
    broker.forget_soon(topic, "never there")
    broker.forget_soon(state_topic("unknown"), "a")
    assert await asyncio.to_thread(broker.settle, 5)
    assert values((await broker.read(topic)).publications) == [2]


async def test_a_repeated_idempotency_key_is_published_once(broker, received):
    await broker.subscribe(log_topic())
    first = await broker.publish(draft(log_topic(), 1, idempotency_key="x"))
    again = await broker.publish(draft(log_topic(), 2, idempotency_key="x"))
    other_topic = await broker.publish(draft(log_topic("other"), 3, idempotency_key="x"))
    assert first == again
    assert other_topic.offset == 1
    assert values(received) == [1]


async def test_publishing_from_threads_keeps_each_threads_order(broker, received):
    await broker.subscribe(log_topic())

    def publish(name):
        for n in range(200):
            broker.publish_soon(draft(log_topic(), [name, n]))

    threads = [threading.Thread(target=publish, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    await asyncio.to_thread(lambda: [thread.join() for thread in threads])
    async with asyncio.timeout(5):
        while len(received) < 800:
            await asyncio.sleep(0)
    assert [p.offset for p in received] == list(range(1, 801))
    for name in range(4):
        assert [n for who, n in values(received) if who == name] == list(range(200))


async def test_many_published_soon_arrive_each_on_its_topic_in_order(broker, received):
    topics = [log_topic(f"user.{n}") for n in range(30)]
    for topic in topics:
        await broker.subscribe(topic)
    assert broker.publish_many_soon([draft(topics[n % 30], n) for n in range(300)]) == 300
    assert broker.publish_many_soon([]) == 0
    async with asyncio.timeout(5):
        while len(received) < 300:
            await asyncio.sleep(0)
    for index, topic in enumerate(topics):
        of_topic = [p for p in received if p.topic == topic]
        assert values(of_topic) == list(range(index, 300, 30))
        assert [p.offset for p in of_topic] == list(range(1, 11))


async def test_a_topic_has_one_kind(broker):
    await broker.publish(draft(log_topic("t"), 1))
    with pytest.raises(InvalidTopic, match="log topic"):
        await broker.publish(draft(state_topic("t"), 1))


async def test_what_came_before_a_refused_draft_is_delivered(broker, received):
    await broker.subscribe(log_topic("t"))
    with pytest.raises(InvalidTopic):
        await broker.publish_many([draft(log_topic("t"), 1), draft(state_topic("t"), 2)])
    assert values(received) == [1]


async def test_a_topic_is_followed_while_some_process_is_subscribed(broker):
    topics = [log_topic(f"user.{n}") for n in range(2_500)] + [state_topic("state")]
    assert await broker.followed(topics) == await broker.followed([]) == set()
    for topic in (topics[0], topics[1], topics[2_400], topics[-1]):
        await broker.subscribe(topic)
    assert await broker.followed(topics) == {"user.0", "user.1", "user.2400", "state"}
    assert await broker.followed(topics[1:3]) == {"user.1"}
    broker.unsubscribe(topics[0])
    broker.unsubscribe(topics[-1])
    broker.unsubscribe(topics[7])
    async with asyncio.timeout(5):
        while await broker.followed(topics) != {"user.1", "user.2400"}:
            await asyncio.sleep(0)
    await broker.publish(draft(topics[7], 1))
    assert await broker.followed([topics[7]]) == set()


async def test_a_closed_broker_refuses(broker):
    await broker.close()
    with pytest.raises(BrokerClosed):
        broker.publish_soon(draft(log_topic(), 1))
