import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.errors import OutboxFull
from realtime.frames import Frame
from realtime.outbox import Outbox
from realtime.publication import Position

from .conftest import draft, log_topic, placed, state_topic


def published(topic, offset, key=None):
    return placed(draft(topic, offset, key), Position("e", offset))


def test_state_is_conflated_per_topic_and_key_and_log_is_not():
    outbox = Outbox(10_000)
    for n in range(1, 11):
        outbox.put(
            [published(state_topic("a"), n, "x"), published(state_topic("b"), n, "x"), published(log_topic(), n)]
        )
    messages = [json.loads(frame.text) for frame in outbox.take()]
    states = {m["topic"]: m["value"] for m in messages if "offset" not in m}
    assert states == {"a": 10, "b": 10}
    assert [m["offset"] for m in messages if "offset" in m] == list(range(1, 11))


def test_past_its_bound_it_is_full():
    outbox = Outbox(200)
    with pytest.raises(OutboxFull, match="at most 200"):
        outbox.put(published(log_topic(), n) for n in range(1, 100))


def test_a_newer_state_counts_instead_of_the_older():
    outbox = Outbox(200)
    outbox.put(published(state_topic(), n) for n in range(1, 1_000))
    assert len(outbox) == 1


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("log"), st.sampled_from("ab")),
            st.tuples(st.just("state"), st.sampled_from("abc")),
            st.just(("frame", "")),
            st.just(("take", "")),
        )
    )
)
def test_under_any_sequence_order_holds_and_sizes_agree(steps):
    outbox = Outbox(10**9)
    waiting: list[tuple] = []
    for n, (what, name) in enumerate(steps, start=1):
        if what == "take":
            assert [frame.payload for frame in outbox.take()] == [payload for *_, payload in waiting]
            waiting = []
            continue
        if what == "frame":
            frame = Frame(b'{"n":%d}' % n)
            outbox.put_frame(frame)
            waiting.append((None, frame.payload))
        else:
            publication = published(
                (log_topic if what == "log" else state_topic)(), n, name if what == "state" else None
            )
            outbox.put([publication])
            if what == "state":
                waiting = [entry for entry in waiting if entry[0] != name]
            waiting.append((name if what == "state" else None, publication.frame.payload))
        assert outbox.size_bytes == sum(len(payload) for *_, payload in waiting)
        assert len(outbox) == len(waiting)
