"""Who is watched."""

from types import SimpleNamespace

from apps.streaming import audience
from realtime.brokers.memory import MemoryBroker
from realtime.clock import ManualClock
from realtime.topic import Kind, Topic


def topic_of(user_id):
    return Topic(f"trading.pnl.{user_id}", Kind.STATE)


async def test_those_whose_topic_is_followed_are_watched(monkeypatch):
    broker = MemoryBroker(ManualClock())
    monkeypatch.setattr(audience, "runtime", lambda: SimpleNamespace(broker=broker, attach=lambda: None))
    assert await audience.watched(topic_of, [1, 2, 3]) == set()
    await broker.subscribe(topic_of(2))
    await broker.subscribe(topic_of("x"))
    assert await audience.watched(topic_of, iter([1, 2, 3])) == {2}
    assert await audience.watched(topic_of, ["x", "2"]) == {"x", "2"}
    broker.unsubscribe(topic_of(2))
    assert await audience.watched(topic_of, [1, 2, 3]) == set()
