"""Who is watched: whose topics anybody follows, on any server. What nobody sees need not be computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from apps.streaming.runtime import runtime
from realtime.topic import Topic

Id = TypeVar("Id", int, str)


async def watched(topic_of: Callable[[Id], Topic], ids: Iterable[Id]) -> set[Id]:
    """Those of the ids whose topic some process is subscribed to now. Asks the broker each time, a thousand topics per
    question; during an outage only who is connected to this process counts."""
    engine = runtime()
    engine.attach()
    asked = list(ids)
    topics = [topic_of(each) for each in asked]
    followed = await engine.broker.followed(topics)
    return {each for each, topic in zip(asked, topics, strict=True) if topic.name in followed}
