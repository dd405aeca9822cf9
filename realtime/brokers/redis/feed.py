"""One subscribed topic, as this process follows it: what comes next, what is missing, what it delivered by itself.

Pure: whoever calls it does the reading. Publications come from pub/sub (which may lose some), from the confirmations of
what this process stored, and from history; by their offsets each is delivered once, in order.

While the broker is away, publications of this process are delivered provisionally, without an offset. When the same
publications come back with their places they are recognised by their numbers and not delivered again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from realtime.brokers.redis.codec import NO_ONCE, Received, once_of
from realtime.publication import Draft, History, Position, Publication, conflate
from realtime.topic import Kind, Topic

MAX_HELD = 10_000


class ReadResult(msgspec.Struct, frozen=True):
    """What Redis answered: `items` is everything after the position asked for when `recovered`, and for a state topic
    always every value."""

    position: Position
    recovered: bool
    items: Sequence[Received]


class Delivery(msgspec.Struct, frozen=True):
    """What to tell the listener: publications, then where everybody stands, or that the position was lost."""

    publications: Sequence[Publication] = ()
    settled: Position | None = None
    lost: bool = False


NOTHING = Delivery()


class TopicFeed:
    """`publisher` is this process' name in publications; `away_epoch` stands in for an epoch that nobody knows."""

    def __init__(self, topic: Topic, publisher: bytes, away_epoch: str) -> None:
        self.topic = topic
        self.position: Position | None = None
        self.ms = 0  # when the publication at `position` was made, by Redis' clock; 0 where it was not seen
        self.in_step = False  # whether every publication up to `position` was delivered and the next one is awaited
        self._publisher = publisher
        self._away_epoch = away_epoch
        self._joined_blindly = False
        self._left_epochs: set[str] = set()  # what still arrives of them is of a log that is no more
        self._doubted_epochs: set[str] = set()
        self._highest_offset = 0
        self._held: list[Received] = []
        self._provisional: dict[int, Publication] = {}
        self._provisional_once: dict[bytes, int] = {}
        self._provisional_count = 0
        self._last_own_number = 0  # of those of this process that came back; they come in order

    @property
    def has_provisional(self) -> bool:
        """Whether publications were delivered that have no place yet."""
        return bool(self._provisional)

    # From Redis

    def receive(self, item: Received) -> Delivery:
        """A publication that was heard, or that this process stored. When `in_step` is False afterwards, the
        history after `position` is needed."""
        publication, here = item.publication, self.position
        position = publication.position
        if position.epoch in self._left_epochs:
            return NOTHING
        self._highest_offset = max(self._highest_offset, position.offset)
        if not self.in_step:
            self._hold(item)
            return NOTHING
        comes_next = here is not None and position.epoch == here.epoch and position.offset == here.offset + 1
        if comes_next and not self._provisional:  # what nearly everything is
            self.position, self.ms = position, item.ms
            self._settle(item)
            return Delivery((publication,))
        return self._go_on([item])

    def is_done_with(self, position: Position) -> bool:
        """Whether `receive` would find nothing new in a publication there: it came before, another way."""
        return self.in_step and not self._provisional and self.has_reached(position)

    def begin_at(self, position: Position) -> None:
        """Somebody read the topic up to here before it was subscribed: what comes later is owed."""
        self.position = self.position or position

    def has_reached(self, position: Position) -> bool:
        """Whether everything up to there was delivered."""
        here = self.position
        return here is not None and here.epoch == position.epoch and here.offset >= position.offset

    def out_of_step(self) -> None:
        """Publications may have been missed: hold back what comes until `catch_up`."""
        self.in_step = False

    def catch_up(self, result: ReadResult) -> Delivery:
        """Take the history after `position`, and what was held back meanwhile."""
        held, self._held = self._without_old_epochs(self._held, result.position.epoch), []
        before, self.position = self.position, self.position or result.position
        self.in_step = True
        self._highest_offset = max(self._highest_offset, result.position.offset)
        log_is_broken = self.topic.kind is Kind.LOG and not result.recovered
        if before is None or before.epoch != result.position.epoch or log_is_broken:
            return self._start_anew(result, held, lost=before is not None or self._joined_blindly)
        delivery = self._go_on(result.items, complete_up_to=result.position.offset)
        return self._and_then(delivery, self._go_on(held))

    def _without_old_epochs(self, held: list[Received], epoch: str) -> list[Received]:
        """What is held of another epoch than Redis answers with may be newer than the answer; what still is of another
        one at the next answer is older."""
        others = {item.publication.position.epoch for item in held} - {epoch}
        self._left_epochs |= others & self._doubted_epochs
        self._doubted_epochs = others - self._left_epochs
        return [item for item in held if item.publication.position.epoch not in self._left_epochs]

    # While Redis is away

    def deliver_provisionally(self, number: int, draft: Draft) -> Publication | None:
        """A publication of this process, for those who listen here. None when they have it already."""
        once = once_of(draft)
        if number <= self._last_own_number or number in self._provisional or once in self._provisional_once:
            return None
        if once != NO_ONCE:
            self._provisional_once[once] = number
        self._provisional_count += 1
        publication = Publication(draft.topic, draft.body, draft.key, self._local_position())
        self._provisional[number] = publication
        return publication

    def own_held(self) -> list[tuple[int, Draft]]:
        """Stored publications of this process that were held back, with their numbers."""
        return [
            (item.number, Draft(self.topic, item.publication.body, item.publication.key))
            for item in self._held
            if item.publisher == self._publisher
        ]

    def forget_provisional(self, number: int) -> None:
        """It will never get a place: it was dropped, refused, or published before by somebody else."""
        self._provisional.pop(number, None)
        self._settle_count()

    def local_view(self, since: Position | None) -> History:
        """The topic as far as this process knows it without Redis."""
        here = self._local_position()
        publications = list(self._provisional.values())
        if self.position is None:
            self._joined_blindly = True
            return History(here, publications if self.topic.kind is Kind.STATE else (), recovered=False)
        if self.topic.kind is Kind.STATE:
            return History(here, conflate(publications), recovered=False)
        recovered = since is not None and since.place == (self.position.offset, 0) and since.epoch == here.epoch
        return History(here, publications if recovered else (), recovered=recovered)

    # Inner workings

    def _go_on(self, items: Iterable[Received], complete_up_to: int = 0) -> Delivery:
        """Deliver what follows `position`. Up to `complete_up_to` gaps are none: those values were overwritten."""
        assert self.position is not None, "in step means that there is a position"  # noqa: S101 - narrows the type
        publications: list[Publication] = []
        settled = False
        for item in sorted(items, key=lambda item: item.publication.offset):
            publication, position = item.publication, self.position
            same_epoch = publication.position.epoch == position.epoch
            if same_epoch and publication.offset <= position.offset:
                self._settle(item)  # a state's value that another one has replaced meanwhile has its place, too
                continue
            follows = publication.offset <= complete_up_to or publication.offset == position.offset + 1
            if not (self.in_step and same_epoch and follows):
                self.in_step = False
                self._hold(item)
                continue
            self.position, self.ms = publication.position, item.ms
            settled = self._settle(item)
            if not settled or self.topic.kind is Kind.STATE:  # another process' value may have come in between
                publications.append(publication)
        if self.position.offset < complete_up_to:
            self.position, self.ms = Position(self.position.epoch, complete_up_to), 0
        self._settle_count()
        return Delivery(publications, self.position if settled else None)

    @staticmethod
    def _and_then(first: Delivery, second: Delivery) -> Delivery:
        last = second if second.publications or second.settled else first
        return Delivery((*first.publications, *second.publications), last.settled, lost=first.lost)

    def _start_anew(self, result: ReadResult, held: list[Received], *, lost: bool) -> Delivery:
        if self.position is not None and self.position.epoch != result.position.epoch:
            self._left_epochs.add(self.position.epoch)
            held = [item for item in held if item.publication.position.epoch != self.position.epoch]
        self.position, self.ms = result.position, 0
        self._joined_blindly = False
        self._provisional.clear()
        if lost:
            self._highest_offset = result.position.offset
        return self._and_then(Delivery(lost=lost), self._go_on(held))

    def _local_position(self) -> Position:
        epoch = self.position.epoch if self.position else self._away_epoch
        return Position(epoch, self._highest_offset, self._provisional_count)

    def _settle(self, item: Received) -> bool:
        """Whether those who listen here have it already: this process delivered it provisionally, or the same
        publication (by its idempotency key) that another process stored first."""
        number = self._provisional_once.get(item.once, 0)
        if item.publisher == self._publisher:
            number = item.number
            self._last_own_number = max(self._last_own_number, number)
        return self._provisional.pop(number, None) is not None

    def _settle_count(self) -> None:
        if not self._provisional:
            self._provisional_count = 0
            self._provisional_once.clear()

    def _hold(self, item: Received) -> None:
        if len(self._held) >= MAX_HELD:
            self._held.clear()  # the history has them; what comes after it is a gap, and read again
        self._held.append(item)
