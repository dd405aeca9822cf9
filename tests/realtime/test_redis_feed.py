"""One topic as a process follows it, under every order of losses, cuts, outages and answers."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.brokers.redis.codec import NO_ONCE, Received, decode, tail
from realtime.brokers.redis.feed import ReadResult, TopicFeed
from realtime.publication import Draft, Position, Publication
from realtime.topic import Kind

from .conftest import draft, log_topic, state_topic

ME, OTHER = b"me", b"other"

steps = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.sampled_from([ME, OTHER])),  # stored, and heard later
        st.tuples(st.just("alone"), st.just(ME)),  # published while Redis is away
        st.tuples(st.just("hear"), st.integers(1, 5)),
        st.tuples(st.just("lose"), st.integers(1, 5)),
        st.tuples(st.just("cut"), st.none()),
        st.tuples(st.just("back"), st.none()),  # Redis stores what was published meanwhile
        st.tuples(st.just("catch up"), st.none()),
    ),
    max_size=60,
)


class Redis:
    """What Redis would hold, and what is on its way."""

    def __init__(self, kind: Kind) -> None:
        self.topic = log_topic() if kind is Kind.LOG else state_topic()
        self.log: list[Received] = []
        self.on_its_way: list[Received] = []
        self.waiting: list[tuple[int, Any]] = []
        self.number = 0

    def new(self, publisher: bytes) -> tuple[int, Any]:
        self.number += 1
        key = f"k{self.number % 3}" if self.topic.kind is Kind.STATE else None
        return self.number, draft(self.topic, [publisher.decode(), self.number], key)

    def store(self, publisher: bytes, number: int, what: Any) -> None:
        position = Position("e", len(self.log) + 1)
        placed = Publication(self.topic, what.body, what.key, position)
        item = Received(placed, 1_000 + position.offset, publisher, number, NO_ONCE)
        self.log.append(item)
        self.on_its_way.append(item)

    def read(self, since: Position | None) -> ReadResult:
        position = Position("e", len(self.log))
        if since is None:
            return ReadResult(position, recovered=False, items=[])
        if self.topic.kind is Kind.LOG:
            return ReadResult(position, recovered=True, items=self.log[since.offset :])
        latest = {item.publication.key: item for item in self.log}
        return ReadResult(position, recovered=False, items=list(latest.values()))


def run(kind: Kind, script: list[tuple[str, Any]]) -> tuple[list[Any], Redis]:
    redis = Redis(kind)
    feed = TopicFeed(redis.topic, ME, "away")
    feed.catch_up(redis.read(None))
    got: list[Publication] = []

    def take(delivery):
        assert not delivery.lost
        got.extend(delivery.publications)
        if delivery.settled is not None:
            assert delivery.settled.offset <= len(redis.log)

    def catch_up():
        take(feed.catch_up(redis.read(feed.position)))

    for what, how in [*script, ("back", None), ("hear", 1_000), ("cut", None), ("catch up", None)]:
        if what == "publish":
            if how == ME and redis.waiting:
                redis.waiting.append(redis.new(ME))  # in its turn
            else:
                redis.store(how, *redis.new(how))
        elif what == "alone":
            if not redis.waiting:  # what was stored and not yet heard comes first
                for number, stored in feed.own_held():
                    publication = feed.deliver_provisionally(number, stored)
                    got.extend([publication] if publication else [])
            number, published = redis.new(ME)
            redis.waiting.append((number, published))
            publication = feed.deliver_provisionally(number, published)
            got.extend([publication] if publication else [])
        elif what == "hear":
            for item in redis.on_its_way[:how]:
                take(feed.receive(item))
            del redis.on_its_way[:how]
        elif what == "lose":
            del redis.on_its_way[:how]
        elif what == "cut":
            feed.out_of_step()
            redis.on_its_way.clear()
        elif what == "back":
            for number, published in redis.waiting:
                redis.store(ME, number, published)
            redis.waiting.clear()
        elif what == "catch up" and not feed.in_step:
            catch_up()
    while not feed.in_step:
        catch_up()
    return got, redis


@settings(max_examples=300, deadline=None)
@given(steps)
def test_everybody_gets_everything_once_and_each_publishers_in_order(script):
    got, redis = run(Kind.LOG, script)
    received = [tuple(json.loads(p.body)["value"]) for p in got]
    stored = [tuple(json.loads(item.publication.body)["value"]) for item in redis.log]
    assert sorted(received) == sorted(stored)
    others = [number for publisher, number in received if publisher == "other"]
    assert others == sorted(others)
    offsets = [p.offset for p in got if not p.is_provisional]
    assert offsets == sorted(set(offsets))


@settings(max_examples=300, deadline=None)
@given(steps)
def test_a_state_ends_with_its_latest_values(script):
    got, redis = run(Kind.STATE, script)
    shown = {p.key: p.body for p in got}
    latest = {item.publication.key: item.publication.body for item in redis.log}
    assert shown == latest


@given(st.one_of(st.none(), st.text(max_size=20)), st.text(max_size=50))
def test_what_is_published_is_what_is_read(key, value):
    published = draft(log_topic(), value) if key is None else Draft(state_topic(), value.encode(), key)
    read = decode(published.topic, b"epoch 12 1700000000000 " + tail(published, b"me", 7))
    assert (read.publication.body, read.publication.key) == (published.body, key)
    assert (read.publication.position, read.ms) == (Position("epoch", 12), 1_700_000_000_000)
    assert (read.publisher, read.number) == (b"me", 7)
