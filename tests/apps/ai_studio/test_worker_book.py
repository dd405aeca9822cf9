"""What is known of Celery's workers after some events and answers, and after silence."""

from __future__ import annotations

import pytest

from apps.ai_studio.celery_watch import FORGET_SECONDS, KNOWN_TASKS, SILENT_SECONDS, WorkerBook
from realtime.clock import ManualClock

JOB_ID = "0b9a1f8e-6d9f-4f5e-9a27-4f0d1f3c2b11"


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def book(clock):
    return WorkerBook(clock.monotonic)


def event(book, kind, task_id="t1", **fields):
    book.on_event({"type": kind, "hostname": "celery@a", "uuid": task_id, **fields})


def only(book):
    [state] = book.states()
    return state


def test_a_task_from_its_arrival_to_its_end(book):
    event(book, "task-received", args=f"('{JOB_ID}',)")
    assert not only(book).busy
    event(book, "task-started")
    assert (only(book).busy, only(book).job_ids) == (True, (JOB_ID,))
    event(book, "task-succeeded", result="'COMPLETED'", runtime=2.0)
    event(book, "task-succeeded", "t2", result="'FAILED'", runtime=4.0)
    event(book, "task-succeeded", "t3", result="None", runtime=0.01)
    event(book, "task-failed", "t4", exception="MemoryError()")
    state = only(book)
    assert (state.busy, state.done, state.failed, state.mean_runtime_seconds) == (False, 1, 2, 3.0)


def test_a_task_that_is_taken_back_is_no_work_any_more(book):
    for end in ("task-revoked", "task-rejected", "task-retried"):
        event(book, "task-started")
        event(book, end)
        assert (only(book).busy, only(book).done, only(book).failed) == (False, 0, 0)


def test_silence_and_a_goodbye(book, clock):
    event(book, "worker-online")
    clock.advance(SILENT_SECONDS)
    assert only(book).alive
    clock.advance(0.1)
    assert not only(book).alive
    event(book, "worker-heartbeat", active=0)
    assert only(book).alive
    event(book, "task-started")
    event(book, "worker-offline")
    assert (only(book).alive, only(book).busy) == (False, False)
    event(book, "worker-online")
    assert only(book).alive
    clock.advance(FORGET_SECONDS + 1)
    assert book.states() == []


def test_what_ended_unheard_is_corrected_by_a_heartbeat_or_an_answer(book):
    event(book, "task-started")
    event(book, "worker-heartbeat", active=1)
    assert only(book).busy
    event(book, "worker-heartbeat", active=0)
    assert not only(book).busy
    event(book, "task-started")
    book.on_answer("celery@a", [{"id": "t9", "args": [JOB_ID]}])
    assert only(book).job_ids == (JOB_ID,)
    book.on_answer("celery@a", [])
    assert not only(book).busy


def test_what_concerns_no_worker_is_passed_by(book):
    event(book, "task-sent")
    event(book, "custom-event")
    book.on_event({"type": "task-started", "uuid": "t"})
    book.on_event({})
    assert book.states() == []


def test_a_flood_of_tasks_is_not_remembered_for_ever(book):
    for n in range(KNOWN_TASKS + 10):
        event(book, "task-received", f"t{n}", args="()")
    assert len(book._jobs) == KNOWN_TASKS
