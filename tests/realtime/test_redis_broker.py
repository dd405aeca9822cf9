"""What only the Redis broker promises: several processes as one, gaps repaired, outages survived."""

import asyncio
import json
import os
import secrets
import threading
from types import SimpleNamespace

import pytest
from redis import Redis

from realtime.brokers.redis import RedisBroker
from realtime.brokers.redis.sender import Outcome
from realtime.brokers.redis.sendqueue import Entry
from realtime.clock import SystemClock
from realtime.errors import InvalidTopic
from realtime.publication import Position
from realtime.topic import Retention, RetentionRules

from .conftest import Listener, draft, log_topic, state_topic


def values(publications):
    return [json.loads(p.body)["value"] for p in publications]


async def until(condition, what="it did not happen", seconds=15):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
async def make(request):
    """Brokers that share a prefix: as many processes as a test wants."""
    prefix = secrets.token_hex(4)
    made = []

    def make_broker(server, **options):
        listener = Listener()
        broker = RedisBroker(server.url, SystemClock(), prefix=prefix, **options)
        broker.attach(listener)
        made.append(broker)
        return SimpleNamespace(broker=broker, listener=listener, got=listener.publications)

    make_broker.prefix = prefix
    yield make_broker
    await asyncio.gather(*(broker.close() for broker in made))


@pytest.mark.parametrize("kind", ["redis_server", "redis_sentinel", "redis_cluster"])
async def test_every_process_gets_what_any_process_publishes(make, kind, request):
    server = request.getfixturevalue(kind)
    one, two = make(server), make(server)
    topics = [log_topic(f"t.{n}") for n in range(5)]  # on a Cluster, not all on one node
    for each in (one, two):
        await asyncio.gather(*(each.broker.subscribe(topic) for topic in topics))
    for n in range(50):
        await (one if n % 2 else two).broker.publish(draft(topics[n // 10], n))
    await until(lambda: len(one.got) == len(two.got) == 50)
    for each in (one, two):
        for index, topic in enumerate(topics):
            mine = [p for p in each.got if p.topic == topic]
            assert values(mine) == list(range(10 * index, 10 * index + 10))
            assert [p.offset for p in mine] == list(range(1, 11))


async def test_one_subscription_per_topic_and_none_when_nobody_listens(make, redis_server):
    one = make(redis_server)
    channel = f"{make.prefix}.0:{{t.log}}"
    for _ in range(3):
        await one.broker.subscribe(log_topic())
    assert redis_server.client().pubsub_numsub(channel) == [(channel, 1)]
    one.broker.unsubscribe(log_topic())
    await until(lambda: redis_server.client().pubsub_numsub(channel) == [(channel, 0)])


@pytest.mark.parametrize("kind", ["redis_server", "redis_sentinel", "redis_cluster"])
async def test_what_another_process_follows_is_followed(make, kind, request):
    server = request.getfixturevalue(kind)
    one, two = make(server), make(server)
    topics = [log_topic(f"t.{n}") for n in range(40)]  # on a Cluster, not all on one node
    for topic in topics[:20]:
        await two.broker.subscribe(topic)
    assert await one.broker.followed(topics) == {topic.name for topic in topics[:20]}
    await one.broker.subscribe(topics[0])
    for topic in topics[:20]:
        two.broker.unsubscribe(topic)
    async with asyncio.timeout(5):
        while await one.broker.followed(topics) != {"t.0"}:
            await asyncio.sleep(0.01)


async def test_during_an_outage_only_ones_own_are_followed(make, own_redis):
    own_redis.start()
    one, two = make(own_redis), make(own_redis)
    mine, theirs = log_topic("mine"), log_topic("theirs")
    await one.broker.subscribe(mine)
    await two.broker.subscribe(theirs)
    assert await one.broker.followed([mine, theirs]) == {"mine", "theirs"}
    own_redis.stop()
    async with asyncio.timeout(5):
        while await one.broker.followed([mine, theirs]) != {"mine"}:
            await asyncio.sleep(0.01)
    own_redis.start()
    async with asyncio.timeout(15):
        while await one.broker.followed([mine, theirs]) != {"mine", "theirs"}:
            await asyncio.sleep(0.01)


async def test_publications_whose_message_got_lost_are_read_before_later_ones_are_delivered(make, redis_server):
    one, two = make(redis_server), make(redis_server)
    await one.broker.subscribe(log_topic())
    await two.broker.publish(draft(log_topic(), 1))
    await until(lambda: len(one.got) == 1)
    lose_messages(one, 3)
    await two.broker.publish_many([draft(log_topic(), n) for n in (2, 3, 4, 5)])
    await until(lambda: len(one.got) == 5)
    assert values(one.got) == [1, 2, 3, 4, 5]


def lose_messages(each, count):
    """The next messages do not reach the process, as when a connection breaks."""
    hear = each.broker._listening._ears._on_messages
    left = count

    def lossy(messages):
        nonlocal left
        lost = min(left, len(messages))
        left -= lost
        hear(messages[lost:])

    each.broker._listening._ears._on_messages = lossy
    for ear in each.broker._listening._ears._ears.values():
        ear._on_messages = lossy


async def test_a_quiet_topic_is_checked_although_nothing_comes(make, redis_server):
    one, two = make(redis_server), make(redis_server)
    await one.broker.subscribe(log_topic())
    lose_messages(one, 1)
    await two.broker.publish(draft(log_topic(), "lost"))
    await until(lambda: two.broker.status.queued == 0)
    one.broker._listening._fall_behind("t.log")  # as every CHECK_SECONDS
    await until(lambda: values(one.got) == ["lost"])


async def test_cut_connections_lose_and_repeat_nothing(make, redis_server):
    one, two = make(redis_server), make(redis_server)
    topics = [log_topic(f"t.{n}") for n in range(5)]
    for topic in topics:
        await one.broker.subscribe(topic)
    for n in range(600):
        two.broker.publish_soon(draft(topics[n % 5], n))
        if n % 100 == 50:
            redis_server.cut_connections()
        if n % 20 == 0:
            await asyncio.sleep(0.01)
    await until(lambda: len(one.got) >= 600)
    for index, topic in enumerate(topics):
        mine = [p for p in one.got if p.topic == topic]
        assert values(mine) == list(range(index, 600, 5))
        assert [p.offset for p in mine] == list(range(1, 121))
    assert one.listener.lost == []


async def test_a_state_catches_up_with_the_latest_values(make, redis_server):
    one, two = make(redis_server), make(redis_server)
    await one.broker.subscribe(state_topic())
    await two.broker.publish(draft(state_topic(), 1, "a"))
    await until(lambda: len(one.got) == 1)
    lose_messages(one, 3)
    await two.broker.publish_many([draft(state_topic(), n, key) for n, key in ((2, "a"), (3, "b"), (4, "a"), (5, "c"))])
    await until(lambda: values(one.got)[-1] == 5)
    assert values(one.got) == [1, 3, 4, 5]


async def test_data_that_was_lost_is_a_new_epoch_and_said_so(make, own_redis):
    own_redis.start()
    one = make(own_redis)
    await one.broker.subscribe(log_topic())
    old = await one.broker.publish(draft(log_topic(), 1))
    own_redis.stop(lose_data=True)
    own_redis.start()
    await until(lambda: one.listener.lost == [log_topic()])
    new = await one.broker.publish(draft(log_topic(), 2))
    assert new.offset == 1
    assert new.epoch != old.epoch
    assert not (await one.broker.read(log_topic(), old)).recovered
    await until(lambda: values(one.got) == [1, 2])


async def test_a_log_that_lost_only_its_end_is_noticed(make, redis_server):
    one = make(redis_server)
    await one.broker.subscribe(log_topic())
    before = await one.broker.publish(draft(log_topic(), 1))
    # As a replica that took over, or a Redis that wrote to disk once a second, does.
    client = Redis(port=redis_server.port)
    keys = [f"{make.prefix}:{{t.log}}:{part}" for part in ("meta", "log")]
    saved = [client.dump(key) for key in keys]
    await one.broker.publish(draft(log_topic(), "lost"))
    for key, dump in zip(keys, saved, strict=True):
        client.restore(key, 60_000, dump, replace=True)
    redis_server.cut_connections("pubsub")
    await until(lambda: one.listener.lost == [log_topic()])
    assert not (await one.broker.read(log_topic(), before)).recovered


async def test_an_outage_is_served_from_ones_own_and_made_up_for(make, own_redis):
    own_redis.start()
    one, two = make(own_redis), make(own_redis)
    for each in (one, two):
        await each.broker.subscribe(log_topic())
        await each.broker.subscribe(state_topic())
    await one.broker.publish(draft(log_topic(), "before"))
    await until(lambda: values(two.got) == ["before"])
    own_redis.stop()
    assert await one.broker.publish(draft(log_topic(), "one alone")) is None
    two.broker.publish_soon(draft(log_topic(), "two alone"))
    one.broker.publish_soon(draft(state_topic(), "state", "k"))
    await until(lambda: values(one.got) == ["before", "one alone", "state"])
    await until(lambda: values(two.got) == ["before", "two alone"])
    assert b'"offset"' not in one.got[1].frame.payload
    assert one.broker.status.degraded_since is not None
    assert one.broker.status.queued == 2
    own_redis.start()

    def logged(each):
        return sorted(values(p for p in each.got if p.topic == log_topic()))

    await until(lambda: len(logged(one)) == len(logged(two)) == 3 and "state" in values(two.got))
    assert logged(one) == logged(two) == ["before", "one alone", "two alone"]
    await until(lambda: one.broker.status.degraded_since is None and one.broker.status.queued == 0)
    after = await one.broker.publish(draft(log_topic(), "after"))
    await until(lambda: values(one.got)[-1] == values(two.got)[-1] == "after")
    assert one.got[-1].position == two.got[-1].position == after == Position(after.epoch, 4)
    assert one.listener.lost == two.listener.lost == []
    history = await one.broker.read(log_topic(), Position(after.epoch, 0))
    assert sorted(values(history.publications)) == ["after", "before", "one alone", "two alone"]
    # Whoever got some without an offset was told where that has brought them, unless a later message did.
    told = {position.offset for _, position in one.listener.settled} | {p.offset for p in one.got if p.key is None}
    assert 3 in told


async def test_a_topic_that_was_joined_during_an_outage_starts_anew_after_it(make, own_redis):
    one = make(own_redis)
    async with asyncio.timeout(3):
        await one.broker.subscribe(log_topic())
        history = await one.broker.read(log_topic())
    assert not history.recovered
    one.broker.publish_soon(draft(log_topic(), 1))
    await until(lambda: values(one.got) == [1])
    own_redis.start()
    await until(lambda: one.listener.lost == [log_topic()])
    await until(lambda: one.broker.status.degraded_since is None)


async def test_a_paused_redis_keeps_nobody_waiting_and_gets_everything_later(make, own_redis):
    own_redis.start()
    one, two = make(own_redis), make(own_redis)
    await two.broker.subscribe(log_topic())
    await one.broker.publish(draft(log_topic(), 0))
    own_redis.pause()
    async with asyncio.timeout(6):
        assert await one.broker.publish(draft(log_topic(), 1)) is None
    for n in range(2, 1_000):
        one.broker.publish_soon(draft(log_topic(), n))
    await until(lambda: one.broker.status.degraded_since is not None)
    async with asyncio.timeout(1):
        assert not await asyncio.to_thread(one.broker.settle, 30)
    own_redis.go_on()
    await until(lambda: len(two.got) == 1_000)
    assert values(two.got) == list(range(1_000))


async def test_a_full_queue_drops_old_state_then_refuses(make, own_redis):
    one = make(own_redis, queue_count=5)
    await until(lambda: bool(one.broker._listening._troubles))
    one.broker.publish_soon(draft(log_topic(), "in flight"))
    await until(lambda: bool(one.broker._publisher._sender.trouble))
    for n in range(3):
        one.broker.publish_soon(draft(state_topic(), n, "k"))
    for n in range(4):
        one.broker.publish_soon(draft(log_topic(), n))
    assert one.broker.status.queued == 5
    assert one.broker.status.refused == 3
    one.broker.publish_soon(draft(log_topic(), "refused"))
    assert one.broker.status.refused == 4
    own_redis.start()
    await until(lambda: one.broker.status.queued == 0)
    await one.broker.subscribe(log_topic())
    epoch = (await one.broker.read(log_topic())).position.epoch
    history = await one.broker.read(log_topic(), Position(epoch, 0))
    assert values(history.publications) == ["in flight", 0, 1, 2, 3]


async def test_an_answer_that_got_lost_does_not_store_twice(make, redis_server):
    one = make(redis_server)
    execute = one.broker._publisher._sender._execute
    lost = []

    def answer_lost(batch):
        answers = execute(batch)
        if not lost:
            lost.append(answers)
            raise ConnectionError("the answer got lost")
        return answers

    one.broker._publisher._sender._execute = answer_lost
    await one.broker.subscribe(log_topic())
    one.broker.publish_soon(draft(log_topic(), 1))
    await until(lambda: one.broker.status.queued == 0 and lost)
    await one.broker.publish(draft(log_topic(), 2))
    assert values(one.got) == [1, 2]
    assert [p.offset for p in one.got] == [1, 2]


async def test_scripts_that_redis_forgot_are_loaded_again(make, redis_server):
    one = make(redis_server)
    await one.broker.publish(draft(log_topic(), 1))
    await one.broker.read(log_topic())
    redis_server.client().script_flush()
    assert (await one.broker.publish(draft(log_topic(), 2))).offset == 2
    assert (await one.broker.read(log_topic())).position.offset == 2


async def test_every_key_expires_and_the_position_outlives_the_history(make, redis_server):
    one = make(redis_server, retention=RetentionRules(default=Retention(10, 5)))
    await one.broker.publish(draft(log_topic(), 1, idempotency_key="x"))
    await one.broker.publish(draft(state_topic(), 1))
    client = redis_server.client()
    ttl = {key.partition(":")[2]: client.pttl(key) for key in client.scan_iter(f"{make.prefix}:*")}
    assert len(ttl) == 7
    assert all(milliseconds > 0 for milliseconds in ttl.values())
    assert ttl["{t.log}:meta"] > 2 * ttl["{t.log}:log"]


async def test_a_forked_process_publishes_for_itself(make, redis_server):
    one = make(redis_server)
    await one.broker.subscribe(log_topic())
    await one.broker.publish(draft(log_topic(), "parent"))
    pid = os.fork()
    if pid == 0:
        one.broker.publish_soon(draft(log_topic(), "child"))
        os._exit(0 if one.broker.settle(5) else 1)
    _, status = await asyncio.to_thread(os.waitpid, pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    await one.broker.publish(draft(log_topic(), "parent again"))
    await until(lambda: len(one.got) == 3)
    assert values(one.got) == ["parent", "child", "parent again"]


async def test_threads_share_one_connection(make, redis_server):
    one = make(redis_server)
    before = len(redis_server.client().client_list())

    def publish(name):
        for n in range(100):
            one.broker.publish_soon(draft(log_topic(), [name, n]))
        one.broker.settle(5)

    threads = [threading.Thread(target=publish, args=(name,)) for name in range(10)]
    for thread in threads:
        thread.start()
    await asyncio.to_thread(lambda: [thread.join() for thread in threads])
    assert len(redis_server.client().client_list()) <= before + 2
    assert (await one.broker.read(log_topic())).position.offset == 1_000


async def test_what_a_reader_was_given_is_not_delivered_to_it_once_more(make, redis_server):
    one, two = make(redis_server), make(redis_server)
    await one.broker.subscribe(log_topic())
    held = hold_messages(one)
    await two.broker.publish_many([draft(log_topic(), n) for n in (1, 2, 3)])
    await until(lambda: len(held) == 3)
    history = await one.broker.read(log_topic())
    assert history.position.offset == 3
    assert values(one.got) == [1, 2, 3]  # before its reader goes live, not after
    one.broker._listening._on_messages(held)
    assert values(one.got) == [1, 2, 3]


def hold_messages(each):
    """What is heard stays on the way."""
    held = []
    for ear in each.broker._listening._ears._ears.values():
        ear._on_messages = held.extend
    return held


async def test_what_two_processes_publish_once_is_delivered_once_also_during_an_outage(make, own_redis):
    own_redis.start()
    one, two = make(own_redis), make(own_redis)
    for each in (one, two):
        await each.broker.subscribe(log_topic())
    await one.broker.publish(draft(log_topic(), "before"))
    await until(lambda: len(two.got) == 1)
    own_redis.stop()
    for each in (one, two):  # as the process that commits, and the relay of another
        each.broker.publish_soon(draft(log_topic(), "fact", idempotency_key="k"))
    await until(lambda: values(one.got) == values(two.got) == ["before", "fact"])
    own_redis.start()
    await until(lambda: one.broker.status.queued == two.broker.status.queued == 0)
    await one.broker.publish(draft(log_topic(), "after"))
    await until(lambda: len(one.got) >= 3 and len(two.got) >= 3)
    assert values(one.got) == values(two.got) == ["before", "fact", "after"]
    assert one.got[-1].offset == 3


async def test_a_topic_that_is_of_another_kind_harms_no_other(make, redis_server):
    one, two = make(redis_server), make(redis_server)
    await two.broker.publish(draft(state_topic("x"), 1))
    with pytest.raises(InvalidTopic, match="state topic"):
        await one.broker.subscribe(log_topic("x"))
    await one.broker.subscribe(log_topic())
    lose_messages(one, 1)
    await two.broker.publish_many([draft(log_topic(), n) for n in (1, 2)])
    await until(lambda: values(one.got) == [1, 2])


async def test_what_comes_after_a_hole_reaches_nobody_who_misses_what_was_in_it(make, redis_server):
    one = make(redis_server, retention=RetentionRules(default=Retention(3, 60)))
    two = make(redis_server, retention=RetentionRules(default=Retention(3, 60)))
    await one.broker.subscribe(log_topic())
    order = []
    one.listener.on_lost = lambda topic: order.append("lost")
    one.listener.on_publications = lambda publications: order.extend(values(publications))
    await two.broker.publish(draft(log_topic(), 1))
    await until(lambda: order == [1])
    lose_messages(one, 10)
    await two.broker.publish_many([draft(log_topic(), n) for n in range(2, 13)])
    await until(lambda: "lost" in order)
    await two.broker.publish(draft(log_topic(), "after"))
    await until(lambda: order[-1] == "after")
    assert order.index("lost") == 1


async def test_a_state_whose_answer_got_lost_and_that_was_overwritten_keeps_nobody_from_redis(make, redis_server):
    one = make(redis_server)
    topic = state_topic()
    await one.broker.subscribe(topic)
    await one.broker.publish(draft(topic, "another", "other"))
    listening = one.broker._listening
    lost = draft(topic, "old", "k")
    assert listening._feeds[topic.name].deliver_provisionally(1_000, lost) is not None
    stored_before = Outcome(Entry(1_000, topic, lost, "k", 600))  # as Redis answers what it has under this number
    listening._on_stored([stored_before], lambda: None)
    history = await one.broker.read(topic)
    assert values(history.publications) == ["another"], "read from Redis, and not what only this process knew"
