"""`RedisBroker`: puts the parts together. Publishing is thread-safe; everything else belongs to the attached loop."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import secrets
import weakref
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from realtime.brokers.base import BrokerListener, BrokerStatus
from realtime.brokers.redis import codec, scripts
from realtime.brokers.redis.ears import Ears, Message
from realtime.brokers.redis.feed import Delivery, ReadResult, TopicFeed
from realtime.brokers.redis.reader import Question, Reader
from realtime.brokers.redis.sender import Outcome, Sender
from realtime.brokers.redis.sendqueue import Confirmed, Entry, SendQueue
from realtime.brokers.redis.servers import connect
from realtime.clock import Clock
from realtime.errors import BrokerAway, BrokerClosed
from realtime.metrics import Metrics, NullMetrics
from realtime.publication import Draft, History, Position, Publication
from realtime.topic import RetentionRules, Topic

log = logging.getLogger(__name__)

GRACE_SECONDS = 1.0  # trouble shorter than this is waited out; longer is an outage
TIMER_MARGIN_SECONDS = 0.05  # timers may ring a little early
CHECK_SECONDS = 30.0
RETRY_SECONDS = 0.1
CONFIRM_SECONDS = 2.0
CLOSE_SECONDS = 2.0
REFUSALS_LOGGED_EVERY = 1_000

_brokers: weakref.WeakSet[RedisBroker] = weakref.WeakSet()


class RedisBroker:
    """See `realtime.brokers.base.Broker`. `queue_count` bounds what waits while Redis is away. Raises
    `InvalidBrokerUrl`; never anything because Redis is not there."""

    def __init__(
        self,
        url: str,
        clock: Clock,
        *,
        prefix: str = "sharewise",
        retention: RetentionRules | None = None,
        metrics: Metrics | None = None,
        queue_count: int = 50_000,
    ) -> None:
        self._servers = connect(url)
        self._clock = clock
        self._names = scripts.Names(prefix, self._servers.database)
        self._retention = functools.lru_cache(maxsize=10_000)((retention or RetentionRules()).for_topic)
        self._metrics = metrics or NullMetrics()
        self._queue_count = queue_count
        self._closed = False
        self._start_publishing()
        self._start_listening(None)
        _brokers.add(self)

    def _start_publishing(self) -> None:
        """What publishing needs; anew in a forked process, which is a publisher of its own and owes nothing."""
        self._process_id = secrets.token_hex(6)
        self._queue = SendQueue(self._queue_count, self._on_dropped)
        self._sender = Sender(
            self._servers,
            self._names,
            self._queue,
            process_id=self._process_id,
            retention=self._retention,
            new_epoch=_new_epoch,
            on_stored=lambda outcomes: self._in_loop(self._on_stored, outcomes),
            on_trouble=lambda: self._in_loop(self._on_sender_trouble),
        )

    def _start_listening(self, listener: BrokerListener | None) -> None:
        self._listener = listener
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._client: Any = None
        self._ears: Ears | None = None
        self._reader: Any = None
        self._feeds: dict[str, TopicFeed] = {}
        self._ready: dict[str, asyncio.Future[None]] = {}
        self._behind: dict[str, None] = {}
        self._behind_changed = asyncio.Event()
        self._troubles: dict[str, tuple[float, datetime, str]] = {}  # of whom: since when, and what
        self._said_away = False
        self._serving_alone = False
        self._unplaced: list[Entry] = []

    # Listening

    def attach(self, listener: BrokerListener) -> None:
        self._stop_listening()
        self._start_listening(listener)
        loop = self._loop = asyncio.get_running_loop()
        self._client = self._servers.async_client()
        self._reader = Reader(self._servers, self._names, self._client, self._retention, _new_epoch)
        self._ears = Ears(
            self._servers,
            self._names,
            self._client,
            on_messages=self._on_messages,
            on_heard=self._on_heard,
            on_deaf=self._on_deaf,
            on_trouble=functools.partial(self._on_trouble, "ears"),
        )
        self._tasks = [
            loop.create_task(self._ears.run()),
            loop.create_task(self._keep_up()),
            loop.create_task(self._check_regularly()),
        ]

    async def subscribe(self, topic: Topic) -> None:
        ears = self._listening()
        if topic.name not in self._feeds:
            self._feeds[topic.name] = self._new_feed(topic)
            self._ready[topic.name] = asyncio.get_running_loop().create_future()
            ears.listen(topic.name)
        ready = self._ready.get(topic.name)
        if ready is not None and not self._is_away("ears"):
            await asyncio.shield(ready)

    def unsubscribe(self, topic: Topic) -> None:
        if self._feeds.pop(topic.name, None) is not None and self._ears is not None:
            self._behind.pop(topic.name, None)
            self._now_ready(topic.name)
            self._ears.ignore(topic.name)

    async def read(self, topic: Topic, since: Position | None = None) -> History:
        self._listening()
        feed = self._feeds.get(topic.name) or self._new_feed(topic)
        while not feed.has_provisional:  # until those have their places, only this process knows them
            try:
                result = await self._reader.read(Question(topic, since))
            except BrokerAway as away:
                self._on_trouble("reader", str(away))
                if self._is_away("reader"):
                    break
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self._on_trouble("reader", "")
                feed.begin_at(result.position)
                return _history(result)
        return feed.local_view(since)

    # Publishing

    async def publish(self, draft: Draft) -> Position | None:
        return (await self.publish_many((draft,)))[0]

    async def publish_many(self, drafts: Sequence[Draft]) -> list[Position | None]:
        if not drafts:
            return []
        loop = asyncio.get_running_loop()
        positions: list[Position | None] = [None] * len(drafts)
        problems: list[Exception] = []
        finished = loop.create_future()
        unconfirmed = set(range(len(drafts)))

        def confirm(index: int, position: Position | None, error: Exception | None) -> None:
            positions[index] = position
            if error is not None:
                problems.append(error)
            unconfirmed.discard(index)
            if not unconfirmed:
                _call(loop, _finish, finished)

        for index, draft in enumerate(drafts):
            self._put(draft, functools.partial(confirm, index))
        try:
            async with asyncio.timeout(CONFIRM_SECONDS):
                while not finished.done() and not self._sender.trouble:
                    await asyncio.wait((finished,), timeout=RETRY_SECONDS)
        except TimeoutError:
            pass  # it is kept, and stored later
        await asyncio.sleep(0)  # what this loop heard of them by now goes out first
        if problems:
            raise problems[0]
        return list(positions)

    def publish_soon(self, draft: Draft) -> None:
        self._put(draft)

    def forget_soon(self, topic: Topic, key: str) -> None:
        self._queue.put(topic, None, key)
        self._sender.ensure_running()

    def settle(self, timeout_seconds: float) -> bool:
        return self._queue.wait_settled(timeout_seconds, lambda: bool(self._sender.trouble))

    def _put(self, draft: Draft, confirmed: Confirmed | None = None) -> None:
        if self._closed:
            raise BrokerClosed("the Redis broker was closed")
        entry = self._queue.put(draft.topic, draft, draft.key, confirmed, self._place)
        self._sender.ensure_running()
        if entry is not None:
            self._metrics.published(1)
            return
        self._metrics.refused(1)
        if self._queue.refused % REFUSALS_LOGGED_EVERY == 1:
            log.error("Redis is away and the queue is full: %d publications were refused", self._queue.refused)
        if confirmed is not None:
            confirmed(None, None)

    def _place(self, entry: Entry) -> None:
        """Called in order, with the queue's lock held."""
        if self._serving_alone:
            self._unplaced.append(entry)
            if len(self._unplaced) == 1:
                self._in_loop(self._serve_alone)

    # How it is

    @property
    def status(self) -> BrokerStatus:
        since = min((at for who, (_, at, _) in list(self._troubles.items()) if self._is_away(who)), default=None)
        return BrokerStatus(
            kind="redis",
            topics=len(self._feeds),
            queued=len(self._queue),
            refused=self._queue.refused,
            degraded_since=since,
            problem="; ".join(sorted({what for _, _, what in list(self._troubles.values())})) if since else "",
        )

    async def close(self) -> None:
        self._closed = True
        await asyncio.to_thread(self.settle, CLOSE_SECONDS)
        left = len(self._queue)
        if left:
            log.error("%d publications were not stored: Redis is away", left)
        await asyncio.to_thread(self._sender.stop)
        tasks = self._tasks
        self._stop_listening()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._reader is not None:
            await self._reader.close()
        if self._client is not None:
            await self._client.aclose()
        self._start_listening(None)

    def close_publishing(self) -> None:
        """The end of a process that has no event loop: give what is queued a last, short chance."""
        if not self.settle(CLOSE_SECONDS):
            log.error("%d publications were not stored: Redis is away", len(self._queue))

    def after_fork(self) -> None:
        """This is another process now: it must not use the other's sockets, numbers or thread."""
        self._start_publishing()
        self._start_listening(None)

    # What the ears report

    def _on_messages(self, messages: Sequence[Message]) -> None:
        publications: list[Publication] = []
        for name, message in messages:
            feed = self._feeds.get(name)
            if feed is None:
                continue
            try:
                received = codec.decode(feed.topic, message)
            except ValueError:
                log.warning("something that is no publication was published on the channel of %s", name)
                continue
            self._take(feed, feed.receive(received), publications)
        self._hand_over(publications)

    def _on_heard(self, names: Iterable[str]) -> None:
        for name in names:
            if name in self._feeds:
                self._fall_behind(name)

    def _on_deaf(self, names: Iterable[str]) -> None:
        for name in names:
            feed = self._feeds.get(name)
            if feed is not None:
                feed.out_of_step()
        self._metrics.broker_reconnected()

    # What the sender reports

    def _on_stored(self, outcomes: Sequence[Outcome]) -> None:
        publications: list[Publication] = []
        for outcome in outcomes:
            entry, position = outcome.entry, outcome.position
            feed = self._feeds.get(entry.topic.name)
            if feed is not None and entry.draft is not None:
                if position is not None and outcome.ms:
                    placed = Publication(entry.topic, entry.draft.body, entry.draft.key, position)
                    received = codec.Received(placed, outcome.ms, self._process_id.encode(), entry.number)
                    self._take(feed, feed.receive(received), publications)
                elif outcome.error is not None or position is not None:
                    feed.forget_provisional(entry.number)
            if outcome.error is not None:
                log.error("a publication on %s was refused: %s", entry.topic.name, outcome.error)
                self._metrics.refused(1)
        self._hand_over(publications)
        for outcome in outcomes:
            if outcome.entry.confirmed is not None:
                outcome.entry.confirmed(outcome.position, outcome.error)
        if not self._sender.trouble:
            self._on_trouble("sender", "")
            self._serving_alone = False

    def _on_sender_trouble(self) -> None:
        if self._sender.trouble and self._loop is not None:
            self._on_trouble("sender", self._sender.trouble)

    def _on_dropped(self, entry: Entry) -> None:
        self._metrics.refused(1)
        if self._queue.refused % REFUSALS_LOGGED_EVERY == 1:
            log.error("Redis is away and the queue is full: %d old values were dropped", self._queue.refused)
        self._in_loop(self._forget_provisional, entry)

    def _forget_provisional(self, entry: Entry) -> None:
        feed = self._feeds.get(entry.topic.name)
        if feed is not None:
            feed.forget_provisional(entry.number)

    # Outages

    def _on_trouble(self, who: str, what: str) -> None:
        """`ears`, `reader` or `sender` has trouble, or (nothing) has it no more."""
        if not what:
            if self._troubles.pop(who, None) is not None and not self._troubles and self._said_away:
                self._said_away = False
                log.warning("Redis is back")
            return
        if who not in self._troubles:
            self._troubles[who] = (self._clock.monotonic(), self._clock.now(), what)
            self._clock.call_later(GRACE_SECONDS + TIMER_MARGIN_SECONDS, self._grace_is_over)

    def _is_away(self, who: str) -> bool:
        trouble = self._troubles.get(who)
        return trouble is not None and self._clock.monotonic() - trouble[0] >= GRACE_SECONDS

    def _grace_is_over(self) -> None:
        if not self._said_away and any(self._is_away(who) for who in self._troubles):
            self._said_away = True
            log.warning("Redis is away: this process serves its own clients, and keeps what it publishes")
        if self._is_away("ears"):
            for name in list(self._ready):
                self._now_ready(name)
        if self._is_away("sender") and not self._serving_alone:
            publications: list[Publication] = []
            for feed in self._feeds.values():
                for number, draft in feed.own_held():
                    self._deliver_provisionally(feed, number, draft, publications)
            for entry in self._queue.waiting(self._begin_to_serve_alone):
                self._deliver_entry(entry, publications)
            self._hand_over(publications)

    def _begin_to_serve_alone(self) -> None:
        self._serving_alone = True
        self._unplaced.clear()

    def _serve_alone(self) -> None:
        entries, self._unplaced = self._unplaced, []
        publications: list[Publication] = []
        for entry in entries:
            self._deliver_entry(entry, publications)
        self._hand_over(publications)

    def _deliver_entry(self, entry: Entry, publications: list[Publication]) -> None:
        feed = self._feeds.get(entry.topic.name)
        if feed is not None and entry.draft is not None:
            self._deliver_provisionally(feed, entry.number, entry.draft, publications)

    @staticmethod
    def _deliver_provisionally(feed: TopicFeed, number: int, draft: Draft, publications: list[Publication]) -> None:
        publication = feed.deliver_provisionally(number, draft)
        if publication is not None:
            publications.append(publication)

    # Keeping up

    def _fall_behind(self, name: str) -> None:
        self._behind[name] = None
        self._behind_changed.set()

    async def _keep_up(self) -> None:
        """Bring feeds that may have missed something back into step, many at a time."""
        while True:
            await self._behind_changed.wait()
            self._behind_changed.clear()
            names, self._behind = list(self._behind), {}
            results = await asyncio.gather(*(self._catch_up(name) for name in names))
            self._on_trouble("reader", next((result for result in results if result), ""))
            if any(results):
                await asyncio.sleep(RETRY_SECONDS)

    async def _catch_up(self, name: str) -> str:
        """Why it failed, and is tried again; or nothing."""
        feed = self._feeds.get(name)
        if feed is None or self._reader is None:
            return ""
        question = Question(feed.topic, feed.position, feed.ms, content=feed.position is not None)
        was_in_step = feed.in_step
        try:
            result = await self._reader.read(question)
        except BrokerAway as away:
            self._fall_behind(name)
            return str(away)
        if self._feeds.get(name) is not feed:
            return ""
        delivery = feed.catch_up(result)
        if not was_in_step or delivery.publications:
            self._metrics.gap_repaired()
        publications: list[Publication] = []
        self._take(feed, delivery, publications)
        self._hand_over(publications)
        self._now_ready(name)
        return ""

    async def _check_regularly(self) -> None:
        """A quiet topic whose last publication got lost would stay behind unnoticed."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            for name in list(self._feeds):
                self._fall_behind(name)

    # Inner workings

    def _take(self, feed: TopicFeed, delivery: Delivery, publications: list[Publication]) -> None:
        """Collect publications; what else there is to say is said in its turn."""
        publications += delivery.publications
        if delivery.lost or delivery.settled is not None:
            self._hand_over(publications)
            publications.clear()
            if self._listener is not None and delivery.settled is not None:
                self._listener.on_settled(feed.topic, delivery.settled)
            if self._listener is not None and delivery.lost:
                self._metrics.position_lost()
                self._listener.on_lost(feed.topic)
        if not feed.in_step and feed.position is not None:
            self._fall_behind(feed.topic.name)

    def _hand_over(self, publications: Sequence[Publication]) -> None:
        if publications and self._listener is not None:
            self._listener.on_publications(list(publications))

    def _new_feed(self, topic: Topic) -> TopicFeed:
        return TopicFeed(topic, self._process_id.encode(), f"away{self._process_id}")

    def _now_ready(self, name: str) -> None:
        ready = self._ready.pop(name, None)
        if ready is not None and not ready.done():
            ready.set_result(None)

    def _listening(self) -> Ears:
        if self._ears is None:
            raise BrokerClosed("the Redis broker is not attached to this event loop")
        return self._ears

    def _stop_listening(self) -> None:
        if self._ears is not None and self._loop is not None:
            _call(self._loop, self._ears.stop)
        for task in self._tasks:
            _call(task.get_loop(), task.cancel)

    def _in_loop(self, call: Any, *args: Any) -> None:
        if self._loop is not None:
            _call(self._loop, call, *args)
        else:
            call(*args)  # nobody listens here: there is nothing to be in step with


def _call(loop: asyncio.AbstractEventLoop, call: Any, *args: Any) -> None:
    try:
        loop.call_soon_threadsafe(call, *args)
    except RuntimeError:
        log.debug("the event loop is closed: nobody is left to be told")


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _history(result: ReadResult) -> History:
    publications = sorted((item.publication for item in result.items), key=lambda publication: publication.offset)
    return History(result.position, publications, recovered=result.recovered)


def _new_epoch() -> str:
    return secrets.token_hex(4)


def _after_fork_in_child() -> None:
    for broker in list(_brokers):
        broker.after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
