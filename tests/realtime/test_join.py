"""History and live publications of one topic, merged by offset, under any interleaving."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.join import Join
from realtime.publication import History, Position

from .conftest import draft, log_topic, placed, state_topic


def publications(topic, count, epoch="e", keys=("k",)):
    return [
        placed(draft(topic, n, keys[n % len(keys)] if topic.kind.value == "state" else None), Position(epoch, n))
        for n in range(1, count + 1)
    ]


def value(publication):
    return json.loads(publication.body)["value"]


@given(
    total=st.integers(0, 30),
    since=st.integers(0, 30),
    read_at=st.integers(0, 30),
    registered_at=st.integers(0, 30),
    takes=st.lists(st.integers(0, 30), max_size=4),
)
def test_nothing_is_lost_or_repeated_whenever_history_is_read(total, since, read_at, registered_at, takes):
    """Register, then publish on; history is read at some later moment; more is published between the takes."""
    read_at = min(read_at, total)
    registered_at = min(registered_at, read_at)
    since = min(since, registered_at)
    everything = publications(log_topic(), total)
    join = Join(log_topic())
    for publication in everything[registered_at:read_at]:
        join.add_live(publication)
    join.history = History(Position("e", read_at), everything[since:read_at], recovered=True)
    got = []
    fed = read_at
    for upto in sorted(min(take, total) for take in takes):
        for publication in everything[fed:upto]:
            join.add_live(publication)
        fed = max(fed, upto)
        got += join.take()
    for publication in everything[fed:]:
        join.add_live(publication)
    got += join.take()
    assert [p.offset for p in got] == list(range(since + 1, total + 1))
    assert join.take() == []


@given(total=st.integers(0, 20), read_at=st.integers(0, 20))
def test_a_state_is_conflated_to_its_latest_values(total, read_at):
    read_at = min(read_at, total)
    everything = publications(state_topic(), total, keys=("a", "b"))
    join = Join(state_topic())
    for publication in everything:
        join.add_live(publication)
    current = {p.key: p for p in everything[:read_at]}
    join.history = History(Position("e", read_at), list(current.values()), recovered=False)
    got = {p.key: value(p) for p in join.take()}
    assert got == {p.key: value(p) for p in everything}


def test_a_new_epoch_during_the_join_is_not_taken_for_a_repetition():
    join = Join(log_topic())
    for publication in publications(log_topic(), 2, epoch="new"):
        join.add_live(publication)
    join.history = History(Position("old", 7), (), recovered=True)
    assert [p.offset for p in join.take()] == [1, 2]


def test_taking_before_history_was_read_is_a_bug():
    with pytest.raises(RuntimeError, match="not read yet"):
        Join(log_topic()).take()
