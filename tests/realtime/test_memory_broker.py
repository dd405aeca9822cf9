"""What only the memory broker promises: that its memory is bounded."""

import tracemalloc

from realtime.brokers.memory import IDEMPOTENCY_SECONDS, MemoryBroker
from realtime.clock import ManualClock
from realtime.publication import Position, PublicationBatch
from realtime.topic import Retention, RetentionRules

from .conftest import draft, log_topic, state_topic


def test_a_million_short_lived_topics_are_forgotten():
    clock = ManualClock()
    broker = MemoryBroker(clock, retention=RetentionRules(default=Retention(10, 60)), max_topics=1_000)
    for n in range(1_000_000):
        broker.publish_soon(draft(log_topic(f"job.{n}"), 1))
        if n % 1_000 == 0:
            clock.advance(1)
    assert broker.topic_count <= 1_001
    assert broker.held_bytes < 1_000_000


async def test_idle_topics_are_forgotten_and_come_back_with_a_new_epoch():
    clock = ManualClock()
    broker = MemoryBroker(clock)
    old = await broker.publish(draft(log_topic("old"), 1))
    clock.advance(4_000)
    await broker.publish(draft(log_topic("new"), 1))
    assert broker.topic_count == 1
    again = await broker.publish(draft(log_topic("old"), 2))
    assert again.offset == 1
    assert again.epoch != old.epoch
    assert not (await broker.read(log_topic("old"), old)).recovered


async def test_a_subscribed_topic_keeps_its_position_however_idle():
    clock = ManualClock()
    broker = MemoryBroker(clock)
    await broker.subscribe(log_topic("kept"))
    first = await broker.publish(draft(log_topic("kept"), 1))
    clock.advance(10_000)
    await broker.publish(draft(log_topic("other"), 1))
    second = await broker.publish(draft(log_topic("kept"), 2))
    assert second == Position(first.epoch, 2)


async def test_history_is_bounded_by_age():
    clock = ManualClock()
    broker = MemoryBroker(clock, retention=RetentionRules(default=Retention(100, 30)))
    first = await broker.publish(draft(log_topic(), 1))
    clock.advance(31)
    await broker.publish(draft(log_topic(), 2))
    assert not (await broker.read(log_topic(), Position(first.epoch, 0))).recovered
    assert (await broker.read(log_topic(), first)).recovered


async def test_the_bytes_of_all_topics_together_are_bounded():
    broker = MemoryBroker(ManualClock(), max_bytes=100_000)
    for n in range(50):
        for _ in range(20):
            await broker.publish(draft(log_topic(f"t.{n}"), "x" * 1_000))
    assert broker.held_bytes <= 102_000


async def test_ten_thousand_topics_in_one_call_are_bounded_as_well():
    broker = MemoryBroker(ManualClock(), max_topics=1_000, max_bytes=1_000_000)
    for _ in range(3):
        await broker.publish_many([draft(log_topic(f"user.{n}"), "x" * 300) for n in range(10_000)])
    assert broker.topic_count <= 1_000
    assert broker.held_bytes <= 1_000_000


async def test_what_is_held_is_what_the_process_needs_for_it():
    broker = MemoryBroker(ManualClock())
    drafts = [draft(log_topic(), f"{n:0300}") for n in range(500)]
    tracemalloc.start()
    await broker.publish_many(drafts)
    history = await broker.read(log_topic(), Position((await broker.read(log_topic())).position.epoch, 0))
    assert PublicationBatch(history.publications).plain
    del history
    needed_bytes = tracemalloc.get_traced_memory()[0] + sum(len(d.body) for d in drafts)
    tracemalloc.stop()
    assert 0.7 * needed_bytes < broker.held_bytes < 1.5 * needed_bytes


async def test_overwritten_state_holds_no_memory():
    broker = MemoryBroker(ManualClock())
    for n in range(1_000):
        await broker.publish(draft(state_topic(), n, "k"))
    assert broker.held_bytes < 1_000


async def test_an_idempotency_key_is_forgotten_after_its_time():
    clock = ManualClock()
    broker = MemoryBroker(clock)
    await broker.publish(draft(log_topic(), 1, idempotency_key="x"))
    clock.advance(IDEMPOTENCY_SECONDS + 1)
    assert (await broker.publish(draft(log_topic(), 2, idempotency_key="x"))).offset == 2
