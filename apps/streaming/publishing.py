"""Publishing from Django: what `notify_*` functions are made of, and their registry for the HTTP API."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, get_type_hints

import msgspec
from django.db import DatabaseError, transaction

from apps.streaming import outbox
from apps.streaming.models import OutboxEntry
from apps.streaming.runtime import runtime
from apps.streaming.validation import NOT_JSON, to_payload
from realtime.errors import BrokerError, InvalidMessage, InvalidTopic
from realtime.messages import DataMessage, encode, type_of
from realtime.publication import Draft
from realtime.topic import Topic

log = logging.getLogger(__name__)

MAX_IDEMPOTENCY_KEY = 128
SETTLE_SECONDS = 1.0

UserId = str | int | uuid.UUID
ObjectId = str | int | uuid.UUID

Notification = TypeVar("Notification", bound=Callable[..., None])


class _Route(msgspec.Struct, frozen=True):
    """What a registered function sends, and where to."""

    function: Callable[..., None]
    to: Callable[..., Topic]
    by: str | None
    target: str | None  # its first argument, where that names the topic's owner
    payload: str | None  # else its first argument

    def call_for(self, topic_name: str, fields: Mapping[str, Any]) -> Callable[..., None] | None:
        """The function, ready for the message's fields, when it sends to this topic."""
        if self.target is not None:
            prefix = self.to("").name
            owner = topic_name.removeprefix(prefix)
            return functools.partial(self.function, owner) if owner and topic_name.startswith(prefix) else None
        if self.by is None:
            return self.function if self.to().name == topic_name else None
        payload = fields.get(self.payload or "")
        value = payload.get(self.by) if isinstance(payload, Mapping) else getattr(payload, self.by, None)
        return self.function if value is not None and self.to(value).name == topic_name else None


_notifications: dict[str, Callable[..., None]] = {}
_routes: defaultdict[str, list[_Route]] = defaultdict(list)


def notification(
    message: type[DataMessage], to: Callable[..., Topic], by: str | None = None
) -> Callable[[Notification], Notification]:
    """Register a `notify_*` or `broadcast_*` function that sends `message` to the topic `to(<its id argument>)`,
    `to(<the payload's field `by`>)` or `to()`: for `POST /api/realtime/publish/` and for the channel layer. Also keeps
    its promise on errors: whatever is wrong with its arguments is an `InvalidMessage`."""

    def register(function: Notification) -> Notification:
        checked = _checked(function)
        first = next(iter(inspect.signature(function).parameters))
        names_target = first.endswith("_id")
        route = _Route(checked, to, by, first if names_target else None, None if names_target else first)
        _notifications[function.__name__] = checked
        _routes[type_of(message)].append(route)
        return checked  # type: ignore[return-value]

    return register


def notification_for(topic_name: str, message_type: str, fields: Mapping[str, Any]) -> Callable[..., None] | None:
    """The registered function that sends this type of message to this topic, ready for the message's fields."""
    found = (route.call_for(topic_name, fields) for route in _routes.get(message_type, ()))
    call = next((call for call in found if call is not None), None)
    if call is not None:
        _require_fit(call, f"{message_type} to {topic_name}", fields)
    return call


def _checked(function: Callable[..., None]) -> Callable[..., None]:
    first = next(iter(inspect.signature(function).parameters))
    names_target = first.endswith("_id")

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> None:
        if names_target:
            _require_id(args[0] if args else kwargs.get(first), f"{function.__name__}: {first}")
        idempotency_key = kwargs.get("idempotency_key")
        if idempotency_key is not None and not (
            isinstance(idempotency_key, str) and len(idempotency_key) <= MAX_IDEMPOTENCY_KEY
        ):
            raise InvalidMessage(
                f"{function.__name__}: idempotency_key: got {ascii(idempotency_key)[:60]}, "
                f"allowed is a str of at most {MAX_IDEMPOTENCY_KEY} characters"
            )
        try:
            function(*args, **kwargs)
        except InvalidTopic as error:
            raise InvalidMessage(f"{function.__name__}: {error}") from None

    return checked


def notifications() -> Mapping[str, Callable[..., None]]:
    """Every registered function, by name."""
    return dict(_notifications)


def draft(
    topic: Topic,
    message: type[DataMessage],
    *,
    key: str | None = None,
    idempotency_key: str | None = None,
    **fields: Any,
) -> Draft:
    """A validated message, encoded once. Raises `InvalidMessage`."""
    types = _field_types(message)
    payload = {name: to_payload(types[name], value, name) for name, value in fields.items()}
    try:
        body = encode(message(timestamp=runtime().clock.now(), **payload))
    except NOT_JSON as error:
        raise InvalidMessage(f"{', '.join(payload)}: {error}") from None
    return Draft(topic, body, key=key, idempotency_key=idempotency_key)


def publish(
    topic: Topic,
    message: type[DataMessage],
    *,
    key: str | None = None,
    idempotency_key: str | None = None,
    durable: bool = False,
    **fields: Any,
) -> None:
    """Validate and publish. Works in a view, task, thread, shell, and in a running event loop, without blocking.

    Inside `transaction.atomic` it happens on commit, and not at all after a rollback. A `durable` publication is
    written to the outbox in that transaction, so that it happens even if the process dies right after the commit
    (from an event loop's own thread, where nothing can be written, it is published like any other). Raises
    `InvalidMessage` at once; never raises for a broker's trouble, which is logged.
    """
    prepared = draft(topic, message, key=key, idempotency_key=idempotency_key, **fields)
    entry = None
    if durable and not _in_event_loop():
        entry, prepared = outbox.write(prepared)
    _send_on_commit((prepared,), entry)


def publish_to_each(
    to: Callable[[Any], Topic],
    message: type[DataMessage],
    payloads: Mapping[UserId, Any],
    *,
    field: str,
    key: str | None,
) -> None:
    """Publish one message to the topic of each id in `payloads`, as `publish` does, but in one pass for all of them:
    for engines that have something for ten thousand users at once. Raises `InvalidMessage`, and then sends none."""
    if not isinstance(payloads, Mapping):
        raise InvalidMessage(f"got {ascii(payloads)[:60]}, allowed is a dict from an id to a {field}")
    drafts = []
    for target, payload in payloads.items():
        _require_id(target, "id")
        try:
            drafts.append(draft(to(target), message, key=key, **{field: payload}))
        except ValueError as error:
            raise InvalidMessage(f"for {target!r}: {error}") from None
    if drafts:
        _send_on_commit(drafts, None)


def forget(topic: Topic, key: str) -> None:
    """Drop the value of a state topic's key: who subscribes later does not get it."""
    runtime().broker.forget_soon(topic, key)


def _send_on_commit(drafts: Sequence[Draft], entry: OutboxEntry | None) -> None:
    """Outside a transaction: now. There `on_commit` would connect to the database, which an event loop may not."""
    if transaction.get_connection().in_atomic_block:
        transaction.on_commit(functools.partial(_send, drafts, entry))
    else:
        _send(drafts, entry)


def _send(drafts: Sequence[Draft], entry: OutboxEntry | None) -> None:
    engine = runtime()
    try:
        accepted = engine.broker.publish_many_soon(drafts) == len(drafts)
    except BrokerError:
        log.exception("%d publications were lost, the first on %s", len(drafts), drafts[0].topic.name)
        return
    if engine.is_long_lived or _in_event_loop():
        return
    # A script or a worker's child may end with its next line, and what it has only queued with it.
    stored = engine.broker.settle(SETTLE_SECONDS) and accepted
    # What a process without Redis stores, it stores for nobody: a server's relay publishes it for everybody.
    if stored and entry is not None and engine.broker.status.kind != "memory":
        try:
            entry.delete()
        except DatabaseError:
            log.exception("an outbox entry that was published stays for the relay, which will not publish it again")


def _require_id(target: Any, name: str) -> None:
    if not isinstance(target, str | int | uuid.UUID) or isinstance(target, bool):
        raise InvalidMessage(f"{name}: got {ascii(target)[:60]}, allowed are a str, an int or a UUID")


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


@functools.cache
def _field_types(message: type[DataMessage]) -> dict[str, Any]:
    return get_type_hints(message, include_extras=True)


def call_notification(name: str, arguments: Mapping[str, Any]) -> None:
    """Call a registered function with arguments from outside. Raises `InvalidMessage` for an unknown name or
    arguments that do not fit."""
    function = _notifications.get(name)
    if function is None:
        raise InvalidMessage(f"notify: got {name[:60]!r}; allowed are {', '.join(sorted(_notifications))}")
    _require_fit(function, name, arguments)
    function(**arguments)


def _require_fit(function: Callable[..., None], name: str, arguments: Mapping[str, Any]) -> None:
    signature = inspect.signature(function)
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise InvalidMessage(f"{name}: {error}; its arguments are {', '.join(signature.parameters)}") from None
