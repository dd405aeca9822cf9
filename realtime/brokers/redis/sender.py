"""The thread that stores what a process publishes: one per process, whoever publishes, from whatever thread.

A thread of its own works everywhere alike (a server, a Celery worker, a shell), needs no event loop, and turns what
many callers publish at once into one pipeline.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from redis.exceptions import (
    ClusterDownError,
    ClusterError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from realtime.brokers.base import IDEMPOTENCY_SECONDS
from realtime.brokers.redis import codec, scripts
from realtime.brokers.redis.sendqueue import Entry, SendQueue
from realtime.brokers.redis.servers import Servers
from realtime.errors import InvalidTopic
from realtime.publication import Position
from realtime.topic import Retention

log = logging.getLogger(__name__)

FIRST_RETRY_SECONDS = 0.05
LAST_RETRY_SECONDS = 1.0
IDLE_SECONDS = 60.0
STOP_SECONDS = 5.0

# Refusals that end by themselves, or when an operator acts: everything is kept and sent again.
_TRANSIENT = (
    ClusterError,
    ClusterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisConnectionError,
    RedisTimeoutError,
    TryAgainError,
)
_TRANSIENT_PREFIXES = (scripts.OUT_OF_ORDER, "BUSY", "MISCONF", "NOREPLICAS", "NOAUTH", "LOADING", "MASTERDOWN", "OOM")


class Outcome(msgspec.Struct, frozen=True):
    """What became of an entry: stored at `position` at `ms`, or refused for good with `error`. Without a position it
    was stored by an attempt whose answer got lost; with `ms` 0, `position` is that of an earlier publication with the
    same idempotency key."""

    entry: Entry
    position: Position | None = None
    ms: int = 0
    error: Exception | None = None


class Sender:
    """Starts with the first publication. `on_stored` and `on_trouble` are called from the thread."""

    def __init__(
        self,
        servers: Servers,
        names: scripts.Names,
        queue: SendQueue,
        *,
        process_id: str,
        retention: Callable[[str], Retention],
        new_epoch: Callable[[], str],
        on_stored: Callable[[Sequence[Outcome]], None],
        on_trouble: Callable[[], None],
    ) -> None:
        self._servers = servers
        self._names = names
        self._queue = queue
        self._process_id = process_id
        self._publisher = process_id.encode()
        self._retention = retention
        self._new_epoch = new_epoch
        self._on_stored = on_stored
        self._on_trouble = on_trouble
        self._client: Any = None
        self._script = ""
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._start_lock = threading.Lock()
        self.trouble: str = ""  # why the last attempt failed; empty while all is well

    def ensure_running(self) -> None:
        if self._thread is not None:
            return
        with self._start_lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="redis-sender", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """End the thread; what is in the queue stays there."""
        self._stopping.set()
        self._queue.wake()
        if self._thread is not None:
            self._thread.join(timeout=STOP_SECONDS)

    def _run(self) -> None:
        retry_seconds = FIRST_RETRY_SECONDS
        while not self._stopping.is_set():
            batch = self._queue.next_batch(IDLE_SECONDS)
            if not batch:
                continue
            problem = self._store(batch)
            if not problem:
                self.trouble = ""
                retry_seconds = FIRST_RETRY_SECONDS
                continue
            if not self.trouble:
                log.warning("Redis takes no publications (%s); they are kept until it does", problem)
            self.trouble = problem
            self._queue.wake()  # whoever waits for these to be stored need not wait any longer
            self._on_trouble()
            self._stopping.wait(retry_seconds)
            retry_seconds = min(2 * retry_seconds, LAST_RETRY_SECONDS)
        self._forget_client()

    def _store(self, batch: Sequence[Entry]) -> str:
        """Send a batch once. What went wrong, or nothing."""
        try:
            answers = self._execute(batch)
        except (RedisError, RedisClusterException, OSError) as error:
            self._forget_client()
            return f"{type(error).__name__}: {error}"
        except Exception as error:
            # A bug must not end the thread: nothing would be stored any more, and nobody would know.
            log.exception("publications could not be sent; they are tried again")
            self._forget_client()
            return f"{type(error).__name__}: {error}"
        if any(isinstance(answer, NoScriptError) for answer in answers):
            self._script = ""  # Redis started anew; nothing of a topic was stored after what it refused
        outcomes: list[Outcome] = []
        problem = ""
        for entry, answer in zip(batch, answers, strict=True):
            if isinstance(answer, Exception) and _is_transient(answer):
                problem = problem or f"{type(answer).__name__}: {answer}"
            else:
                outcomes.append(_outcome(entry, answer))
        if outcomes:
            if not problem:
                self.trouble = ""
            self._queue.done([outcome.entry for outcome in outcomes])
            self._on_stored(outcomes)
        return "" if problem.startswith(NoScriptError.__name__) else problem

    def _execute(self, batch: Sequence[Entry]) -> list[Any]:
        if self._client is None:
            self._client = self._servers.sync_client()
        if not self._script:
            self._script = self._client.script_load(scripts.PUBLISH)
        epoch = self._new_epoch()
        before: dict[str, int] = {}
        commands = []
        for index, entry in enumerate(batch):
            # What would be an entry's epoch is its own and this attempt's: no two logs, one after the other, share it.
            commands.append(self._command(entry, before.get(entry.topic.name, 0), f"{epoch}{index:x}"))
            if entry.draft is not None:
                before[entry.topic.name] = entry.number
        return self._servers.execute(self._client, commands)

    def _command(self, entry: Entry, before: int, epoch_if_new: str) -> tuple[str | bytes | int, ...]:
        topic, draft = entry.topic, entry.draft
        keys = self._names.keys(topic.name, topic.kind, self._process_id)
        if draft is None:
            return ("HDEL", keys.data, entry.key or "")
        idempotency_key = draft.idempotency_key
        retention = self._retention(topic.name)
        return (
            "EVALSHA",
            self._script,
            4,
            keys.meta,
            keys.data,
            keys.publisher,
            keys.idempotency_prefix + (idempotency_key or ""),
            topic.kind.value,
            epoch_if_new,
            entry.number,
            before,
            codec.tail(draft, self._publisher, entry.number),
            draft.key or "",
            keys.channel,
            self._servers.publish_command,
            retention.count,
            scripts.data_ms(retention),
            scripts.meta_ms(retention),
            int(IDEMPOTENCY_SECONDS * 1_000) if idempotency_key else "",
        )

    def _forget_client(self) -> None:
        client, self._client, self._script = self._client, None, ""
        if client is not None:
            try:
                client.close()
            except (RedisError, OSError):
                log.debug("a broken connection to Redis did not close cleanly", exc_info=True)


def _is_transient(error: Exception) -> bool:
    return isinstance(error, (*_TRANSIENT, NoScriptError)) or str(error).startswith(_TRANSIENT_PREFIXES)


def _outcome(entry: Entry, answer: Any) -> Outcome:
    if isinstance(answer, ResponseError) and str(answer).startswith(scripts.WRONG_KIND):
        existing, wanted = str(answer).split()[1], entry.topic.kind.value
        return Outcome(entry, error=InvalidTopic(f"{entry.topic.name!r} is a {existing} topic, not a {wanted} topic"))
    if isinstance(answer, Exception):
        return Outcome(entry, error=answer)
    if entry.draft is None or not answer[0]:
        return Outcome(entry)
    return Outcome(entry, Position(answer[0].decode(), int(answer[1])), int(answer[2]))
