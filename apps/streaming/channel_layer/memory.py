"""The channel layer of one process."""

from __future__ import annotations

import threading
import time
from collections import deque

from apps.streaming.channel_layer.base import ChannelLayer

SWEEP_SECONDS = 10.0


class MemoryChannelLayer(ChannelLayer):
    """See `ChannelLayer`. Thread-safe; its memory is bounded by capacity, expiry and group expiry."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._lock = threading.Lock()
        self._channels: dict[str, deque[tuple[float, bytes]]] = {}
        self._groups: dict[str, dict[str, float]] = {}
        self._swept_monotonic = time.monotonic()

    async def close(self) -> None:
        """Nothing is open."""

    async def _put(self, channel: str, data: bytes) -> bool:
        with self._lock:
            self._sweep()
            messages = self._channels.setdefault(channel, deque())
            _expire(messages)
            if len(messages) >= self.get_capacity(channel):
                return False
            messages.append((time.monotonic() + self.expiry, data))
        self._wake(channel)
        return True

    async def _take(self, channel: str) -> bytes | None:
        with self._lock:
            messages = self._channels.get(channel)
            if messages is None:
                return None
            _expire(messages)
            data = messages.popleft()[1] if messages else None
            if not messages:
                del self._channels[channel]
            return data

    async def _put_back(self, channel: str, data: bytes) -> None:
        with self._lock:
            self._channels.setdefault(channel, deque()).appendleft((time.monotonic() + self.expiry, data))
        self._wake(channel)

    async def _join(self, group: str, channel: str) -> None:
        with self._lock:
            self._groups.setdefault(group, {})[channel] = time.monotonic() + self.group_expiry

    async def _quit(self, group: str, channel: str) -> None:
        with self._lock:
            members = self._groups.get(group, {})
            members.pop(channel, None)
            if not members:
                self._groups.pop(group, None)

    async def _put_to_group(self, group: str, data: bytes) -> None:
        now = time.monotonic()
        with self._lock:
            members = [channel for channel, until in self._groups.get(group, {}).items() if until > now]
        for channel in members:
            await self._put(channel, data)

    async def _drop_everything(self) -> None:
        with self._lock:
            self._channels.clear()
            self._groups.clear()

    def _sweep(self) -> None:
        """Forget what nobody came for."""
        now = time.monotonic()
        if now - self._swept_monotonic < SWEEP_SECONDS:
            return
        self._swept_monotonic = now
        for channel, messages in list(self._channels.items()):
            _expire(messages)
            if not messages:
                del self._channels[channel]
        for group, members in list(self._groups.items()):
            self._groups[group] = {channel: until for channel, until in members.items() if until > now}
            if not self._groups[group]:
                del self._groups[group]


def _expire(messages: deque[tuple[float, bytes]]) -> None:
    now = time.monotonic()
    while messages and messages[0][0] <= now:
        messages.popleft()
