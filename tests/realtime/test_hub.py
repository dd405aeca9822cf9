import asyncio

import pytest

from realtime import hub
from realtime.close import INTERNAL_ERROR, POSITION_LOST
from realtime.errors import TooManyConnections
from realtime.hub import DEFAULT_WINDOW_SECONDS, MAX_WINDOW_SECONDS
from realtime.publication import Position, Publication

from .conftest import House, draft, log_topic, state_topic


def offsets(transport):
    return [message["offset"] for message in transport.of_type("item")]


async def test_a_publication_on_an_idle_topic_goes_out_in_the_same_turn(house):
    _, transport = await house.open(log_topic())
    house.broker.publish_soon(draft(log_topic(), 1))
    assert offsets(transport) == [1]


async def test_a_busy_topics_publications_leave_in_one_write_per_window(house):
    _, transport = await house.open(log_topic())
    writes_before = len(transport.batches)
    for n in range(10):
        house.broker.publish_soon(draft(log_topic(), n))
    assert len(transport.batches) - writes_before == 1
    house.clock.advance(DEFAULT_WINDOW_SECONDS)
    assert len(transport.batches) - writes_before == 2
    assert offsets(transport) == list(range(1, 11))
    house.clock.advance(DEFAULT_WINDOW_SECONDS)
    house.broker.publish_soon(draft(log_topic(), 11))
    assert offsets(transport)[-1] == 11


async def test_framing_is_done_once_for_all_connections(house):
    transports = [(await house.open(log_topic(), user_id=str(n)))[1] for n in range(50)]
    house.broker.publish_soon(draft(log_topic(), 1))
    assert len({id(transport.batches[-1]) for transport in transports}) == 1
    assert len({id(transport.batches[-1].plain) for transport in transports}) == 1


async def test_state_is_conflated_within_a_window(house):
    _, transport = await house.open(state_topic())
    for n in range(5):
        house.broker.publish_soon(draft(state_topic(), n))
    house.clock.advance(1)
    assert [m["value"] for m in transport.of_type("item")] == [0, 4]


async def test_many_published_at_once_reach_a_connection_in_one_write(house):
    _, transport = await house.open(log_topic())
    before = len(transport.batches)
    await house.broker.publish_many([draft(log_topic(), n) for n in range(100)])
    assert len(transport.batches) - before == 1
    assert offsets(transport) == list(range(1, 101))


async def test_going_live_inside_a_window_repeats_nothing(house):
    _, first = await house.open(log_topic())
    house.broker.publish_soon(draft(log_topic(), 1))
    house.broker.publish_soon(draft(log_topic(), 2))  # waits for the window
    _, second = await house.open(log_topic())
    house.broker.publish_soon(draft(log_topic(), 3))
    house.clock.advance(1)
    assert offsets(first) == [1, 2, 3]
    assert offsets(second) == [3]
    welcome = second.of_type("welcome")[0]
    assert welcome["subscriptions"][0]["offset"] == 2


async def test_topics_are_released_with_their_last_listener(house):
    one, _ = await house.open(log_topic())
    two, _ = await house.open(log_topic(), user_id="8")
    one.ended(1000)
    assert house.hub.topic_count == 1
    two.ended(1000)
    assert house.hub.topic_count == 0
    assert house.hub.connections == []
    house.broker.publish_soon(draft(log_topic(), 1))


async def test_a_user_has_a_limited_number_of_connections(house):
    opened = [await house.open(log_topic()) for _ in range(20)]
    with pytest.raises(TooManyConnections, match="at most 20"):
        await house.open(log_topic())
    await house.open(log_topic(), user_id="other")
    opened[0][0].ended(1000)
    await house.open(log_topic())


async def test_joining_while_the_last_listener_leaves_loses_nothing():
    house = House()
    for _ in range(20):
        leaver, _ = await house.open(log_topic())
        opening = asyncio.create_task(house.open(log_topic(), user_id="8"))
        await asyncio.sleep(0)
        leaver.ended(1000)
        _, transport = await opening
        await house.broker.publish(draft(log_topic(), 1))
        house.clock.advance(1)
        assert len(transport.of_type("item")) == 1


async def test_a_lost_position_sends_everybody_away_but_who_was_not_yet_told_one(house):
    _, told = await house.open(log_topic())
    _, elsewhere = await house.open(log_topic("other"))
    read = house.broker.read

    async def lose_while_reading(topic, since=None):
        house.hub.on_lost(topic)
        return await read(topic, since)

    house.broker.read = lose_while_reading
    _, joining = await house.open(log_topic(), user_id="8")
    assert told.closed[0] == 4010
    assert joining.closed is elsewhere.closed is None


async def test_when_provisional_publications_get_their_places_clients_are_told_where_they_stand(house):
    _, transport = await house.open(log_topic())
    position = await house.broker.publish(draft(log_topic(), 1))
    provisional = Publication(log_topic(), b'{"type":"item","value":2}', None, Position(position.epoch, 1, 1))
    house.hub.on_publications([provisional])
    house.clock.advance(1)
    assert "offset" not in transport.of_type("item")[-1]
    assert house.hub.position(log_topic()) == position
    house.hub.on_settled(log_topic(), Position(position.epoch, 2))
    assert transport.of_type("heartbeat")[-1]["offsets"] == {"t.log": 2}
    assert house.hub.position(log_topic()).offset == 2


async def test_what_many_topics_hold_leaves_in_one_write_per_connection(house):
    topics = [log_topic(f"symbol.{n}") for n in range(5)]
    connections = [await house.open(*topics[n : n + 3], user_id=str(n)) for n in range(3)]
    house.broker.publish_soon(draft(topics[0], "opens the window"))
    before = [len(transport.batches) for _, transport in connections]
    for n in range(20):
        house.broker.publish_soon(draft(topics[n % 5], n))
    assert [len(transport.batches) for _, transport in connections] == before
    house.clock.advance(DEFAULT_WINDOW_SECONDS)
    assert [len(transport.batches) - was for (_, transport), was in zip(connections, before, strict=True)] == [1, 1, 1]
    for first, (_, transport) in enumerate(connections):
        values = [m["value"] for m in transport.of_type("item") if isinstance(m["value"], int)]
        assert sorted(values) == [n for n in range(20) if first <= n % 5 < first + 3]
        for topic in topics[first : first + 3]:
            assert [m["offset"] for m in transport.of_type("item") if m["topic"] == topic.name] == sorted(
                m["offset"] for m in transport.of_type("item") if m["topic"] == topic.name
            )


async def test_a_joined_write_to_a_busy_socket_is_kept_and_conflated(house):
    _, transport = await house.open(log_topic(), state_topic())
    transport.stuck = True
    for n in range(4):
        house.broker.publish_soon(draft(log_topic(), n))
        house.broker.publish_soon(draft(state_topic(), n))
    house.clock.advance(1)
    transport.unstick()
    assert [m["value"] for m in transport.of_type("item") if m["topic"] == "t.log"] == [0, 1, 2, 3]
    assert [m["value"] for m in transport.of_type("item") if m["topic"] == "t.state"] == [3]


async def test_windows_widen_while_the_loop_falls_behind_and_narrow_again(house):
    _, transport = await house.open(log_topic())
    writes = []
    cost_seconds = 0.0

    def write(batch):
        house.clock.advance(cost_seconds)
        writes.append(house.clock.monotonic())

    transport.write = write

    def window_while_writing_takes(seconds):
        """How long after a write the next one began, once that has settled, with something new every millisecond."""
        nonlocal cost_seconds
        cost_seconds = seconds
        for n in range(200):
            house.broker.publish_soon(draft(log_topic(), n))
            house.clock.advance(0.001)
        return writes[-1] - writes[-2] - seconds

    assert window_while_writing_takes(0.0) == pytest.approx(DEFAULT_WINDOW_SECONDS)
    assert window_while_writing_takes(0.012) == pytest.approx(0.012)
    assert window_while_writing_takes(0.5) == pytest.approx(MAX_WINDOW_SECONDS)
    assert window_while_writing_takes(0.0) == pytest.approx(DEFAULT_WINDOW_SECONDS)


async def test_a_topic_of_one_is_written_before_a_topic_of_many(house):
    order = []
    crowd = [await house.open(log_topic("crowd"), user_id=f"crowd {n}") for n in range(10)]
    alone = await house.open(log_topic("alone"), user_id="alone")
    house.broker.publish_soon(draft(log_topic("crowd"), 0))
    for name, (_, transport) in [("crowd", pair) for pair in crowd] + [("alone", alone)]:
        transport.write = lambda batch, name=name: order.append(name)
    house.broker.publish_soon(draft(log_topic("crowd"), 1))
    house.broker.publish_soon(draft(log_topic("alone"), 1))
    house.clock.advance(DEFAULT_WINDOW_SECONDS)
    assert order == ["alone"] + ["crowd"] * 10


async def test_a_connection_that_can_neither_be_delivered_to_nor_closed_silences_nobody(house, monkeypatch):
    broken, _ = await house.open(log_topic(), user_id="broken")
    _, transport = await house.open(log_topic(), user_id="whole")
    monkeypatch.setattr(broken, "deliver", lambda batch: 1 // 0)
    monkeypatch.setattr(broken, "failed", lambda: 1 // 0)
    for n in range(3):
        house.broker.publish_soon(draft(log_topic(), n))
        house.clock.advance(1)
    assert offsets(transport) == [1, 2, 3]


async def test_what_cannot_be_made_a_frame_sends_its_listeners_away_and_silences_nobody_else(house, monkeypatch):
    lost, _ = await house.open(log_topic("bad"), user_id="lost")
    _, transport = await house.open(log_topic("good"), user_id="whole")
    monkeypatch.setattr(hub, "PublicationBatch", lambda publications: 1 // 0)
    house.broker.publish_soon(draft(log_topic("bad"), 1))
    monkeypatch.undo()
    house.clock.advance(1)
    house.broker.publish_soon(draft(log_topic("good"), 1))
    assert offsets(transport) == [1]
    assert lost.closed_with == POSITION_LOST.code


async def test_a_state_that_changes_during_a_pass_is_sent_once_in_the_next(house, crowd):
    opened, _ = crowd
    for connection, _ in opened:
        await connection.subscribe([state_topic("price")])
    house.clock.advance(1)
    for _, transport in opened:
        transport.batches.clear()
    house.broker.publish_soon(draft(log_topic("crowd"), "begin"))
    for n in range(5):
        house.broker.publish_soon(draft(state_topic("price"), n))
        house.clock.advance(0)
    house.clock.advance(1)
    assert [[m["value"] for m in transport.of_type("item")] for _, transport in opened] == [["begin", 4]] * 9


async def test_a_connection_that_cannot_be_delivered_to_is_closed_and_costs_the_others_nothing(house, monkeypatch):
    broken, _ = await house.open(log_topic(), user_id="broken")
    _, transport = await house.open(log_topic(), user_id="whole")
    monkeypatch.setattr(broken, "deliver", lambda batch: 1 // 0)
    for n in range(3):
        house.broker.publish_soon(draft(log_topic(), n))
    house.clock.advance(1)
    assert offsets(transport) == [1, 2, 3]
    assert broken.closed_with == INTERNAL_ERROR.code


@pytest.fixture
async def crowd(house, monkeypatch):
    """Nine who follow a topic, written to three at a time; and who of them has got how much."""
    monkeypatch.setattr(hub, "SLICE", 3)
    monkeypatch.setattr(hub, "FEW", 2)
    opened = [await house.open(log_topic("crowd"), user_id=str(n)) for n in range(9)]

    def got():
        return [len(transport.of_type("item")) for _, transport in opened]

    return opened, got


async def test_a_pass_over_many_leaves_the_loop_to_others_after_each_slice(house, crowd):
    _, got = crowd
    house.broker.publish_soon(draft(log_topic("crowd"), 1))
    assert got() == [1, 1, 1, 0, 0, 0, 0, 0, 0]
    house.broker.publish_soon(draft(log_topic("crowd"), 2))
    house.clock.advance(0)
    assert got() == [1, 1, 1, 2, 2, 2, 2, 2, 2], "what came meanwhile goes with what was not written yet"
    house.clock.advance(DEFAULT_WINDOW_SECONDS)
    assert got() == [2] * 9


async def test_what_is_for_a_few_does_not_wait_for_the_end_of_a_pass_over_many(house, crowd):
    opened, got = crowd
    last, its = opened[8]
    await last.subscribe([log_topic("own")])
    its.batches.clear()
    turns = []
    later = house.clock.call_later
    house.clock.call_later = lambda seconds, call: turns.append(call) if seconds == 0 else later(seconds, call)
    house.broker.publish_soon(draft(log_topic("crowd"), "for all"))
    house.broker.publish_soon(draft(log_topic("own"), "for one"))
    assert its.messages == []
    turns.pop()()
    assert [message["value"] for message in its.of_type("item")] == ["for all", "for one"], "in the order of publishing"
    assert got()[:8] == [1, 1, 1, 1, 1, 1, 0, 0]


async def test_nothing_is_said_to_a_connection_before_it_has_what_the_pass_holds_for_it(house, crowd):
    opened, _ = crowd
    house.broker.publish_soon(draft(log_topic("crowd"), 1))
    for connection, transport in opened[3:]:
        assert transport.of_type("item") == []
        await connection.receive('{"type":"ping"}', None)
        assert [m["type"] for m in transport.messages][-2:] == ["item", "pong"]


async def test_who_unsubscribes_in_the_middle_of_a_pass_gets_it_first_and_nothing_after(house, crowd):
    opened, _ = crowd
    house.broker.publish_soon(draft(log_topic("crowd"), 1))
    leaver, transport = opened[8]
    leaver.unsubscribe([log_topic("crowd")])
    assert offsets(transport) == [1]
    house.broker.publish_soon(draft(log_topic("crowd"), 2))
    house.clock.advance(1)
    assert offsets(transport) == [1]


async def test_who_joins_or_goes_in_the_middle_of_a_pass_disturbs_nobody(house, crowd):
    opened, got = crowd
    house.broker.publish_soon(draft(log_topic("crowd"), 1))
    for connection, _ in opened[4:]:
        connection.ended(1001)
    _, newcomer = await house.open(log_topic("crowd"), user_id="new")
    house.broker.publish_soon(draft(log_topic("crowd"), 2))
    house.clock.advance(1)
    assert got() == [2, 2, 2, 2, 0, 0, 0, 0, 0]
    assert offsets(newcomer) == [2]
    house.broker.publish_soon(draft(log_topic("crowd"), 3))
    assert got()[:4] == [3, 3, 3, 2]
