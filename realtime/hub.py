"""The process's registry: topic -> connections. Coalesces publications and fans them out; never waits for anyone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Protocol

from realtime.brokers.base import Broker
from realtime.clock import Clock, TimerHandle
from realtime.errors import TooManyConnections
from realtime.frames import Batch
from realtime.join import Join
from realtime.metrics import Metrics
from realtime.publication import Position, Publication, conflate
from realtime.topic import Kind, Topic

DEFAULT_WINDOW_SECONDS = 0.005
TICK_SECONDS = 1.0


class Subscriber(Protocol):
    """What the hub needs of a connection."""

    user_id: str

    def deliver(self, publications: Sequence[Publication], batch: Batch) -> None:
        """Take publications; must not wait and must not raise."""
        ...

    def joining_too_slowly(self, join: Join) -> bool:
        """Whether so much was buffered for this join that the connection was closed."""
        ...

    def moved(self, topic: Topic, position: Position) -> None:
        """Everything up to this position was delivered, though not all of it carried an offset."""
        ...

    def position_lost(self, topic: Topic) -> None:
        """What this connection has of the topic does not lead to what comes: it needs a fresh start."""
        ...

    def tick(self) -> None:
        """Called every `TICK_SECONDS`."""
        ...


class _Channel:
    """One topic that someone here listens to."""

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self.position: Position | None = None
        self.live: dict[Subscriber, None] = {}
        self.joining: dict[Subscriber, Join] = {}
        self.pending: list[Publication] = []
        self.window: TimerHandle | None = None


class Hub:
    """Belongs to one event loop. All methods but the coroutines are synchronous and quick."""

    def __init__(
        self, broker: Broker, clock: Clock, metrics: Metrics, *, window_seconds: float = DEFAULT_WINDOW_SECONDS
    ) -> None:
        self._broker = broker
        self._clock = clock
        self._metrics = metrics
        self._window_seconds = window_seconds
        self._channels: dict[str, _Channel] = {}
        self._by_user: defaultdict[str, set[Subscriber]] = defaultdict(set)
        self._ticker: TimerHandle | None = None
        broker.attach(self)

    # Connections

    def connect(self, subscriber: Subscriber, max_per_user: int) -> None:
        """Register a connection. Raises `TooManyConnections`."""
        mine = self._by_user[subscriber.user_id]
        if len(mine) >= max_per_user:
            raise TooManyConnections(f"you have {len(mine)} connections, at most {max_per_user} are allowed")
        mine.add(subscriber)
        if self._ticker is None:
            self._ticker = self._clock.call_later(TICK_SECONDS, self._tick)

    def disconnect(self, subscriber: Subscriber, topics: Iterable[Topic]) -> None:
        """Forget a connection and its subscriptions. Safe to call twice."""
        mine = self._by_user.get(subscriber.user_id)
        if mine is not None:
            mine.discard(subscriber)
            if not mine:
                del self._by_user[subscriber.user_id]
        self.leave(subscriber, topics)

    @property
    def connections(self) -> list[Subscriber]:
        """Every connection of this process."""
        return [subscriber for mine in self._by_user.values() for subscriber in mine]

    @property
    def user_ids(self) -> list[str]:
        """Every user who is connected to this process."""
        return list(self._by_user)

    def _tick(self) -> None:
        for subscriber in self.connections:
            subscriber.tick()
        self._ticker = self._clock.call_later(TICK_SECONDS, self._tick) if self._by_user else None

    # Subscriptions

    async def join(self, subscriber: Subscriber, topic: Topic, since: Position | None) -> Join:
        """Subscribe, buffering what is published until `activate`, and read the history after `since`."""
        channel = self._channels.get(topic.name)
        if channel is None:
            channel = self._channels[topic.name] = _Channel(topic)
        join = Join(topic)
        channel.joining[subscriber] = join
        await self._broker.subscribe(topic)
        join.history = await self._broker.read(topic, since)
        if channel.position is None:
            channel.position = join.history.position
        return join

    def activate(self, subscriber: Subscriber, topic: Topic) -> None:
        """The connection has everything published so far: from here on it gets what comes."""
        channel = self._channels[topic.name]
        if channel.joining.pop(subscriber, None) is None:
            return  # it left while it joined
        self._flush(channel)
        channel.live[subscriber] = None

    def leave(self, subscriber: Subscriber, topics: Iterable[Topic]) -> None:
        """End subscriptions; topics that nobody here listens to any more are released."""
        for topic in topics:
            channel = self._channels.get(topic.name)
            if channel is None:
                continue
            channel.live.pop(subscriber, None)
            channel.joining.pop(subscriber, None)
            if not channel.live and not channel.joining:
                del self._channels[topic.name]
                if channel.window is not None:
                    channel.window.cancel()
                self._broker.unsubscribe(topic)

    def position(self, topic: Topic) -> Position | None:
        """The last publication that went out on a topic that someone here listens to."""
        channel = self._channels.get(topic.name)
        return channel.position if channel else None

    @property
    def topic_count(self) -> int:
        """How many topics someone here listens to."""
        return len(self._channels)

    # Delivery

    def on_publications(self, publications: Sequence[Publication]) -> None:
        """Take what the broker received. An idle topic's go out now, a busy topic's at the end of its window."""
        touched: dict[str, _Channel] = {}
        for publication in publications:
            channel = self._channels.get(publication.topic.name)
            if channel is None:
                continue
            for subscriber, join in list(channel.joining.items()):
                join.add_live(publication)
                if subscriber.joining_too_slowly(join):
                    del channel.joining[subscriber]
            channel.pending.append(publication)
            touched[publication.topic.name] = channel
        for channel in touched.values():
            if channel.window is None:
                self._flush(channel)
                self._open_window(channel)

    def on_settled(self, topic: Topic, position: Position) -> None:
        """Publications that were delivered provisionally have their places now: tell where everybody stands."""
        channel = self._channels.get(topic.name)
        if channel is None:
            return
        self._flush(channel)
        channel.position = position
        for subscriber in list(channel.live):
            subscriber.moved(topic, position)

    def on_lost(self, topic: Topic) -> None:
        """The topic's log was lost, or reaches back not far enough: nobody here can go on from where they are, but for
        those who have not yet been told where that is."""
        channel = self._channels.get(topic.name)
        if channel is None:
            return
        channel.pending = []
        channel.position = None
        told = [subscriber for subscriber, join in channel.joining.items() if join.history is not None]
        for subscriber in [*channel.live, *told]:
            subscriber.position_lost(topic)

    def _open_window(self, channel: _Channel) -> None:
        channel.window = self._clock.call_later(self._window_seconds, lambda: self._window_over(channel))

    def _window_over(self, channel: _Channel) -> None:
        if channel.pending:
            self._flush(channel)
            self._open_window(channel)
        else:
            channel.window = None

    def _flush(self, channel: _Channel) -> None:
        publications = channel.pending
        if not publications:
            return
        channel.pending = []
        placed = next((p for p in reversed(publications) if not p.is_provisional), None)
        if placed is not None:
            channel.position = placed.position
        if channel.topic.kind is Kind.STATE:
            publications = conflate(publications)
        batch = Batch([publication.frame for publication in publications])
        for subscriber in list(channel.live):
            subscriber.deliver(publications, batch)
        deliveries = len(publications) * len(channel.live)
        if deliveries:
            self._metrics.delivered(deliveries, batch.size_bytes * len(channel.live))
