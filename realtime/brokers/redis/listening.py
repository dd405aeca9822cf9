"""The listening side: one event loop's feeds, kept in step by what is heard, stored and read.

While Redis is away it serves those who listen here from what this process publishes.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from realtime.brokers.base import BrokerListener
from realtime.brokers.redis import codec, scripts
from realtime.brokers.redis.audience import Audience
from realtime.brokers.redis.ears import Ears, Message
from realtime.brokers.redis.feed import Delivery, ReadResult, TopicFeed
from realtime.brokers.redis.publisher import Publisher, call_in, new_epoch
from realtime.brokers.redis.reader import Question, Reader
from realtime.brokers.redis.sender import Outcome
from realtime.brokers.redis.sendqueue import Entry
from realtime.brokers.redis.servers import Servers
from realtime.clock import Clock
from realtime.errors import BrokerAway, InvalidTopic
from realtime.metrics import Metrics
from realtime.publication import Draft, History, Position, Publication
from realtime.topic import Kind, Retention, Topic

log = logging.getLogger(__name__)

GRACE_SECONDS = 1.0  # trouble shorter than this is waited out; longer is an outage
TIMER_MARGIN_SECONDS = 0.05  # timers may ring a little early
CHECK_SECONDS = 30.0
RETRY_SECONDS = 0.1


class Listening:
    """From its making, on the running loop, until `stop`. A `publisher.Follower` of the same process' publisher."""

    def __init__(
        self,
        listener: BrokerListener,
        publisher: Publisher,
        *,
        servers: Servers,
        names: scripts.Names,
        retention: Callable[[str], Retention],
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._listener = listener
        self._publisher = publisher
        self._clock = clock
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._client = servers.async_client()
        self._reader = Reader(servers, names, self._client, retention, new_epoch)
        self._ears = Ears(
            servers,
            names,
            self._client,
            on_messages=self._on_messages,
            on_heard=self._on_heard,
            on_deaf=self._on_deaf,
            on_trouble=functools.partial(self._on_trouble, "ears"),
        )
        self._audience = Audience(servers, names, self._client)
        self._feeds: dict[str, TopicFeed] = {}
        self._ready: dict[str, asyncio.Future[None]] = {}
        self._behind: dict[str, None] = {}
        self._behind_changed = asyncio.Event()
        self._troubles: dict[str, tuple[float, datetime, str]] = {}  # of whom: since when, and what
        self._said_away = False
        self._serving_alone = False
        self._unplaced: deque[Entry] = deque()
        self._tasks = [
            self._loop.create_task(work()) for work in (self._ears.run, self._keep_up, self._check_regularly)
        ]

    # What the broker asks for

    async def subscribe(self, topic: Topic) -> None:
        if topic.name not in self._feeds:
            self._feeds[topic.name] = self._new_feed(topic)
            self._ready[topic.name] = self._loop.create_future()
            self._ears.listen(topic.name)
        ready = self._ready.get(topic.name)
        if ready is not None and not self._cannot_be_asked:
            await asyncio.shield(ready)

    def unsubscribe(self, topic: Topic) -> None:
        if self._feeds.pop(topic.name, None) is not None:
            self._behind.pop(topic.name, None)
            self._now_ready(topic.name)
            self._ears.ignore(topic.name)

    async def read(self, topic: Topic, since: Position | None) -> History:
        feed = self._feeds.get(topic.name) or self._new_feed(topic)
        while not feed.has_provisional:  # until those have their places, only this process knows them
            if self._cannot_be_asked:
                break  # known: nobody needs to wait for an answer
            try:
                result = await self._reader.read(Question(topic, since))
                feed.begin_at(result.position)
                if not feed.has_reached(result.position):
                    # What this history holds must not be delivered once more after its reader has gone live.
                    await self._bring_into_step(feed)
            except BrokerAway as away:
                self._on_trouble("reader", str(away))
                if topic.name in self._feeds:
                    self._fall_behind(topic.name)  # goes on asking, and notices when there are answers again
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self._on_trouble("reader", "")
                if feed.has_reached(result.position):
                    return _history(result)
        return feed.local_view(since)

    async def followed(self, topics: Sequence[Topic]) -> set[str]:
        here = {topic.name for topic in topics if topic.name in self._feeds}
        if self._cannot_be_asked:
            return here
        return here | await self._audience.followed([topic.name for topic in topics if topic.name not in here])

    @property
    def topic_count(self) -> int:
        return len(self._feeds)

    @property
    def degraded_since(self) -> datetime | None:
        """Since when Redis is away; None while all is well."""
        return min((at for who, (_, at, _) in list(self._troubles.items()) if self._is_away(who)), default=None)

    @property
    def problem(self) -> str:
        """What is wrong, for an operator."""
        return "; ".join(sorted({what for _, _, what in list(self._troubles.values())}))

    def stop_soon(self) -> None:
        """From any thread: another listening takes over."""
        call_in(self._loop, self._cancel)

    async def stop(self) -> None:
        self._cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._reader.close()
        await self._client.aclose()

    def _cancel(self) -> None:
        self._ears.stop()
        for task in self._tasks:
            task.cancel()

    # What the ears report

    def _on_messages(self, messages: Sequence[Message]) -> None:
        publications: list[Publication] = []
        for name, message in messages:
            feed = self._feeds.get(name)
            if feed is None:
                continue
            try:
                position = codec.place_of(message)
                if feed.is_done_with(position):
                    continue  # this process published it, and heard first that it is stored
                received = codec.decode(feed.topic, message, position)
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

    # What the publisher reports, from any thread

    def placed(self, entries: Sequence[Entry]) -> None:
        if self._serving_alone:
            self._unplaced.extend(entries)
            call_in(self._loop, self._serve_alone)

    def stored(self, outcomes: Sequence[Outcome], then: Callable[[], None]) -> None:
        if not call_in(self._loop, self._on_stored, outcomes, then):
            then()

    def dropped(self, entry: Entry) -> None:
        call_in(self._loop, self._forget_provisional, entry)

    def troubled(self) -> None:
        call_in(self._loop, self._on_sender_trouble)

    def _on_stored(self, outcomes: Sequence[Outcome], then: Callable[[], None]) -> None:
        publications: list[Publication] = []
        me = self._publisher.process_id.encode()
        for outcome in outcomes:
            entry, position = outcome.entry, outcome.position
            feed = self._feeds.get(entry.topic.name)
            if feed is None or entry.draft is None:
                continue
            if position is not None and outcome.ms:
                if feed.is_done_with(position):
                    continue  # it was heard before
                placed = Publication(entry.topic, entry.draft.body, entry.draft.key, position)
                once = codec.once_of(entry.draft)
                received = codec.Received(placed, outcome.ms, me, entry.number, once)
                self._take(feed, feed.receive(received), publications)
            elif (
                outcome.error is not None
                or (position is not None and feed.has_reached(position))
                or (position is None and entry.topic.kind is Kind.STATE)
            ):
                # Refused, published before by somebody else, or stored by an attempt whose answer got lost, and maybe
                # overwritten since; what was not yet heard is recognised when it is.
                feed.forget_provisional(entry.number)
        self._hand_over(publications)
        then()
        if not self._publisher.trouble:
            self._on_trouble("sender", "")
            self._serving_alone = False

    def _on_sender_trouble(self) -> None:
        self._on_trouble("sender", self._publisher.trouble)

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
        elif who not in self._troubles:
            self._troubles[who] = (self._clock.monotonic(), self._clock.now(), what)
            self._clock.call_later(GRACE_SECONDS + TIMER_MARGIN_SECONDS, self._grace_is_over)

    def _is_away(self, who: str) -> bool:
        trouble = self._troubles.get(who)
        return trouble is not None and self._clock.monotonic() - trouble[0] >= GRACE_SECONDS

    @property
    def _cannot_be_asked(self) -> bool:
        """Redis does not let us hear or read: whoever joins goes on without it."""
        return self._is_away("ears") or self._is_away("reader")

    def _grace_is_over(self) -> None:
        if not self._said_away and any(self._is_away(who) for who in self._troubles):
            self._said_away = True
            log.warning("Redis is away: this process serves its own clients, and keeps what it publishes")
        if self._cannot_be_asked:
            for name in list(self._ready):
                self._now_ready(name)
        if self._is_away("sender") and not self._serving_alone:
            publications: list[Publication] = []
            for feed in self._feeds.values():
                for number, draft in feed.own_held():
                    self._deliver_provisionally(feed, number, draft, publications)
            for entry in self._publisher.queue.waiting(self._begin_to_serve_alone):
                self._deliver_entry(entry, publications)
            self._hand_over(publications)

    def _begin_to_serve_alone(self) -> None:
        self._serving_alone = True
        self._unplaced.clear()

    def _serve_alone(self) -> None:
        publications: list[Publication] = []
        while self._unplaced:
            self._deliver_entry(self._unplaced.popleft(), publications)
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
        if feed is not None:
            try:
                await self._bring_into_step(feed)
            except BrokerAway as away:
                self._fall_behind(name)
                return str(away)
            except InvalidTopic as wrong:
                log.error("%s is subscribed as what it is not: %s", name, wrong)  # noqa: TRY400 - no bug of ours
                ready = self._ready.pop(name, None)
                if ready is not None:
                    ready.set_exception(wrong)
                    ready.exception()  # nobody may be left to hear it
            self._now_ready(name)
        return ""

    async def _bring_into_step(self, feed: TopicFeed) -> None:
        """Read what follows the feed's position, and deliver it. Raises `BrokerAway`."""
        was_in_step = feed.in_step
        result = await self._reader.read(
            Question(feed.topic, feed.position, feed.ms, content=feed.position is not None)
        )
        delivery = feed.catch_up(result)
        if not was_in_step or delivery.publications:
            self._metrics.gap_repaired()
        publications: list[Publication] = []
        self._take(feed, delivery, publications)
        self._hand_over(publications)

    async def _check_regularly(self) -> None:
        """A quiet topic whose last publication got lost would stay behind unnoticed."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            for name in list(self._feeds):
                self._fall_behind(name)

    # Inner workings

    def _take(self, feed: TopicFeed, delivery: Delivery, publications: list[Publication]) -> None:
        """Collect publications; what else there is to say is said in its turn."""
        if delivery.lost:
            # First: what comes after the hole must not reach those who miss what was in it.
            self._hand_over(publications)
            publications.clear()
            self._metrics.position_lost()
            self._listener.on_lost(feed.topic)
        publications += delivery.publications
        if delivery.settled is not None:
            self._hand_over(publications)
            publications.clear()
            self._listener.on_settled(feed.topic, delivery.settled)
        if not feed.in_step and feed.position is not None:
            self._fall_behind(feed.topic.name)

    def _hand_over(self, publications: Sequence[Publication]) -> None:
        if publications:
            self._listener.on_publications(list(publications))

    def _new_feed(self, topic: Topic) -> TopicFeed:
        return TopicFeed(topic, self._publisher.process_id.encode(), f"away{self._publisher.process_id}")

    def _now_ready(self, name: str) -> None:
        ready = self._ready.pop(name, None)
        if ready is not None and not ready.done():
            ready.set_result(None)


def _history(result: ReadResult) -> History:
    publications = sorted((item.publication for item in result.items), key=lambda publication: publication.offset)
    return History(result.position, publications, recovered=result.recovered)
