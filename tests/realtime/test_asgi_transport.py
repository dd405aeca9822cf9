import asyncio

import pytest

from realtime.frames import Batch, Frame
from realtime.transports import asgi
from realtime.transports.asgi import AsgiTransport


def batch(*texts):
    return Batch([Frame(text.encode()) for text in texts])


class Peer:
    """ASGI's `send`, which can be made to wait for ever."""

    def __init__(self):
        self.sent = []
        self.reads = asyncio.Event()
        self.reads.set()

    async def send(self, message):
        await self.reads.wait()
        self.sent.append(message.get("text") or message["code"])


@pytest.fixture
async def peer():
    return Peer()


async def run_until(transport, condition):
    pump = asyncio.create_task(transport.run())
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)
    return pump


async def test_frames_leave_in_order_and_the_close_frame_last(peer):
    transport = AsgiTransport(peer.send, lambda: None)
    more = [batch("3"), batch("4")]
    transport.attach(lambda: more and transport.write(more.pop(0)), lambda: None)
    transport.write(batch("1", "2"))
    assert not transport.writable
    await run_until(transport, lambda: transport.writable)
    transport.close(4001, "why", batch("5"))
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        while len(peer.sent) < 6:
            await asyncio.sleep(0)
    assert peer.sent == ["1", "2", "3", "4", "5", 4001]
    transport.finished()


async def test_a_slow_consumers_waiting_frames_are_dropped(peer):
    transport = AsgiTransport(peer.send, lambda: None)
    peer.reads.clear()
    transport.write(batch("1", "2", "3"))
    await run_until(transport, lambda: True)
    await asyncio.sleep(0)
    transport.close(4008, "slow", None)
    peer.reads.set()
    async with asyncio.timeout(5):
        while 4008 not in peer.sent:
            await asyncio.sleep(0)
    assert peer.sent == ["1", 4008]
    transport.finished()


async def test_a_peer_that_never_reads_is_given_up_after_the_grace(peer, monkeypatch):
    monkeypatch.setattr(asgi, "CLOSE_GRACE_SECONDS", 0.01)
    given_up = asyncio.Event()
    broken = []
    transport = AsgiTransport(peer.send, given_up.set)
    transport.attach(lambda: None, lambda: broken.append(1))
    peer.reads.clear()
    transport.write(batch("1"))
    pump = await run_until(transport, lambda: True)
    transport.close(4008, "slow", None)
    await asyncio.wait_for(given_up.wait(), 5)
    assert broken
    assert not transport.writable
    pump.cancel()


@pytest.mark.parametrize("error", [OSError, RuntimeError])
async def test_a_peer_that_is_gone_breaks_the_transport(error):
    async def send(message):
        raise error

    broken = []
    transport = AsgiTransport(send, lambda: None)
    transport.attach(lambda: None, lambda: broken.append(1))
    transport.write(batch("1"))
    await run_until(transport, lambda: broken)
    assert not transport.writable
