"""The protocol core: what a client sends in, replies and effects out. No I/O, no awaiting.

It never raises on anything a client sends: bad input becomes an `error` reply, and, when there is too much of it,
a close with the code that `realtime.close` gives for that kind of abuse.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
from msgspec import UNSET, UnsetType

from realtime.clock import Clock
from realtime.close import CloseCode, Reconnect
from realtime.errors import (
    InvalidCommand,
    MalformedMessage,
    MessageTooLarge,
    ProtocolError,
    RateLimited,
    UnknownCommand,
)
from realtime.limits import Limits, TokenBucket
from realtime.messages import (
    COMMON_COMMANDS,
    Command,
    ErrorMessage,
    Ping,
    Pong,
    RequestId,
    ServerMessage,
    type_of,
)


class Respond(msgspec.Struct, frozen=True):
    """Effect: send this message to the client."""

    message: ServerMessage


class Execute(msgspec.Struct, frozen=True):
    """Effect: carry out this valid command (and answer it)."""

    command: Command


class Disconnect(msgspec.Struct, frozen=True):
    """Effect: close the connection."""

    close: CloseCode
    reason: str


Effect = Respond | Execute | Disconnect


class _Envelope(msgspec.Struct):
    type: str
    request_id: RequestId | UnsetType = UNSET


class CommandSet:
    """The commands of one stream and their decoders, made once per stream class."""

    def __init__(self, commands: Iterable[type[Command]]) -> None:
        self.types: Mapping[str, type[Command]] = {type_of(c): c for c in (*COMMON_COMMANDS, *commands)}
        self._decoders = {name: msgspec.json.Decoder(command) for name, command in self.types.items()}
        self._envelope = msgspec.json.Decoder(_Envelope)

    def envelope(self, data: bytes) -> tuple[str, RequestId | UnsetType]:
        """The `type` and `request_id` of a message. Raises `MalformedMessage`."""
        try:
            envelope = self._envelope.decode(data)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise MalformedMessage(
                f'expected a JSON object such as {{"type":"ping"}}, got {_shown(data)}: {error}'
            ) from None
        return envelope.type, envelope.request_id

    def decode(self, name: str, data: bytes) -> Command:
        """The command. Raises `UnknownCommand` or `InvalidCommand`, which say what is allowed."""
        decoder = self._decoders.get(name)
        if decoder is None:
            raise UnknownCommand(f"unknown type {_shown(name)}; this stream takes {', '.join(sorted(self._decoders))}")
        try:
            return decoder.decode(data)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            fields = [field for field in self.types[name].__struct_fields__ if field != "request_id"]
            allowed = ", ".join([*fields, "request_id"])
            raise InvalidCommand(f"{name}: {error}; its fields are: {allowed}") from None


class ProtocolCore:
    """One connection's protocol state: its rate, its patience with abuse."""

    def __init__(self, commands: CommandSet, limits: Limits, clock: Clock) -> None:
        self._commands = commands
        self._limits = limits
        self._clock = clock
        self._rate = TokenBucket(clock, limits.commands_per_second, limits.command_burst)
        self._patience = TokenBucket(clock, limits.abuse_refill_per_second, limits.abuse_burst)

    def receive(self, data: str | bytes) -> list[Effect]:
        """What to do about one message from the client."""
        request_id: RequestId | UnsetType = UNSET
        try:
            if not self._rate.take():
                raise RateLimited(
                    f"too many commands: {self._limits.commands_per_second:g} per second are allowed, "
                    f"{self._limits.command_burst} at once"
                )
            payload = self._text_bytes(data)
            name, request_id = self._commands.envelope(payload)
            command = self._commands.decode(name, payload)
        except ProtocolError as error:
            return self._refuse(error, request_id)
        if isinstance(command, Ping):
            return [Respond(Pong(timestamp=self._clock.now(), request_id=command.request_id))]
        return [Execute(command)]

    def error(self, error: ProtocolError, request_id: RequestId | UnsetType = UNSET) -> ErrorMessage:
        """The error as the client sees it."""
        return ErrorMessage(
            error=error.message, error_code=error.error_code, request_id=request_id, timestamp=self._clock.now()
        )

    def _text_bytes(self, data: str | bytes) -> bytes:
        if isinstance(data, bytes):
            raise MalformedMessage("binary frames are not accepted; send JSON as a text frame")
        payload = data.encode("utf-8", "surrogatepass")
        if len(payload) > self._limits.message_bytes:
            raise MessageTooLarge(
                f"the message has {len(payload)} bytes, at most {self._limits.message_bytes} are allowed"
            )
        return payload

    def _refuse(self, error: ProtocolError, request_id: RequestId | UnsetType) -> list[Effect]:
        effects: list[Effect] = [Respond(self.error(error, request_id))]
        if error.close_with is not None and not self._patience.take():
            reason = error.close_with.meaning
            if error.close_with.reconnect is Reconnect.AFTER_DELAY:
                reason += f"; retry after {self._patience.seconds_until_full():.0f} s"
            effects.append(Disconnect(error.close_with, reason))
        return effects


def _shown(value: str | bytes) -> str:
    """Input as it may be repeated to the one who sent it: short, and printable whatever it holds."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return ascii(text if len(text) <= 40 else f"{text[:40]}…")
