"""Joining a topic while it goes on: history and live publications merged by offset. Pure, no I/O.

Whoever subscribes registers first and reads history second, so that nothing falls between. What is published
in the meantime arrives twice (live, and in the history); the merge keeps each once.
"""

from __future__ import annotations

from realtime.publication import History, Publication, conflate
from realtime.topic import Kind, Topic


class Join:
    """One subscription from its request until it is live."""

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self.history: History | None = None
        self._live: list[Publication] = []
        self.buffered_bytes = 0
        self._history_taken = False

    def add_live(self, publication: Publication) -> None:
        """Keep a publication that came while history was read. Publications come in order."""
        self._live.append(publication)
        self.buffered_bytes += len(publication.body)

    def take(self) -> list[Publication]:
        """What the connection gets next, in order: first history and what came since, then only what came since.

        When it is empty, the connection has everything and may go live, in the same turn of the loop.
        Before history was read there is nothing to merge with: a programming error, raised as `RuntimeError`.
        """
        if self.history is None:
            raise RuntimeError(f"history of {self.topic.name!r} was not read yet")
        position = self.history.position
        taken = [] if self._history_taken else list(self.history.publications)
        taken += [p for p in self._live if p.position.epoch != position.epoch or p.position.place > position.place]
        self._history_taken = True
        self._live.clear()
        self.buffered_bytes = 0
        return conflate(taken) if self.topic.kind is Kind.STATE else taken
