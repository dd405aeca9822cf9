"""What a process has published and Redis has not confirmed. Thread-safe, bounded, in order; no I/O.

An entry leaves the queue when it is confirmed (or refused for good), never when it is sent: what was sent and not
answered is sent again, under the same number, which Redis stores once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import msgspec

from realtime.publication import Draft, Position
from realtime.topic import Kind, Topic

MAX_BATCH = 500
MAX_BATCH_BYTES = 1_000_000
MAX_QUEUE_BYTES = 256 * 1024 * 1024
OVERHEAD_BYTES = 600  # of an entry, beside its body

Confirmed = Callable[[Position | None, Exception | None], None]


class Entry(msgspec.Struct, eq=False):
    """A publication, or (without a draft) a state key to forget. `confirmed` is called from the sender's thread, with
    where it is, None when that is not known, or an error when it was refused for good."""

    number: int
    topic: Topic
    draft: Draft | None
    key: str | None
    size_bytes: int
    confirmed: Confirmed | None = None


class SendQueue:
    """Numbers entries from 1. `on_dropped` gets what had to make room; it is called with the lock held, and quick."""

    def __init__(self, max_count: int, on_dropped: Callable[[Entry], None]) -> None:
        self._max_count = max_count
        self._on_dropped = on_dropped
        self._changed = threading.Condition()
        self._entries: dict[int, Entry] = {}
        self._states: dict[int, None] = {}  # the numbers of state publications that were never sent
        self._bytes = 0
        self._last_number = 0
        self.refused = 0

    def __len__(self) -> int:
        return len(self._entries)

    def put(
        self,
        drafts: Sequence[Draft],
        confirmed: Sequence[Confirmed] = (),
        placed: Callable[[Sequence[Entry]], None] | None = None,
    ) -> list[Entry | None]:
        """Add publications, in one go; `confirmed`, where given, has a call for each. When the queue is full the oldest
        unsent state makes room; where there is none, the new one is refused and counted, and its answer is None.
        `placed` gets the entries before anybody else can see them."""
        with self._changed:
            calls: Sequence[Confirmed | None] = confirmed or [None] * len(drafts)
            entries = [self._add(d.topic, d, d.key, call) for d, call in zip(drafts, calls, strict=True)]
            if placed is not None:
                placed([entry for entry in entries if entry is not None and entry.number in self._entries])
            self._changed.notify_all()
            return entries

    def put_removal(self, topic: Topic, key: str) -> Entry | None:
        """Add the removal of a state's key, as `put` adds publications."""
        with self._changed:
            entry = self._add(topic, None, key, None)
            self._changed.notify_all()
            return entry

    def _add(self, topic: Topic, draft: Draft | None, key: str | None, confirmed: Confirmed | None) -> Entry | None:
        size_bytes = OVERHEAD_BYTES + (len(draft.body) if draft else 0)
        entry = Entry(self._last_number + 1, topic, draft, key, size_bytes, confirmed)
        while self._is_full(entry) and self._states:
            self._drop_oldest_state()
        if self._is_full(entry):
            self.refused += 1
            return None
        self._last_number += 1
        self._entries[entry.number] = entry
        self._bytes += entry.size_bytes
        if topic.kind is Kind.STATE and draft is not None:
            self._states[entry.number] = None
        return entry

    def next_batch(self, timeout_seconds: float) -> list[Entry]:
        """The oldest entries, which stay in the queue; waits until there is one."""
        with self._changed:
            if not self._entries:
                self._changed.wait(timeout_seconds)
            batch: list[Entry] = []
            size_bytes = 0
            for entry in self._entries.values():
                if batch and (len(batch) == MAX_BATCH or size_bytes + entry.size_bytes > MAX_BATCH_BYTES):
                    break
                batch.append(entry)
                size_bytes += entry.size_bytes
                self._states.pop(entry.number, None)
            return batch

    def done(self, entries: Sequence[Entry]) -> None:
        """These are confirmed, or refused for good."""
        with self._changed:
            for entry in entries:
                if self._entries.pop(entry.number, None) is not None:
                    self._bytes -= entry.size_bytes
            self._changed.notify_all()

    def waiting(self, before_anything_is_added: Callable[[], None]) -> list[Entry]:
        """Everything that is not confirmed, in order. The call is made with the lock held."""
        with self._changed:
            before_anything_is_added()
            return list(self._entries.values())

    def wait_settled(self, timeout_seconds: float, give_up: Callable[[], bool]) -> bool:
        """Wait until everything that is in the queue now is confirmed, or `give_up` says so."""
        with self._changed:
            last = self._last_number

            def settled() -> bool:
                return not self._entries or next(iter(self._entries)) > last

            self._changed.wait_for(lambda: settled() or give_up(), timeout_seconds)
            return settled()

    def wake(self) -> None:
        """Let everybody who waits look again."""
        with self._changed:
            self._changed.notify_all()

    def _is_full(self, entry: Entry) -> bool:
        return bool(self._entries) and (
            len(self._entries) >= self._max_count or self._bytes + entry.size_bytes > MAX_QUEUE_BYTES
        )

    def _drop_oldest_state(self) -> None:
        number = next(iter(self._states))
        del self._states[number]
        entry = self._entries.pop(number)
        self._bytes -= entry.size_bytes
        self.refused += 1
        self._on_dropped(entry)
