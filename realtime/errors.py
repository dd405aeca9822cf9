"""Every exception of this package.

RealtimeError
├── InvalidTopic (ValueError)        a topic name or kind that breaks the rules
├── InvalidMessage (ValueError)      a publication that does not fit its message type
├── InvalidBrokerUrl (ValueError)    a URL that leads to no broker
├── BrokerError
│   ├── BrokerClosed                 published or read after the broker was closed
│   └── BrokerAway                   the broker's server does not answer
├── OutboxFull                       a slow consumer reached its bound
└── ProtocolError                    something a client did; carries what the client is told
    ├── MalformedMessage             not JSON, not an object, no usable `type`
    ├── MessageTooLarge
    ├── UnknownCommand
    ├── InvalidCommand               a known command with wrong fields
    ├── RateLimited
    ├── TooManySubscriptions
    ├── TooManyConnections
    ├── NotAuthenticated
    ├── AccessDenied
    ├── NotFound
    └── CommandFailed                a stream refused a command; the code says why
"""

from __future__ import annotations

from realtime.close import (
    FORBIDDEN,
    MESSAGE_TOO_LARGE,
    NOT_AUTHENTICATED,
    NOT_FOUND,
    PROTOCOL_VIOLATED,
    RATE_EXCEEDED,
    TOO_MANY_CONNECTIONS,
    CloseCode,
)


class RealtimeError(Exception):
    """Base of every error raised by `realtime`."""


class InvalidTopic(RealtimeError, ValueError):
    """A topic name or kind that breaks the rules of `realtime.topic`."""


class InvalidMessage(RealtimeError, ValueError):
    """A publication that does not fit its message type: names the field, what came, what is allowed."""


class InvalidBrokerUrl(RealtimeError, ValueError):
    """A URL that leads to no broker: says what came and what is allowed, without the password."""


class BrokerError(RealtimeError):
    """The broker could not do what was asked."""


class BrokerClosed(BrokerError):
    """The broker was closed before this call."""


class BrokerAway(BrokerError):
    """The broker's server does not answer. Brokers handle it themselves; it never reaches who publishes."""


class OutboxFull(RealtimeError):
    """A connection did not read fast enough; it is closed with 4008 and resumes from history."""


class ProtocolError(RealtimeError):
    """Something a client did wrong.

    `error_code` is the stable, machine-readable name; `close_with` is the close code that repeated
    abuse (or, for the errors of connecting, the first occurrence) leads to. None: never closes.
    """

    error_code = "protocol_error"
    close_with: CloseCode | None = None

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class MalformedMessage(ProtocolError):
    error_code = "malformed_message"
    close_with = PROTOCOL_VIOLATED


class MessageTooLarge(ProtocolError):
    error_code = "message_too_large"
    close_with = MESSAGE_TOO_LARGE


class UnknownCommand(ProtocolError):
    error_code = "unknown_type"
    close_with = PROTOCOL_VIOLATED


class InvalidCommand(ProtocolError):
    error_code = "invalid_command"
    close_with = PROTOCOL_VIOLATED


class RateLimited(ProtocolError):
    error_code = "rate_limited"
    close_with = RATE_EXCEEDED


class TooManySubscriptions(ProtocolError):
    error_code = "too_many_subscriptions"


class TooManyConnections(ProtocolError):
    error_code = "too_many_connections"
    close_with = TOO_MANY_CONNECTIONS


class NotAuthenticated(ProtocolError):
    error_code = "not_authenticated"
    close_with = NOT_AUTHENTICATED


class AccessDenied(ProtocolError):
    error_code = "access_denied"
    close_with = FORBIDDEN


class NotFound(ProtocolError):
    error_code = "not_found"
    close_with = NOT_FOUND


class CommandFailed(ProtocolError):
    """A stream's own refusal. `error_code` is given by the stream, for example `unknown_symbol`."""

    def __init__(self, error_code: str, message: str) -> None:
        super().__init__(message)
        self.error_code = error_code
