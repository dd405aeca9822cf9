"""Every close code the server sends, and what a client does when it gets one.

A code that is not here (1006, network loss) means: reconnect with full-jitter exponential backoff.
"""

from __future__ import annotations

import enum

import msgspec


class Reconnect(enum.Enum):
    """What a client does after a close."""

    STOP = "stop"
    WITH_NEW_TOKEN = "get a new token first"  # noqa: S105 - a sentence
    WITH_SINCE = "reconnect with `since`"
    AT_ONCE = "reconnect"
    AFTER_DELAY = "reconnect after the delay in the reason"
    AFTER_JITTER = "reconnect after jitter"
    WITH_BACKOFF = "reconnect with full-jitter exponential backoff"
    AFTER_MINUTES = "stop, or back off by minutes"


class CloseCode(msgspec.Struct, frozen=True):
    """A WebSocket close code, its meaning, and the client's next step."""

    code: int
    meaning: str
    reconnect: Reconnect


MESSAGE_TOO_LARGE = CloseCode(1009, "message too large", Reconnect.STOP)
INTERNAL_ERROR = CloseCode(1011, "the server failed", Reconnect.WITH_BACKOFF)
SERVER_RESTARTING = CloseCode(1012, "server restarting", Reconnect.AFTER_JITTER)
NOT_AUTHENTICATED = CloseCode(4001, "not authenticated, expired, revoked", Reconnect.WITH_NEW_TOKEN)
FORBIDDEN = CloseCode(4003, "may not see this object", Reconnect.STOP)
NOT_FOUND = CloseCode(4004, "no such object", Reconnect.STOP)
TOO_MANY_CONNECTIONS = CloseCode(4005, "too many connections", Reconnect.AFTER_MINUTES)
SLOW_CONSUMER = CloseCode(4008, "slow consumer: outbox full", Reconnect.WITH_SINCE)
POSITION_LOST = CloseCode(4010, "position lost, resync needed", Reconnect.AT_ONCE)
RATE_EXCEEDED = CloseCode(4029, "message rate exceeded", Reconnect.AFTER_DELAY)
PROTOCOL_VIOLATED = CloseCode(4400, "protocol violated too often", Reconnect.STOP)

CLOSE_CODES: tuple[CloseCode, ...] = (
    MESSAGE_TOO_LARGE,
    INTERNAL_ERROR,
    SERVER_RESTARTING,
    NOT_AUTHENTICATED,
    FORBIDDEN,
    NOT_FOUND,
    TOO_MANY_CONNECTIONS,
    SLOW_CONSUMER,
    POSITION_LOST,
    RATE_EXCEEDED,
    PROTOCOL_VIOLATED,
)
