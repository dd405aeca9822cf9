"""One live socket: the shell that joins the protocol core, the hub, an outbox and a transport."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from msgspec import UNSET, UnsetType

from realtime.clock import Clock
from realtime.close import INTERNAL_ERROR, NOT_AUTHENTICATED, POSITION_LOST, SLOW_CONSUMER, CloseCode
from realtime.errors import OutboxFull, ProtocolError, TooManySubscriptions
from realtime.frames import Batch, Frame, MixedBatch
from realtime.hub import TICK_SECONDS, Hub
from realtime.join import Join
from realtime.limits import Limits
from realtime.messages import (
    PROTOCOL_VERSION,
    ClientLimits,
    Heartbeat,
    RequestId,
    ServerMessage,
    Subscription,
    SubscriptionConfirmed,
    TokenExpiring,
    Welcome,
    encode,
)
from realtime.metrics import Metrics
from realtime.outbox import Outbox
from realtime.protocol import CommandSet, Disconnect, Execute, ProtocolCore, Respond
from realtime.publication import Position, PublicationBatch
from realtime.topic import Kind, Topic
from realtime.transports.base import Transport

HEARTBEAT_SECONDS = 20.0
EXPIRY_NOTICE = timedelta(seconds=60)
REPLAY_CHUNK = 200
ABNORMAL_CLOSURE = 1006  # RFC 6455: never sent; it ended without a close frame
MAX_REASON_BYTES = 123  # RFC 6455: a control frame holds 125 bytes, two of them the code

Snapshot = Callable[[Sequence[Topic]], Awaitable[Sequence[ServerMessage]]]


class Connection:
    """Owned by one task, which calls the coroutines one after the other. `deliver` and `tick` come from the hub."""

    def __init__(
        self,
        *,
        connection_id: str,
        user_id: str,
        stream: str,
        transport: Transport,
        hub: Hub,
        commands: CommandSet,
        limits: Limits,
        clock: Clock,
        metrics: Metrics,
        expires_at: datetime | None = None,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        market: str | UnsetType = UNSET,
    ) -> None:
        self.connection_id = connection_id
        self.user_id = user_id
        self.stream = stream
        self.expires_at = expires_at
        self.closed_with: int | None = None
        self._is_broken = False
        self._core = ProtocolCore(commands, limits, clock)
        self._transport = transport
        self._hub = hub
        self._limits = limits
        self._clock = clock
        self._metrics = metrics
        self._heartbeat_seconds = heartbeat_seconds
        self._market = market
        self._outbox = Outbox(limits.outbox_bytes)
        self._topics: dict[str, Topic] = {}
        self._live: dict[str, Topic] = {}  # those of them that have caught up
        self._quiet_seconds = 0.0
        self._expiry_announced = False
        self._opened_monotonic: float | None = None
        self._drained: asyncio.Future[None] | None = None
        transport.attach(self._on_writable, self._on_broken)

    # Opening and closing

    async def open(
        self,
        topics: Sequence[Topic],
        since: Mapping[str, Position],
        snapshot: Snapshot,
        refusals: Iterable[ProtocolError] = (),
    ) -> None:
        """Register, subscribe, and send `welcome`, refusals, the snapshot, what was missed, and from then on all that
        comes. `snapshot` gets the topics whose state the client does not have. Raises `TooManyConnections`."""
        self._hub.connect(self, self._limits.connections_per_user)
        self._metrics.connection_opened(self.stream)
        self._opened_monotonic = self._clock.monotonic()
        allowed = self._limits.subscriptions_per_connection
        surplus = [
            TooManySubscriptions(f"not subscribed to {topic.name!r}: at most {allowed} subscriptions are allowed")
            for topic in topics[allowed:]
        ]
        joins = [await self._join(topic, since.get(topic.name)) for topic in topics[:allowed]]
        unrecovered = [join.topic for join in joins if not _recovered(join)]
        messages = await snapshot(unrecovered) if unrecovered or not joins else ()
        self.send(
            Welcome(
                connection_id=self.connection_id,
                user_id=self.user_id,
                protocol=PROTOCOL_VERSION,
                heartbeat_seconds=self._heartbeat_seconds,
                limits=ClientLimits(
                    message_bytes=self._limits.message_bytes,
                    commands_per_second=self._limits.commands_per_second,
                    command_burst=self._limits.command_burst,
                    subscriptions_per_connection=self._limits.subscriptions_per_connection,
                    connections_per_user=self._limits.connections_per_user,
                ),
                subscriptions=[_standing(join, since.get(join.topic.name)) for join in joins],
                market=self._market,
                timestamp=self._clock.now(),
            )
        )
        for error in (*refusals, *surplus):
            self.send(self._core.error(error))
        for message in messages:
            await self.send_at_its_pace(message)
        for join in joins:
            if join.topic.name in since and join.topic.kind is Kind.LOG:
                self._metrics.resumed(_recovered(join))
            await self._catch_up(join)

    def close(self, close: CloseCode, reason: str | None = None) -> None:
        """Close with a code of `realtime.close`. What waits is still sent, but not to a slow consumer."""
        if close not in (SLOW_CONSUMER, POSITION_LOST):
            self._hub.hand_over(self)
        if self.closed_with is not None:
            return
        self.closed_with = close.code
        last = None if close is SLOW_CONSUMER else MixedBatch(self._outbox.take())
        self._outbox.clear()
        text = (reason or close.meaning).encode()[:MAX_REASON_BYTES].decode(errors="ignore")
        self._transport.close(close.code, text, last)
        self._release_waiter()

    def ended(self, code: int) -> None:
        """The socket is gone, whoever closed it. Frees everything; call it once, at the end. `code` is what the peer
        closed with, and counts if we had not closed before."""
        if self.closed_with is None or self._is_broken:
            self.closed_with = code
        self._release_waiter()
        self._hub.disconnect(self, list(self._topics.values()))
        self._topics.clear()
        self._live.clear()
        self._outbox.clear()
        if self._opened_monotonic is not None:
            duration_seconds = self._clock.monotonic() - self._opened_monotonic
            self._metrics.connection_closed(self.stream, self.closed_with, duration_seconds)

    # What the client sends

    async def receive(self, data: str | bytes, execute: Callable[[Execute], Awaitable[None]]) -> None:
        """Handle one message. Valid commands go to `execute`, whose `ProtocolError`s become `error` replies."""
        if self.closed_with is not None:
            return
        self._metrics.command_received(self.stream)
        for effect in self._core.receive(data):
            if isinstance(effect, Execute):
                try:
                    await execute(effect)
                except ProtocolError as error:
                    self.refuse(error, effect.command.request_id)
            elif isinstance(effect, Respond):
                self.send(effect.message)
                error_code = getattr(effect.message, "error_code", None)
                if error_code is not None:
                    self._metrics.command_refused(self.stream, error_code)
            elif isinstance(effect, Disconnect):
                self.close(effect.close, effect.reason)

    def refuse(self, error: ProtocolError, request_id: RequestId | UnsetType = UNSET) -> None:
        """Tell the client what was wrong; nothing else changes."""
        self._metrics.command_refused(self.stream, error.error_code)
        self.send(self._core.error(error, request_id))

    def reject(self, error: ProtocolError) -> None:
        """Tell the client what was wrong, and close with the error's code, if it has one."""
        self.refuse(error)
        if error.close_with is not None:
            self.close(error.close_with, error.message)

    async def subscribe(self, topics: Sequence[Topic], request_id: RequestId | UnsetType = UNSET) -> None:
        """Add topics and confirm. Those already subscribed are confirmed again and delivered once.
        Raises `TooManySubscriptions`, and then adds none."""
        new = [topic for topic in topics if topic.name not in self._topics]
        allowed = self._limits.subscriptions_per_connection
        if len(self._topics) + len(new) > allowed:
            raise TooManySubscriptions(
                f"you have {len(self._topics)} subscriptions and ask for {len(new)} more, at most {allowed} are allowed"
            )
        joins = [await self._join(topic, None) for topic in new]
        self.send(
            SubscriptionConfirmed(
                subscriptions=[*self.subscriptions, *(_standing(join, None) for join in joins)],
                request_id=request_id,
                timestamp=self._clock.now(),
            )
        )
        for join in joins:
            await self._catch_up(join)

    def unsubscribe(self, topics: Sequence[Topic]) -> None:
        """Drop topics. Those not subscribed are no error."""
        self._hub.leave(self, topics)
        for topic in topics:
            self._topics.pop(topic.name, None)
            self._live.pop(topic.name, None)

    @property
    def subscriptions(self) -> list[Subscription]:
        """Every live subscription and where it stands."""
        standing = []
        for topic in self._live.values():
            position = self._hub.position(topic) if topic.kind is Kind.LOG else None
            standing.append(
                Subscription(
                    topic=topic.name,
                    kind=topic.kind.value,
                    epoch=position.epoch if position else UNSET,
                    offset=position.offset if position else UNSET,
                )
            )
        return standing

    # What the server sends

    def send(self, message: ServerMessage) -> None:
        """Send one message, in its turn. After a close: nothing happens."""
        self.send_frame(Frame(encode(message)))

    async def send_at_its_pace(self, message: ServerMessage) -> None:
        """Send one message of a long answer, after the client took the one before."""
        await self._until_drained()
        self.send(message)

    def send_frame(self, frame: Frame) -> None:
        """Send a message that was encoded before, in its turn."""
        self._hub.hand_over(self)
        if self.closed_with is not None:
            return
        self._quiet_seconds = 0.0
        if self._transport.writable:
            self._transport.write(Batch((frame,)))
            return
        try:
            self._outbox.put_frame(frame)
        except OutboxFull as full:
            self.close(SLOW_CONSUMER, str(full))

    def deliver(self, batch: PublicationBatch) -> None:
        """Take publications from the hub: on to the socket, or into the outbox while that is busy."""
        if self.closed_with is not None:
            return
        self._quiet_seconds = 0.0
        if self._transport.writable:
            self._transport.write(batch)
            return
        try:
            self._outbox.put(batch.publications)
        except OutboxFull as full:
            self.close(SLOW_CONSUMER, str(full))

    def joining_too_slowly(self, join: Join) -> bool:
        if self.closed_with is None and join.buffered_bytes > self._limits.outbox_bytes:
            self.close(SLOW_CONSUMER)
        return self.closed_with is not None

    def moved(self, topic: Topic, position: Position) -> None:
        """Tell the client how far it has got: the last messages carried no offset."""
        if topic.kind is Kind.LOG:
            self.send(Heartbeat(offsets={topic.name: position.offset}, timestamp=self._clock.now()))

    def position_lost(self, topic: Topic) -> None:
        """Send the client away, to come back for a fresh snapshot."""
        self.close(POSITION_LOST, f"{topic.name} started anew; reconnect for a fresh snapshot")

    def failed(self) -> None:
        self.close(INTERNAL_ERROR)

    # Time

    def renew(self, expires_at: datetime | None) -> None:
        """The client authenticated again."""
        self.expires_at = expires_at
        self._expiry_announced = False

    def tick(self) -> None:
        """Once per `TICK_SECONDS`: heartbeat after silence, notice of expiry, expiry."""
        self._quiet_seconds += TICK_SECONDS
        if self.expires_at is not None:
            now = self._clock.now()
            if now >= self.expires_at:
                self.close(NOT_AUTHENTICATED, "the token expired")
                return
            if now >= self.expires_at - EXPIRY_NOTICE and not self._expiry_announced:
                self._expiry_announced = True
                self.send(TokenExpiring(expires_at=self.expires_at, timestamp=now))
        if self._quiet_seconds >= self._heartbeat_seconds:
            self._clock.call_later(self._phase_seconds, self._send_heartbeat)

    @property
    def _phase_seconds(self) -> float:
        """Of a tick, each connection's own: all who heard nothing since the same publication are due in one tick."""
        return zlib.crc32(self.connection_id.encode()) % 1_000 / 1_000 * TICK_SECONDS

    def _send_heartbeat(self) -> None:
        if self._quiet_seconds < self._heartbeat_seconds:
            return
        offsets = {
            topic.name: position.offset
            for topic in self._live.values()
            if topic.kind is Kind.LOG and (position := self._hub.position(topic)) is not None
        }
        self.send(Heartbeat(offsets=offsets, timestamp=self._clock.now()))

    # Inner workings

    async def _join(self, topic: Topic, since: Position | None) -> Join:
        self._topics[topic.name] = topic
        return await self._hub.join(self, topic, since)

    async def _catch_up(self, join: Join) -> None:
        """Send everything the join holds, at the client's pace, then go live without a gap."""
        while publications := join.take():
            for start in range(0, len(publications), REPLAY_CHUNK):
                chunk = publications[start : start + REPLAY_CHUNK]
                await self._until_drained()
                self.deliver(PublicationBatch(chunk))
            await self._until_drained()
        if self.closed_with is None:
            self._hub.activate(self, join.topic)
            self._live[join.topic.name] = join.topic

    async def _until_drained(self) -> None:
        while self.closed_with is None and not (self._transport.writable and not self._outbox):
            self._drained = asyncio.get_running_loop().create_future()
            await self._drained

    def _on_writable(self) -> None:
        if len(self._outbox) and self._transport.writable:
            self._transport.write(MixedBatch(self._outbox.take()))
        if self._transport.writable:
            self._release_waiter()

    def _on_broken(self) -> None:
        if self.closed_with is None:
            self.closed_with = ABNORMAL_CLOSURE  # until `ended` says more
            self._is_broken = True
        self._outbox.clear()
        self._release_waiter()

    def _release_waiter(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)


def _recovered(join: Join) -> bool:
    return join.history is not None and join.history.recovered


def _standing(join: Join, since: Position | None) -> Subscription:
    """Where the client stands on the topic once it has read `welcome` and the snapshot."""
    if join.topic.kind is Kind.STATE or join.history is None:
        return Subscription(topic=join.topic.name, kind=join.topic.kind.value)
    position = since if since is not None and join.history.recovered else join.history.position
    return Subscription(
        topic=join.topic.name,
        kind=join.topic.kind.value,
        epoch=position.epoch,
        offset=position.offset,
        recovered=join.history.recovered,
    )
