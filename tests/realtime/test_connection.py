import asyncio
import threading
from datetime import timedelta
from itertools import pairwise

import pytest

from realtime.close import NOT_AUTHENTICATED, SERVER_RESTARTING
from realtime.errors import CommandFailed, TooManySubscriptions
from realtime.frames import DEFLATE_MIN_BYTES, text_frame
from realtime.limits import Limits
from realtime.messages import ErrorMessage, Pong
from realtime.publication import Position

from .conftest import House, draft, log_topic, no_snapshot, state_topic


def offsets(transport):
    return [message["offset"] for message in transport.of_type("item")]


async def resume(house, transport, *topics):
    """Open a connection from where another one stopped."""
    since = {}
    for message in transport.messages:
        for s in message.get("subscriptions", ()):
            if "epoch" in s:
                since[s["topic"]] = Position(s["epoch"], s["offset"])
        if "offset" in message:
            since[message["topic"]] = Position(since[message["topic"]].epoch, message["offset"])
    return await house.open(*topics, since=since)


async def stalled_resume(house):
    """A connection that is to be caught up with 300 publications, and does not read."""
    start = (await house.broker.read(log_topic())).position
    await house.broker.publish_many([draft(log_topic(), n) for n in range(300)])
    connection, transport = house.connection()
    transport.stuck = True
    opening = asyncio.create_task(connection.open([log_topic()], {"t.log": start}, no_snapshot))
    while not house.hub.topic_count:
        await asyncio.sleep(0)
    return connection, transport, opening


async def test_welcome_then_snapshot_then_what_was_missed_then_live(house):
    for n in range(3):
        await house.broker.publish(draft(log_topic(), n))
    position = Position((await house.broker.read(log_topic())).position.epoch, 1)
    connection, transport = house.connection()

    async def snapshot(topics):
        assert [topic.name for topic in topics] == ["t.state"]
        await house.broker.publish(draft(log_topic(), "while the snapshot is read"))
        return [Pong(timestamp=house.clock.now())]

    await connection.open([log_topic(), state_topic()], {"t.log": position}, snapshot)
    await house.broker.publish(draft(log_topic(), "live"))
    house.clock.advance(0.005)
    assert [m["type"] for m in transport.messages] == ["welcome", "pong", "item", "item", "item", "item"]
    assert offsets(transport) == [2, 3, 4, 5]
    subscription = transport.messages[0]["subscriptions"][0]
    assert (subscription["recovered"], subscription["offset"]) == (True, 1)


async def test_a_resume_that_history_cannot_serve_gets_the_snapshot_and_no_part_of_it():
    house = House()
    await house.broker.publish(draft(log_topic(), 1))
    asked = []
    connection, transport = house.connection()

    async def snapshot(topics):
        asked.extend(topics)
        return ()

    await connection.open([log_topic()], {"t.log": Position("other", 0)}, snapshot)
    assert asked == [log_topic()]
    assert offsets(transport) == []
    assert transport.messages[0]["subscriptions"][0]["recovered"] is False


async def test_current_values_of_a_state_come_on_subscribing(house):
    await house.broker.publish(draft(state_topic(), 1, "a"))
    await house.broker.publish(draft(state_topic(), 2, "b"))
    await house.broker.publish(draft(state_topic(), 3, "a"))
    _, transport = await house.open(state_topic())
    assert [m["value"] for m in transport.of_type("item")] == [2, 3]


async def test_a_client_that_does_not_read_delays_nobody_and_is_closed_on_a_log():
    house = House(Limits(outbox_bytes=20_000))
    _, slow = await house.open(log_topic())
    _, quick = await house.open(log_topic(), user_id="8")
    slow.stuck = True
    for n in range(1_000):
        await house.broker.publish(draft(log_topic(), n))
        house.clock.advance(0.005)
        assert len(quick.of_type("item")) == n + 1
    assert slow.closed[0] == 4008
    _, again = await resume(house, slow, log_topic())
    assert offsets(again) == list(range(1, 1_001))


async def test_a_client_that_does_not_read_gets_one_state_message_per_key():
    house = House(Limits(outbox_bytes=20_000))
    _, slow = await house.open(state_topic())
    slow.stuck = True
    for n in range(1_000):
        await house.broker.publish(draft(state_topic(), n, f"k{n % 3}"))
        house.clock.advance(0.005)
    assert slow.closed is None
    slow.unstick()
    assert sorted(m["value"] for m in slow.of_type("item")) == [997, 998, 999]


async def test_a_replay_larger_than_the_outbox_is_sent_at_the_clients_pace():
    house = House(Limits(outbox_bytes=5_000))
    start = (await house.broker.read(log_topic())).position
    for n in range(900):
        await house.broker.publish(draft(log_topic(), n))
    _, transport = await house.open(log_topic(), since={"t.log": start})
    assert offsets(transport) == list(range(1, 901))
    assert transport.closed is None


async def test_what_waits_is_sent_before_a_polite_close(house):
    connection, transport = await house.open(log_topic())
    transport.stuck = True
    connection.refuse(CommandFailed("x", "why"))
    connection.close(NOT_AUTHENTICATED)
    connection.close(SERVER_RESTARTING)
    assert transport.closed[0] == 4001
    assert transport.messages[-1]["error"] == "why"


async def test_subscribing_twice_is_confirmed_twice_and_delivered_once(house):
    connection, transport = await house.open(log_topic("a"))
    await connection.subscribe([log_topic("b")], "1")
    await connection.subscribe([log_topic("b")], "2")
    await house.broker.publish(draft(log_topic("b"), 1))
    confirmed = transport.of_type("subscription_confirmed")
    assert [m["request_id"] for m in confirmed] == ["1", "2"]
    assert [s["topic"] for s in confirmed[1]["subscriptions"]] == ["a", "b"]
    assert len(transport.of_type("item")) == 1
    connection.unsubscribe([log_topic("b")])
    await house.broker.publish(draft(log_topic("b"), 2))
    house.clock.advance(1)
    assert len(transport.of_type("item")) == 1


async def test_subscriptions_are_limited_and_a_refusal_changes_nothing():
    house = House(Limits(subscriptions_per_connection=2))
    connection, _ = await house.open(log_topic("a"))
    with pytest.raises(TooManySubscriptions, match="at most 2"):
        await connection.subscribe([log_topic("b"), log_topic("c")])
    assert [s.topic for s in connection.subscriptions] == ["a"]


async def test_nothing_is_written_to_a_socket_that_says_it_is_writable_and_is_not(house):
    connection, transport = await house.open(log_topic())
    transport.stuck = True
    connection.refuse(CommandFailed("x", "why"))
    transport._on_writable()
    assert transport.of_type("error") == []
    transport.unstick()
    assert len(transport.of_type("error")) == 1


@pytest.mark.parametrize("closed_by_us", [True, False])
async def test_the_code_that_counts_is_the_first_that_was_said(house, closed_by_us):
    codes = []
    connection, transport = await house.open()
    connection._metrics.connection_closed = lambda stream, code, duration_seconds: codes.append(code)
    if closed_by_us:
        connection.close(NOT_AUTHENTICATED)
    transport.break_()  # as a peer's close frame does
    connection.ended(1001)
    assert codes == [4001 if closed_by_us else 1001]


@pytest.mark.parametrize("ends", [lambda c, t: t.unstick(), lambda c, t: c.close(NOT_AUTHENTICATED)])
async def test_what_waited_is_not_compressed_beside_what_another_topic_says(ends):
    """An attacker who has a say in one of a victim's topics must not learn from a length what another one holds."""
    house = House()
    connection, transport = await house.open(log_topic("public"), log_topic("personal"))
    transport.stuck = True
    secret = "the secret of the personal topic " * 40
    await house.broker.publish(draft(log_topic("personal"), secret))
    await house.broker.publish(draft(log_topic("public"), secret))
    house.clock.advance(0.005)
    ends(connection, transport)
    waited = transport.batches[-1]
    lengths = []
    for frame in waited.frames:
        assert len(frame.payload) > DEFLATE_MIN_BYTES
        assert len(frame.deflated_array) < len(text_frame(frame.payload)) / 4
        lengths.append(len(frame.deflated_array))
    assert len(waited.deflated_array) == sum(lengths)


async def test_heartbeats_of_many_who_are_silent_together_are_spread(house):
    heard = [(await house.open(log_topic(), user_id=str(n)))[1] for n in range(200)]
    await house.broker.publish(draft(log_topic(), 1))
    house.clock.advance(19.5)
    counts = [sum(len(transport.of_type("heartbeat")) for transport in heard)]
    for _ in range(20):
        house.clock.advance(0.1)
        counts.append(sum(len(transport.of_type("heartbeat")) for transport in heard))
    assert counts[0] == 0
    assert counts[-1] == 200
    assert max(after - before for before, after in pairwise(counts)) < 200 / 5


async def test_a_heartbeat_that_is_due_is_dropped_when_something_else_comes(house):
    connection, transport = await house.open(log_topic())
    house.clock.advance(20)
    connection.refuse(CommandFailed("x", "why"))
    house.clock.advance(2)
    assert transport.of_type("heartbeat") == []


async def test_heartbeat_only_after_silence(house):
    _, transport = await house.open(log_topic())
    house.clock.advance(15)
    await house.broker.publish(draft(log_topic(), 1))
    house.clock.advance(15)
    assert transport.of_type("heartbeat") == []
    house.clock.advance(6)
    (heartbeat,) = transport.of_type("heartbeat")
    assert heartbeat["offsets"] == {"t.log": 1}


async def test_an_expiring_token_is_announced_and_then_closed(house):
    connection, transport = await house.open(expires_at=house.clock.now() + timedelta(seconds=100))
    house.clock.advance(39)
    assert transport.of_type("token_expiring") == []
    house.clock.advance(2)
    assert len(transport.of_type("token_expiring")) == 1
    connection.renew(house.clock.now() + timedelta(seconds=100))
    house.clock.advance(62)
    assert transport.closed is None
    assert len(transport.of_type("token_expiring")) == 2
    house.clock.advance(60)
    assert transport.closed[0] == 4001


async def test_a_peer_that_vanishes_while_it_is_caught_up_frees_the_connection(house):
    connection, transport, opening = await stalled_resume(house)
    transport.break_()
    await opening
    connection.ended(1006)
    assert house.hub.topic_count == 0


async def test_reasons_fit_a_close_frame(house):
    connection, transport = await house.open()
    connection.close(NOT_AUTHENTICATED, "ü" * 200)
    assert len(transport.closed[1].encode()) <= 123


async def test_a_confirmation_on_a_busy_topic_tells_the_right_offset(house):
    _, _ = await house.open(log_topic("busy"), user_id="8")
    connection, transport = await house.open(log_topic("quiet"))
    for n in range(6):
        await house.broker.publish(draft(log_topic("busy"), n))  # most of them wait for the window
    await connection.subscribe([log_topic("busy")])
    house.clock.advance(1)
    await house.broker.publish(draft(log_topic("busy"), 7))
    (confirmed,) = transport.of_type("subscription_confirmed")
    assert [(s["topic"], s["offset"]) for s in confirmed["subscriptions"]] == [("quiet", 0), ("busy", 6)]
    assert offsets(transport) == [7]


async def test_a_long_answer_to_a_quick_client_is_no_slow_consumer():
    house = House(Limits(outbox_bytes=2_000))
    connection, transport = house.connection()

    def write(batch, write=transport.write):
        write(batch)
        transport.stuck = True  # as plain ASGI is, until its task has run
        asyncio.get_running_loop().call_soon(transport.unstick)

    transport.write = write

    async def snapshot(topics):
        return [ErrorMessage(error="x" * 1_500, error_code="x", timestamp=house.clock.now()) for _ in range(10)]

    await connection.open([log_topic()], {}, snapshot)
    await asyncio.sleep(0)
    assert transport.closed is None
    assert len(transport.of_type("error")) == 10


async def test_more_topics_than_allowed_are_refused_and_the_others_go_on():
    house = House(Limits(subscriptions_per_connection=2))
    _, transport = await house.open(*(log_topic(f"t.{n}") for n in range(4)))
    assert len(transport.of_type("welcome")[0]["subscriptions"]) == 2
    assert [m["error_code"] for m in transport.of_type("error")] == ["too_many_subscriptions"] * 2


async def test_a_heartbeat_says_nothing_of_topics_that_are_not_caught_up(house):
    _, transport, opening = await stalled_resume(house)
    house.clock.advance(21)
    transport.unstick()
    await opening
    assert [heartbeat["offsets"] for heartbeat in transport.of_type("heartbeat")] == [{}]
    assert offsets(transport) == list(range(1, 301))


async def test_what_a_thread_publishes_during_a_resume_comes_once(house):
    _, _ = await house.open(log_topic(), user_id="8")
    first = await house.broker.publish(draft(log_topic(), 1))
    thread = threading.Thread(target=house.broker.publish_soon, args=(draft(log_topic(), 2),))
    thread.start()
    thread.join()  # kept, and not yet brought to the loop
    _, transport = await house.open(log_topic(), since={"t.log": first})
    await asyncio.sleep(0)
    house.clock.advance(1)
    assert offsets(transport) == [2]
