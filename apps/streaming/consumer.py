"""The consumer: where a Channels connection starts and ends. It holds no business logic."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, ClassVar
from uuid import UUID

import msgspec
from channels.consumer import AsyncConsumer
from django.urls import re_path
from msgspec import UNSET

from apps.streaming.authentication import Principal, StreamConnection, authenticate_token
from apps.streaming.batching import Query, choose_subprotocol, parse_query, refused_batch, wants_batches
from apps.streaming.metrics import REJECTED
from apps.streaming.runtime import runtime
from apps.streaming.since import parse_since
from apps.streaming.stream import Stream, StreamContext, Subscribe, Unsubscribe
from realtime.close import INTERNAL_ERROR, NOT_FOUND, SERVER_RESTARTING
from realtime.connection import ABNORMAL_CLOSURE
from realtime.errors import AccessDenied, NotFound, ProtocolError
from realtime.frames import Batch, Encoding, Frame
from realtime.messages import (
    Authenticate,
    Authenticated,
    ErrorMessage,
    Reply,
    ServerMessage,
    SubscriptionCancelled,
    encode,
    type_of,
)
from realtime.protocol import CommandSet, Execute
from realtime.transports.asgi import AsgiTransport
from realtime.transports.uvicorn import EXTENSION

log = logging.getLogger(__name__)


class StreamConsumer(AsyncConsumer):
    """Connects a `Stream` to a connection. Subclasses name the stream and are done.

    Channels' own dispatch and channel layer are not on the way: publications come from the hub.
    """

    stream_class: ClassVar[type[Stream]]
    command_set: ClassVar[CommandSet]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.command_set = CommandSet(cls.stream_class.commands)

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        await receive()  # websocket.connect
        if runtime().draining:
            await _send_elsewhere(scope, send)
            return
        await send({"type": "websocket.accept", "subprotocol": choose_subprotocol(scope)})
        query = parse_query(scope)
        batched = wants_batches(scope, query)
        principal = scope["principal"]
        if isinstance(principal, ProtocolError):
            await reject(send, principal, batched=batched)
            return
        raw = scope.get("extensions", {}).get(EXTENSION)
        task: Any = asyncio.current_task()
        plain = None if raw else AsgiTransport(send, task.cancel)
        transport = raw or plain
        if batched:
            transport.batch_mode()
        session = _Session(self, scope, query, principal, transport)
        pump = asyncio.create_task(plain.run()) if plain else None
        code = ABNORMAL_CLOSURE
        try:
            await session.open()
            code = await session.listen(receive)
        except ProtocolError as refused:
            session.reject(refused)
            code = await _until_disconnected(receive)
        except asyncio.CancelledError:
            if not session.connection.closed_with:
                raise  # the server is shutting down; otherwise: the peer did not even take our close frame
        except Exception:
            # A bug or a lost database ends this connection with a code of its own, and nothing else.
            log.exception("the %s stream failed", self.stream_class.name)
            session.connection.close(INTERNAL_ERROR)
            code = await _until_disconnected(receive)
        finally:
            if plain is not None and pump is not None:
                plain.finished()
                pump.cancel()
            session.connection.ended(code)
            await session.leave()
            if pump is not None:
                await asyncio.wait((pump,))


class _Session:
    """One connection: a stream on one side, a `Connection` on the other."""

    def __init__(
        self, consumer: StreamConsumer, scope: dict[str, Any], query: Query, principal: Principal, transport: Any
    ) -> None:
        engine = runtime()
        self._engine = engine
        self._principal = principal
        self._query = query
        arguments = scope.get("url_route", {}).get("kwargs", {})
        self._stream = consumer.stream_class(
            StreamContext(
                user_id=principal.user_id,
                is_staff=principal.is_staff,
                object_id=_canonical(next(iter(arguments.values()), "")),
                now=engine.clock.now,
            )
        )
        self.connection = StreamConnection(
            connection_id=engine.next_connection_id(),
            user_id=principal.user_id,
            stream=consumer.stream_class.name,
            transport=transport,
            hub=engine.hub,
            commands=consumer.command_set,
            limits=engine.limits,
            clock=engine.clock,
            metrics=engine.metrics,
            expires_at=principal.expires_at,
            heartbeat_seconds=engine.heartbeat_seconds,
            market=engine.market.feed.description if engine.market else UNSET,
        )
        self.connection.is_staff = principal.is_staff
        self.connection.family_id = principal.family_id
        self.connection.session_key = principal.session_key
        if arguments:
            self.connection.reauthorize = self._authorize

    async def open(self) -> None:
        """Raises a `ProtocolError` when the user may not open this stream (now)."""
        await self._engine.places.take(self._principal.user_id, self.connection.connection_id)
        await self._authorize()
        since, refusals = parse_since(",".join(self._query.get("since", [])))
        refusals += refused_batch(self._query)
        topics = list(await self._stream.topics())
        known = {topic.name for topic in topics}
        others = [name for name in since if name not in known]
        for name, topic in zip(others, await asyncio.gather(*map(self._stream.topic_named, others)), strict=True):
            if topic is None or topic.name != name:
                refusals.append(AccessDenied(f"you may not see the topic {name!r} on this stream"))
            else:
                topics.append(topic)
        await self.connection.open(topics, since, self._stream.snapshot, refusals)

    async def _authorize(self) -> None:
        """Raises a `ProtocolError` when the user may not open this stream (any more)."""
        await self._stream.authorize()
        self.connection.rights_end_at = self._stream.rights_end_at

    async def leave(self) -> None:
        """The connection has ended: give its place back."""
        await self._engine.places.leave(self._principal.user_id, self.connection.connection_id)

    async def listen(self, receive: Any) -> int:
        """Handle what the client sends until it is gone. The close code."""
        self._engine.keep_watch()
        if self._engine.draining:
            self.connection.close(SERVER_RESTARTING)
        while True:
            event = await receive()
            if event["type"] == "websocket.disconnect":
                return int(event.get("code") or 1005)
            text = event.get("text")
            await self.connection.receive(text if text is not None else event.get("bytes") or b"", self._execute)

    def reject(self, refused: ProtocolError) -> None:
        if refused.close_with is not None:
            REJECTED.labels(str(refused.close_with.code)).inc()
        self.connection.reject(refused)

    async def _execute(self, effect: Execute) -> None:
        command = effect.command
        if isinstance(command, Authenticate):
            await self._renew(command)
            return
        outcome = await getattr(self._stream, f"on_{type_of(command)}")(command)
        if isinstance(outcome, Subscribe):
            await self.connection.subscribe(outcome.topics, command.request_id)
            self._stream.subscribed(outcome.topics)
        elif isinstance(outcome, Unsubscribe):
            self.connection.unsubscribe(outcome.topics)
            cancelled = SubscriptionCancelled(
                subscriptions=self.connection.subscriptions, timestamp=self._engine.clock.now()
            )
            self.connection.send(_answering(cancelled, command.request_id))
        else:
            for message in outcome:
                await self.connection.send_at_its_pace(_answering(message, command.request_id))

    async def _renew(self, command: Authenticate) -> None:
        principal = await authenticate_token(command.token, self._engine.logins)
        if principal.user_id != self._principal.user_id:
            raise AccessDenied("the token belongs to another user; open a connection of its own for it")
        await self._authorize()
        self.connection.renew(principal.expires_at)
        self.connection.family_id, self.connection.session_key = principal.family_id, None
        renewed = Authenticated(expires_at=principal.expires_at, timestamp=self._engine.clock.now())
        self.connection.send(_answering(renewed, command.request_id))


def _canonical(object_id: str) -> str:
    """One spelling per object: topics are made of it."""
    try:
        return str(UUID(object_id))
    except ValueError:
        return object_id


def _answering(message: ServerMessage, request_id: Any) -> ServerMessage:
    """The message as the answer to a command."""
    if request_id is not UNSET and isinstance(message, Reply):
        return msgspec.structs.replace(message, request_id=request_id)
    return message


async def reject(send: Any, refused: ProtocolError, *, batched: bool) -> None:
    """Tell why, and close: for connections that never became one."""
    close = refused.close_with or NOT_FOUND
    REJECTED.labels(str(close.code)).inc()
    message = ErrorMessage(error=refused.message, error_code=refused.error_code, timestamp=runtime().clock.now())
    told = Batch([Frame(encode(message))])
    for text in Encoding(batched=batched).texts(told):
        await send({"type": "websocket.send", "text": text})
    await send({"type": "websocket.close", "code": close.code, "reason": close.meaning})


async def _send_elsewhere(scope: dict[str, Any], send: Any) -> None:
    """This process drains. Before the handshake a load balancer can still ask another one."""
    if "websocket.http.response" in scope.get("extensions", {}):
        await send({"type": "websocket.http.response.start", "status": 503, "headers": [(b"retry-after", b"1")]})
        await send({"type": "websocket.http.response.body", "body": b"draining\n"})
    else:
        await send({"type": "websocket.close", "code": SERVER_RESTARTING.code})


async def _unknown_endpoint(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept", "subprotocol": choose_subprotocol(scope)})
    missing = NotFound(f"there is no stream at {scope['path']!r}; GET /asyncapi.json lists them")
    await reject(send, missing, batched=wants_batches(scope, parse_query(scope)))


unknown_endpoint = re_path(r"^.*$", _unknown_endpoint)


async def _until_disconnected(receive: Any) -> int:
    while (event := await receive())["type"] != "websocket.disconnect":
        pass
    return int(event.get("code") or 1005)
