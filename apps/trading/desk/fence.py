"""Two processes never both write books: whoever begins takes a new term, and an older term is over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date

from django.db import transaction

from apps.trading import bookkeeping, models

_ONLY = 1


class TermOver(RuntimeError):
    """Another process has taken over; this one must not write any more."""


class Fence:
    """Guards every transaction of one engine, from when it began. `same_market`: the engine before had this one, too.
    `day`: the market day that the books are in."""

    def __init__(self, market: str) -> None:
        with transaction.atomic():
            row, _ = models.EngineTerm.objects.select_for_update().get_or_create(pk=_ONLY)
            self.same_market = row.market in ("", market)
            row.term, row.market = row.term + 1, market
            if not self.same_market:
                row.day = None
                bookkeeping.change_market()
            row.save()
        self.term, self.day = row.term, row.day

    def enter_day(self, day: date) -> None:
        """The books are in this market day from now on."""
        models.EngineTerm.objects.filter(pk=_ONLY, term=self.term).update(day=day)
        self.day = day

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """A transaction that nobody's beginning comes between. Raises `TermOver`."""
        with transaction.atomic():
            row = models.EngineTerm.objects.select_for_update().get(pk=_ONLY)
            if row.term != self.term:
                raise TermOver(f"term {self.term} is over: another process runs the engines, in term {row.term}")
            yield
