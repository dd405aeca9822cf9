"""The messages every stream shares, and the bases of those that streams add. All immutable.

A field that may be absent on the wire is `UNSET`, never null, unless null means something.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

PROTOCOL_VERSION = 1

RequestId = Annotated[str, Meta(max_length=64)] | Annotated[int, Meta(ge=0, le=2**53 - 1)]


class Command(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", forbid_unknown_fields=True):
    """What a client may send. `request_id` comes back on the answer."""

    request_id: RequestId | UnsetType = UNSET


class Ping(Command, frozen=True, tag="ping"):
    """Asks for a `pong`."""


class Authenticate(Command, frozen=True, tag="authenticate"):
    """Renews the connection's authentication before its token expires."""

    token: Annotated[str, Meta(min_length=1, max_length=4096)]


class ServerMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", forbid_unknown_fields=True):
    """What the server sends: always a `type` and a `timestamp` (RFC 3339, UTC)."""

    timestamp: datetime


class Reply(ServerMessage, frozen=True, kw_only=True):
    """A message that may answer a command, or be sent on connect."""

    request_id: RequestId | UnsetType = UNSET


class DataMessage(Reply, frozen=True, kw_only=True):
    """A publication. `topic` and, on log topics, `offset` are added when the broker has placed it."""

    topic: str | UnsetType = UNSET
    offset: int | UnsetType = UNSET


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """Where a connection stands on a topic. `epoch` and `offset` only on log topics: the next publication that the
    client gets on it has `offset + 1`."""

    topic: str
    kind: str
    epoch: str | UnsetType = UNSET
    offset: int | UnsetType = UNSET
    recovered: bool = False


class ClientLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits a client has to know."""

    message_bytes: int
    commands_per_second: float
    command_burst: int
    subscriptions_per_connection: int
    connections_per_user: int


class Welcome(ServerMessage, frozen=True, kw_only=True, tag="welcome"):
    """The first message of a connection. `market` says what its prices are of, such as a simulated market."""

    connection_id: str
    user_id: str
    protocol: int
    heartbeat_seconds: float
    limits: ClientLimits
    subscriptions: Sequence[Subscription]
    market: str | UnsetType = UNSET


class Pong(Reply, frozen=True, kw_only=True, tag="pong"):
    """Answers `ping`."""


class Heartbeat(ServerMessage, frozen=True, kw_only=True, tag="heartbeat"):
    """Comes after `heartbeat_seconds` of silence; `offsets` is the last offset of each subscribed log topic."""

    offsets: Mapping[str, int]


class ErrorMessage(Reply, frozen=True, kw_only=True, tag="error"):
    """Something was refused; the connection and its subscriptions are as they were."""

    error: str
    error_code: str


class SubscriptionConfirmed(Reply, frozen=True, kw_only=True, tag="subscription_confirmed"):
    """A subscribe command succeeded; `subscriptions` is the full, current list."""

    subscriptions: Sequence[Subscription]


class SubscriptionCancelled(Reply, frozen=True, kw_only=True, tag="subscription_cancelled"):
    """An unsubscribe command succeeded; `subscriptions` is the full, current list."""

    subscriptions: Sequence[Subscription]


class Authenticated(Reply, frozen=True, kw_only=True, tag="authenticated"):
    """`authenticate` succeeded; the connection lives until `expires_at` (null: as long as the session)."""

    expires_at: datetime | None


class TokenExpiring(ServerMessage, frozen=True, kw_only=True, tag="token_expiring"):
    """Sent 60 s before the connection's token expires and it is closed with 4001."""

    expires_at: datetime


class Reconnect(ServerMessage, frozen=True, kw_only=True, tag="reconnect"):
    """The server is about to go away: connect again, elsewhere, after `after_ms`."""

    after_ms: int


COMMON_COMMANDS: tuple[type[Command], ...] = (Ping, Authenticate)
COMMON_MESSAGES: tuple[type[ServerMessage], ...] = (
    Welcome,
    Pong,
    Heartbeat,
    ErrorMessage,
    SubscriptionConfirmed,
    SubscriptionCancelled,
    Authenticated,
    TokenExpiring,
    Reconnect,
)

_encoder = msgspec.json.Encoder()


def encode(message: ServerMessage) -> bytes:
    """The message as one JSON object."""
    return _encoder.encode(message)


def type_of(message: type[msgspec.Struct] | msgspec.Struct) -> str:
    """The wire name of a message or command: the value of its `type`."""
    config: Any = message.__struct_config__
    return str(config.tag)
