"""Several brokers as one: which topic lives where."""

from collections import Counter

from realtime.brokers.memory import MemoryBroker
from realtime.brokers.sharded import ShardedBroker
from realtime.clock import ManualClock

from .conftest import draft, log_topic


def sharded(*names):
    return ShardedBroker({name: MemoryBroker(ManualClock()) for name in names})


def places(broker, count=3_000):
    names = {id(each): name for name, each in broker._brokers.items()}
    return {f"t.{n}": names[id(broker.broker_of(f"t.{n}"))] for n in range(count)}


def test_topics_are_spread_and_their_place_depends_on_names_only():
    spread = places(sharded("a", "b", "c"))
    assert spread == places(sharded("c", "a", "b"))
    assert all(count > 600 for count in Counter(spread.values()).values())


def test_adding_a_broker_moves_only_what_it_takes_over():
    before, after = places(sharded("a", "b", "c")), places(sharded("a", "b", "c", "d"))
    moved = {name for name in before if before[name] != after[name]}
    assert {after[name] for name in moved} == {"d"}
    assert len(moved) < 1_200


async def test_many_drafts_come_back_with_their_own_positions():
    broker = sharded("a", "b", "c")
    drafts = [draft(log_topic(f"t.{n % 7}"), n) for n in range(70)]
    positions = await broker.publish_many(drafts)
    assert [position.offset for position in positions] == [n // 7 + 1 for n in range(70)]
    assert broker.status.topics == 7
