"""The lean queue and event of a raw connection behave as asyncio's own do."""

from __future__ import annotations

import asyncio

import pytest

from realtime.transports.mailbox import Gate, Mailbox


async def test_a_mailbox_gives_what_was_put_in_that_order():
    box = Mailbox()
    box.put_nowait(1)
    box.put_nowait(2)
    assert not box.empty()
    assert [await box.get(), await box.get()] == [1, 2]
    assert box.empty()


async def test_a_reader_waits_for_what_comes_later():
    box = Mailbox()
    reader = asyncio.create_task(box.get())
    await asyncio.sleep(0)
    box.put_nowait("first")
    box.put_nowait("second")
    assert await reader == "first"
    assert await box.get() == "second"


async def test_a_reader_that_is_cancelled_takes_nothing():
    box = Mailbox()
    reader = asyncio.create_task(box.get())
    await asyncio.sleep(0)
    box.put_nowait("kept")
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert await box.get() == "kept"


async def test_all_who_wait_pass_when_the_gate_opens():
    gate = Gate(is_open=True)
    await gate.wait()
    gate.clear()
    waiting = [asyncio.create_task(gate.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    assert not any(task.done() for task in waiting[1:])
    gate.set()
    await asyncio.gather(*waiting[1:])
    assert gate.is_set()
