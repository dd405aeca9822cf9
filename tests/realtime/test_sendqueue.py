"""What waits to be stored: bounded, in order, and kept until it is confirmed."""

from realtime.brokers.redis import sendqueue
from realtime.brokers.redis.sendqueue import SendQueue

from .conftest import draft, log_topic, state_topic


def fill(queue, topic, count, key=None):
    return queue.put([draft(topic, n, key) for n in range(count)])


def numbers(entries):
    return [entry.number for entry in entries]


def test_what_is_not_confirmed_is_handed_out_again_in_order():
    queue = SendQueue(100, lambda entry: None)
    entries = fill(queue, log_topic(), 3)
    assert numbers(queue.next_batch(0)) == numbers(queue.next_batch(0)) == [1, 2, 3]
    queue.done(entries[:1])
    assert numbers(queue.next_batch(0)) == [2, 3]
    queue.done(entries)
    assert queue.next_batch(0) == []
    assert len(queue) == 0


def test_a_batch_is_bounded_in_number_and_in_bytes(monkeypatch):
    queue = SendQueue(10_000, lambda entry: None)
    fill(queue, log_topic(), sendqueue.MAX_BATCH + 1)
    assert len(queue.next_batch(0)) == sendqueue.MAX_BATCH
    monkeypatch.setattr(sendqueue, "MAX_BATCH_BYTES", 10)
    assert len(queue.next_batch(0)) == 1


def test_when_it_is_full_the_oldest_unsent_state_goes_and_then_the_new_is_refused():
    dropped = []
    queue = SendQueue(4, dropped.append)
    fill(queue, log_topic(), 1)
    fill(queue, state_topic(), 3)
    assert numbers(filter(None, fill(queue, log_topic(), 5))) == [5, 6, 7]
    assert numbers(dropped) == [2, 3, 4]
    assert queue.refused == 5
    assert numbers(queue.next_batch(0)) == [1, 5, 6, 7]


def test_a_state_that_may_have_been_stored_already_is_not_dropped():
    dropped = []
    queue = SendQueue(2, dropped.append)
    fill(queue, state_topic(), 2)
    queue.next_batch(0)
    assert fill(queue, log_topic(), 1) == [None]
    assert not dropped


def test_its_bytes_are_bounded_too(monkeypatch):
    monkeypatch.setattr(sendqueue, "MAX_QUEUE_BYTES", 2 * sendqueue.OVERHEAD_BYTES)
    queue = SendQueue(100, lambda entry: None)
    first, second = fill(queue, log_topic(), 2)
    assert (first.number, second) == (1, None)  # one always fits
    queue.done([first])
    assert fill(queue, log_topic(), 1)[0] is not None


def test_settled_means_everything_that_was_there_when_asked():
    queue = SendQueue(100, lambda entry: None)
    assert queue.wait_settled(0, lambda: False)
    entries = fill(queue, log_topic(), 1)
    assert not queue.wait_settled(0, lambda: False)
    assert not queue.wait_settled(60, lambda: True)  # an outage: no waiting
    queue.done(entries)
    assert queue.wait_settled(0, lambda: False)


def test_many_are_added_in_one_go_and_those_that_made_room_for_the_others_are_not_placed():
    dropped, placed = [], []
    queue = SendQueue(3, dropped.append)
    drafts = [draft(state_topic(), n, "k") for n in range(5)]
    entries = queue.put(drafts, placed=lambda entries: placed.append(numbers(entries)))
    assert numbers(entries) == [1, 2, 3, 4, 5]
    assert numbers(dropped) == [1, 2]
    assert placed == [[3, 4, 5]]
