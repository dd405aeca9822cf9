"""Publishing from Django: what `notify_*` functions are made of, and their registry for the HTTP API."""

from __future__ import annotations

import functools
import inspect
import logging
import uuid
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, get_type_hints

from django.db import transaction

from apps.streaming.runtime import runtime
from apps.streaming.validation import to_payload
from realtime.errors import BrokerError, InvalidMessage, InvalidTopic
from realtime.messages import DataMessage, encode
from realtime.publication import Draft
from realtime.topic import Topic

log = logging.getLogger(__name__)

MAX_IDEMPOTENCY_KEY = 128

UserId = str | int | uuid.UUID
ObjectId = str | int | uuid.UUID

Notification = TypeVar("Notification", bound=Callable[..., None])
_notifications: dict[str, Callable[..., None]] = {}


def notification(function: Notification) -> Notification:
    """Register a `notify_*` or `broadcast_*` function for `POST /api/realtime/publish/`, and keep its promise on
    errors: whatever is wrong with its arguments is an `InvalidMessage`."""

    first = next(iter(inspect.signature(function).parameters))
    names_target = first.endswith("_id")

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> None:
        target = args[0] if args else kwargs.get(first)
        if names_target and (not isinstance(target, str | int | uuid.UUID) or isinstance(target, bool)):
            raise InvalidMessage(f"{function.__name__}: {first}: got {target!r}, allowed are a str, an int or a UUID")
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

    _notifications[function.__name__] = checked
    return checked  # type: ignore[return-value]


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
    body = encode(message(timestamp=runtime().clock.now(), **payload))
    return Draft(topic, body, key=key, idempotency_key=idempotency_key)


def publish(
    topic: Topic,
    message: type[DataMessage],
    *,
    key: str | None = None,
    idempotency_key: str | None = None,
    **fields: Any,
) -> None:
    """Validate and publish. Works in a view, task, thread, shell, and in a running event loop, without blocking.

    Inside `transaction.atomic` it happens on commit, and not at all after a rollback. Raises `InvalidMessage` at
    once; never raises for a broker's trouble, which is logged.
    """
    prepared = draft(topic, message, key=key, idempotency_key=idempotency_key, **fields)
    connection = transaction.get_connection()
    if connection.in_atomic_block:
        transaction.on_commit(functools.partial(_send, prepared))
    else:
        _send(prepared)


def forget(topic: Topic, key: str) -> None:
    """Drop the value of a state topic's key: who subscribes later does not get it."""
    runtime().broker.forget_soon(topic, key)


def _send(prepared: Draft) -> None:
    try:
        runtime().broker.publish_soon(prepared)
    except BrokerError:
        log.exception("a publication on %s was lost", prepared.topic.name)


@functools.cache
def _field_types(message: type[DataMessage]) -> dict[str, Any]:
    return get_type_hints(message, include_extras=True)


def call_notification(name: str, arguments: Mapping[str, Any]) -> None:
    """Call a registered function with arguments from outside. Raises `InvalidMessage` for an unknown name or
    arguments that do not fit."""
    function = _notifications.get(name)
    if function is None:
        raise InvalidMessage(f"notify: got {name[:60]!r}; allowed are {', '.join(sorted(_notifications))}")
    signature = inspect.signature(function)
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise InvalidMessage(f"{name}: {error}; its arguments are {', '.join(signature.parameters)}") from None
    function(**arguments)
