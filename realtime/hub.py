"""The process's registry: topic -> connections. Coalesces publications and fans them out; never waits for anyone.

What comes while nothing is going on goes out at once, and opens a window; what comes within the window goes out at its
end, in one write per connection, whatever its topics. Windows widen as the loop falls behind: then each write carries
more, and a delivery costs less.

A pass over thousands of connections is written in slices. Between them the loop serves others, what came meanwhile
for a few goes out, and what came for many joins the mail of each: of those whose turn is still to come in this pass,
or else of the next. Nothing else is said to a connection that has mail: first `hand_over`, because whatever is said
may tell how far the connection has got.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Protocol

from realtime.brokers.base import Broker
from realtime.clock import Clock, TimerHandle
from realtime.errors import TooManyConnections
from realtime.join import Join
from realtime.metrics import Metrics
from realtime.publication import JoinedBatch, Position, Publication, PublicationBatch, conflate
from realtime.topic import Kind, Topic

log = logging.getLogger(__name__)

DEFAULT_WINDOW_SECONDS = 0.005
MAX_WINDOW_SECONDS = 0.025
TICK_SECONDS = 1.0
SLICE = 1_024  # connections that are written to in one turn of the loop: eight milliseconds
FEW = 8  # who has so few listeners does not wait for the end of a pass


class Subscriber(Protocol):
    """What the hub needs of a connection."""

    user_id: str

    def deliver(self, batch: PublicationBatch) -> None:
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

    def failed(self) -> None:
        """Delivering to it raised, which is a bug: end it, so that it takes its messages from history."""
        ...


class _Channel:
    """One topic that someone here listens to."""

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self.position: Position | None = None
        self.live: dict[Subscriber, None] = {}
        self.joining: dict[Subscriber, Join] = {}
        self.pending: list[Publication] = []


class Hub:
    """Belongs to one event loop. All methods but the coroutines are synchronous and quick."""

    def __init__(
        self, broker: Broker, clock: Clock, metrics: Metrics, *, window_seconds: float = DEFAULT_WINDOW_SECONDS
    ) -> None:
        self._broker = broker
        self._clock = clock
        self._metrics = metrics
        self._min_window_seconds = window_seconds
        self._window_due: float | None = None  # None: no window is open
        self._channels: dict[str, _Channel] = {}
        self._dirty: dict[_Channel, None] = {}  # those with something pending
        self._mail: dict[Subscriber, list[PublicationBatch]] = {}  # taken, and not yet written
        self._round: Iterator[Subscriber] = iter(())  # whose turn is to come in the pass that is under way
        self._joined_parts: list[PublicationBatch] = []
        self._joined = JoinedBatch(())
        self._pass_due = 0.0
        self._pass_is_under_way = False
        self._by_user: defaultdict[str, set[Subscriber]] = defaultdict(set)
        self._ticker: TimerHandle | None = None
        self._delivered = self._delivered_bytes = 0  # of this pass
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
        self._post(channel)
        channel.live[subscriber] = None

    def leave(self, subscriber: Subscriber, topics: Iterable[Topic]) -> None:
        """End subscriptions; topics that nobody here listens to any more are released."""
        self.hand_over(subscriber)
        for topic in topics:
            channel = self._channels.get(topic.name)
            if channel is None:
                continue
            channel.live.pop(subscriber, None)
            channel.joining.pop(subscriber, None)
            if not channel.live and not channel.joining:
                del self._channels[topic.name]
                self._dirty.pop(channel, None)
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
        """Take what the broker received: it goes out now, or with what else comes in the window that is open."""
        for publication in publications:
            channel = self._channels.get(publication.topic.name)
            if channel is None:
                continue
            if channel.joining:
                self._keep_for_joining(channel, publication)
            channel.pending.append(publication)
            self._dirty[channel] = None
        if self._dirty and self._window_due is None and not self._pass_is_under_way:
            self._begin_pass(self._clock.monotonic())

    def _keep_for_joining(self, channel: _Channel, publication: Publication) -> None:
        for subscriber, join in list(channel.joining.items()):
            join.add_live(publication)
            if subscriber.joining_too_slowly(join):
                del channel.joining[subscriber]

    def on_settled(self, topic: Topic, position: Position) -> None:
        """Publications that were delivered provisionally have their places now: tell where everybody stands."""
        channel = self._channels.get(topic.name)
        if channel is None:
            return
        self._post(channel)
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

    def _window_over(self) -> None:
        due, self._window_due = self._window_due, None
        if due is not None and (self._dirty or self._mail):
            self._begin_pass(due)

    def _begin_pass(self, due: float) -> None:
        self._pass_due, self._pass_is_under_way = due, True
        channels = list(self._dirty)
        if len(channels) == 1 and len(channels[0].live) <= SLICE and not self._mail:
            self._write_at_once(channels[0])
        else:
            self._collect(channels)
        self._round = iter(list(self._mail))
        self._go_on()

    def _write_at_once(self, channel: _Channel) -> None:
        """One topic, one slice: what a quiet system does all the time. Mail would cost a tenth of the latency."""
        self._dirty.clear()
        batch = self._take(channel)
        if batch is not None:
            for subscriber in list(channel.live):
                self._deliver(subscriber, batch)
        self._report()

    def _collect(self, channels: Iterable[_Channel]) -> None:
        """Put what is pending on these into the mail. The topics with the fewest listeners come first: they cost
        little, and need not wait for the large ones."""
        for channel in sorted(channels, key=lambda channel: len(channel.live)):
            self._post(channel)
        self._report()

    def _post(self, channel: _Channel) -> None:
        """Put what is pending on a channel into the mail of those who listen."""
        self._dirty.pop(channel, None)
        batch = self._take(channel)
        if batch is None:
            return
        mail = self._mail
        for subscriber in channel.live:
            batches = mail.get(subscriber)
            if batches is None:
                mail[subscriber] = [batch]
            else:
                batches.append(batch)

    def _go_on(self) -> None:
        """Write the next slice; after the last, open a window, as long as this pass began late and took to write."""
        turns = list(islice(self._round, SLICE))
        for subscriber in turns:
            self.hand_over(subscriber)
        if len(turns) == SLICE:
            self._clock.call_later(0.0, self._next_slice)
            return
        self._pass_is_under_way = False
        self._joined_parts, self._joined = [], JoinedBatch(())
        now = self._clock.monotonic()
        longest = max(MAX_WINDOW_SECONDS, self._min_window_seconds)
        seconds = min(max(self._min_window_seconds, now - self._pass_due), longest)
        self._window_due = now + seconds
        self._clock.call_later(seconds, self._window_over)

    def _next_slice(self) -> None:
        few = [channel for channel in self._dirty if len(channel.live) <= FEW]
        for channel in few[:SLICE]:
            self._post(channel)
            for subscriber in list(channel.live):
                self.hand_over(subscriber)
        # States wait for the next pass, to be conflated: their older values would only make this one longer.
        self._collect([channel for channel in self._dirty if channel.topic.kind is Kind.LOG])
        self._go_on()

    def hand_over(self, subscriber: Subscriber) -> None:
        """Deliver this connection's mail."""
        batches = self._mail.pop(subscriber, None)
        if batches is None:
            return
        if len(batches) == 1:
            self._deliver(subscriber, batches[0])
            return
        if batches != self._joined_parts:  # those that follow the same topics have the same mail
            self._joined_parts, self._joined = batches, JoinedBatch(batches)
        self._deliver(subscriber, self._joined)

    @staticmethod
    def _deliver(subscriber: Subscriber, batch: PublicationBatch) -> None:
        try:
            subscriber.deliver(batch)
        except Exception:
            log.exception("delivering to a connection failed; it is closed, and the others get theirs")
            try:
                subscriber.failed()
            except Exception:
                log.exception("and it could not be closed, either")

    def _take(self, channel: _Channel) -> PublicationBatch | None:
        """What is pending, as it leaves; from here on the channel counts it as delivered."""
        publications = channel.pending
        if not publications:
            return None
        channel.pending = []
        placed = publications[-1]
        if placed.position.provisional:
            placed = next((p for p in reversed(publications) if not p.is_provisional), placed)
        if not placed.position.provisional:
            channel.position = placed.position
        listeners = len(channel.live)
        if not listeners:
            return None
        if channel.topic.kind is Kind.STATE and len(publications) > 1:
            publications = conflate(publications)
        try:
            batch = PublicationBatch(publications)
        except Exception:
            log.exception("publications on %s cannot be delivered; who follows it is told", channel.topic.name)
            self._metrics.position_lost()
            self.on_lost(channel.topic)
            return None
        self._delivered += len(publications) * listeners
        self._delivered_bytes += batch.size_bytes * listeners
        return batch

    def _report(self) -> None:
        """Once per pass rather than once per topic: a counter costs as much as a frame."""
        self._metrics.delivered(self._delivered, self._delivered_bytes)
        self._delivered = self._delivered_bytes = 0
