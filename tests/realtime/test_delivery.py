"""The checker: under any interleaving of publications, stalls, disconnects and resumes, nothing is lost, repeated or
reordered on a log, and a state ends at its latest values."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime import hub
from realtime.limits import Limits
from realtime.publication import Position

from .conftest import House, draft, log_topic, state_topic

LOGS = [log_topic("log.a"), log_topic("log.b")]
STATE = state_topic("state.x")

steps = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.sampled_from([0, 1]), st.integers(1, 30)),
        st.tuples(st.just("state"), st.sampled_from(["k1", "k2"]), st.integers(1, 5)),
        st.tuples(st.just("advance"), st.sampled_from([0.0, 0.001, 0.005, 1.0, 25.0]), st.just(0)),
        st.tuples(st.just("stall"), st.just(0), st.just(0)),
        st.tuples(st.just("unstall"), st.just(0), st.just(0)),
        st.tuples(st.just("reconnect"), st.booleans(), st.just(0)),
        st.tuples(st.just("command"), st.sampled_from(['{"type":"ping"}', "x", '{"type":"nope"}']), st.just(0)),
    ),
    max_size=40,
)


class Client:
    """Keeps what it got over all of its connections, and its positions, as a careful client does."""

    def __init__(self, house):
        self.house = house
        self.logs = {topic.name: [] for topic in LOGS}
        self.state = {}
        self.since = {}
        self.transport = None
        self.connection = None

    async def connect(self):
        self.connection, self.transport = await self.house.open(*LOGS, STATE, since=dict(self.since))

    async def read_all(self):
        """Read everything that was written, and forget it."""
        for message in self.transport.messages:
            for s in message.get("subscriptions", ()):
                if "epoch" in s and s["topic"] not in self.since:
                    self.since[s["topic"]] = Position(s["epoch"], s["offset"])
            if message["type"] == "heartbeat":  # says how far this client has got
                for name, offset in message["offsets"].items():
                    self.since[name] = Position(self.since[name].epoch, offset)
            elif message["type"] == "item" and "offset" in message:
                self.logs[message["topic"]].append(message["value"])
                self.since[message["topic"]] = Position(self.since[message["topic"]].epoch, message["offset"])
            elif message["type"] == "item":
                key, value = message["value"]
                self.state[key] = value
        self.transport.batches.clear()

    async def drop(self):
        await self.read_all()
        self.connection.ended(1006)


async def run(script):
    house = House(Limits(outbox_bytes=2_000))
    client, *others = clients = [Client(house) for _ in range(3)]
    for each in clients:
        await each.connect()
    published = {topic.name: [] for topic in LOGS}
    latest = {}
    count = 0
    for what, choice, amount in script:
        if what == "publish":
            topic = LOGS[choice]
            for _ in range(amount):
                count += 1
                published[topic.name].append(count)
                await house.broker.publish(draft(topic, count))
        elif what == "state":
            for _ in range(amount):
                count += 1
                latest[choice] = count
                await house.broker.publish(draft(STATE, [choice, count], choice))
        elif what == "advance":
            house.clock.advance(choice)
        elif what == "stall":
            client.transport.stuck = True
        elif what == "unstall":
            client.transport.unstick()
        elif what == "command":
            await client.connection.receive(choice, None)
        elif what == "reconnect":
            await client.drop()
            await client.connect()
        if client.transport.closed:
            assert client.transport.closed[0] in {4008, 4400, 4029}
            await client.drop()
            await client.connect()
    client.transport.unstick()
    house.clock.advance(1)
    if client.transport.closed:
        await client.drop()
        await client.connect()
    for each in (client, *others):
        await each.read_all()
        assert each.logs == published
        assert each.state == latest


@pytest.mark.parametrize("at_once", [1, hub.SLICE])
def test_what_was_published_is_what_was_received(monkeypatch, at_once):
    monkeypatch.setattr(hub, "SLICE", at_once)

    @settings(max_examples=150, deadline=None)
    @given(steps)
    def check(script):
        asyncio.run(run(script))

    check()
