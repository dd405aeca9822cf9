"""What the two channel layers share: names, capacity, expiry, waiting, groups, and the way to the streams.

A layer is used from several event loops and threads at once (`async_to_sync` makes a loop per call), so nothing here
belongs to a loop but the futures of those who wait.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from abc import abstractmethod
from collections import defaultdict
from typing import Any, ClassVar

import msgspec
from channels.exceptions import ChannelFull
from channels.layers import BaseChannelLayer

from apps.streaming.channel_layer.streams import publish_to_streams

# A wake-up can get lost with a connection: whoever waits looks for himself this often.
LOOK_SECONDS = 1.0

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class ChannelLayer(BaseChannelLayer):
    """A complete Channels layer: at-most-once, bounded by `capacity` per channel and by `expiry` seconds per message.

    Messages are dicts of what MessagePack knows, in development as in production.
    """

    extensions: ClassVar[list[str]] = ["groups", "flush"]

    def __init__(
        self,
        expiry: float = 60,
        group_expiry: float = 86_400,
        capacity: int = 100,
        channel_capacity: dict[Any, int] | None = None,
    ) -> None:
        super().__init__(expiry=expiry, capacity=capacity)
        self.channel_capacity = self.compile_capacities(channel_capacity or {})
        self.group_expiry = group_expiry
        self._become_another_process()

    def _become_another_process(self) -> None:
        self.client_id = secrets.token_hex(8)
        self._waiting: defaultdict[str, set[asyncio.Future[None]]] = defaultdict(set)
        self._waiting_lock = threading.Lock()

    # The layer

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        """Send to one channel. Raises `ChannelFull` when its capacity is reached."""
        _require_dict(message)
        self.require_valid_channel_name(channel)
        if not await self._put(channel, _encode(message)):
            raise ChannelFull(channel)

    async def receive(self, channel: str) -> dict[str, Any]:
        """The next message of a channel; waits for it. Of several who wait, one gets it. May be cancelled at any
        time: a message that was already on its way is put back."""
        self.require_valid_channel_name(channel)
        if "!" in channel and self.non_local_name(channel).rpartition(".")[2] != f"{self.client_id}!":
            raise AssertionError(f"the channel {channel!r} was made by another process, which alone receives from it")
        while True:
            woken = self._wait_for(channel)
            try:
                data = await self._take_safely(channel)
                if data is not None:
                    return _decode(data)
                await asyncio.wait((woken,), timeout=LOOK_SECONDS)
            finally:
                self._wait_no_more(channel, woken)

    async def new_channel(self, prefix: str = "specific") -> str:
        """A name that only this process receives from."""
        return f"{prefix}.{self.client_id}!{secrets.token_hex(12)}"

    async def group_add(self, group: str, channel: str) -> None:
        """Add a channel to a group, for `group_expiry` seconds; adding it again renews that."""
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        await self._join(group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        """Remove a channel from a group; one that is not in it is no error."""
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        await self._quit(group, channel)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Send to every channel of a group; one that is full is left out. A group that is the topic of a stream, and
        a message of that stream, reach everybody who is connected to it as well. Raises `InvalidMessage` when such a
        message does not fit."""
        _require_dict(message)
        self.require_valid_group_name(group)
        await publish_to_streams(group, message)
        await self._put_to_group(group, _encode(message))

    async def flush(self) -> None:
        """Drop every message and every group."""
        await self._drop_everything()

    @abstractmethod
    async def close(self) -> None:
        """Free connections. Safe to call twice; the layer can be used again afterwards."""

    # What a store has to do

    @abstractmethod
    async def _put(self, channel: str, data: bytes) -> bool:
        """Append; False when the channel is full."""

    @abstractmethod
    async def _take(self, channel: str) -> bytes | None:
        """Remove the oldest message that has not expired, if there is one."""

    @abstractmethod
    async def _put_back(self, channel: str, data: bytes) -> None:
        """Make a message that was taken the oldest one again."""

    @abstractmethod
    async def _join(self, group: str, channel: str) -> None: ...

    @abstractmethod
    async def _quit(self, group: str, channel: str) -> None: ...

    @abstractmethod
    async def _put_to_group(self, group: str, data: bytes) -> None:
        """Append to every channel that has room."""

    @abstractmethod
    async def _drop_everything(self) -> None: ...

    # Waiting

    def _wake(self, channel: str) -> None:
        """There may be a message on the channel. From any thread."""
        with self._waiting_lock:
            futures = list(self._waiting.get(channel, ()))
        for future in futures:
            try:
                future.get_loop().call_soon_threadsafe(_finish, future)
            except RuntimeError:
                self._wait_no_more(channel, future)  # its loop is closed

    def _wait_for(self, channel: str) -> asyncio.Future[None]:
        woken = asyncio.get_running_loop().create_future()
        with self._waiting_lock:
            self._waiting[channel].add(woken)
        return woken

    def _wait_no_more(self, channel: str, woken: asyncio.Future[None]) -> None:
        with self._waiting_lock:
            self._waiting[channel].discard(woken)
            if not self._waiting[channel]:
                del self._waiting[channel]

    async def _take_safely(self, channel: str) -> bytes | None:
        taking = asyncio.ensure_future(self._take(channel))
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            data = await taking
            if data is not None:
                await self._put_back(channel, data)
            raise


def _require_dict(message: Any) -> None:
    if not isinstance(message, dict) or "__asgi_channel__" in message:
        raise AssertionError(f"a message is a dict without '__asgi_channel__', got {message!r:.80}")


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
