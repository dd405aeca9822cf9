"""The transactional outbox: a publication is written with the fact, and published even if the process dies in between.

Whoever commits publishes at once; what is left in the table (the process died, the broker was away) is published by the
relay. Both use the same idempotency key, so that it is published once.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Sequence
from datetime import timedelta

import msgspec
from channels.db import database_sync_to_async
from django.db import DatabaseError
from django.db.models import Count, Min
from django.utils import timezone

from apps.streaming.background import Background
from apps.streaming.metrics import OUTBOX_LAG, OUTBOX_WAITING
from apps.streaming.models import OutboxEntry
from realtime.brokers.base import Broker
from realtime.errors import BrokerAway
from realtime.leases.base import Leases
from realtime.publication import Draft
from realtime.topic import Kind, Topic

log = logging.getLogger(__name__)

RELAY_SECONDS = 1.0
LEFT_AFTER_SECONDS = 1.0  # younger ones are being published by whoever committed them
LEASE = "outbox-relay"
LEASE_SECONDS = 5.0
BATCH = 500


def write(draft: Draft) -> tuple[OutboxEntry, Draft]:
    """Keep a draft in the database, as a part of the running transaction; and the draft to publish on commit."""
    keyed = draft if draft.idempotency_key else msgspec.structs.replace(draft, idempotency_key=secrets.token_hex(16))
    entry = OutboxEntry.objects.create(
        topic=keyed.topic.name,
        kind=keyed.topic.kind.value,
        key=keyed.key,
        body=keyed.body,
        idempotency_key=keyed.idempotency_key,
        created_at=timezone.now(),
    )
    return entry, keyed


class OutboxRelay:
    """Publishes what was left behind. One process of a cluster does it at a time."""

    def __init__(self, broker: Broker, leases: Leases, process_id: str) -> None:
        self._broker = broker
        self._leases = leases
        self._process_id = process_id
        self._work = Background(self.relay, RELAY_SECONDS)

    def ensure_running(self) -> None:
        self._work.ensure_running()

    async def stop(self) -> None:
        """End, and leave nothing behind that was published: the next process need not publish it again."""
        if await self._work.stop():
            try:
                await self.relay(left_after_seconds=0.0)
            except DatabaseError:
                log.exception("what is in the outbox stays for the next process")

    async def relay(self, left_after_seconds: float = LEFT_AFTER_SECONDS) -> int:
        """Publish everything that was left behind; how much that was. What the broker does not take stays."""
        published = 0
        while await database_sync_to_async(_oldest_seconds)() > left_after_seconds:
            if self._broker.status.degraded_since is not None:
                break  # what is queued there already would only be queued once more
            try:
                if not await self._leases.hold(LEASE, self._process_id, LEASE_SECONDS):
                    break
            except BrokerAway:
                break
            entries = await database_sync_to_async(_left_behind)(left_after_seconds)
            answers = await asyncio.gather(*(self._publish(entry) for entry in entries))
            done = [entry.pk for entry, is_done in zip(entries, answers, strict=True) if is_done]
            await database_sync_to_async(_delete)(done)
            published += len(done)
            if len(done) < len(entries):
                break
        return published

    async def _publish(self, entry: OutboxEntry) -> bool:
        """Whether the entry is done with: stored, or never to be."""
        try:
            draft = Draft(Topic(entry.topic, Kind(entry.kind)), bytes(entry.body), entry.key, entry.idempotency_key)
            return await self._broker.publish(draft) is not None
        except ValueError:  # no such kind, or `InvalidTopic`: it would be refused again and again
            log.exception("the outbox held a publication that nobody can take: %s", entry)
            return True


def _oldest_seconds() -> float:
    """How long the oldest entry has waited. Also shows it, and how many wait, in the metrics."""
    waiting = OutboxEntry.objects.aggregate(count=Count("pk"), oldest=Min("created_at"))
    seconds = (timezone.now() - waiting["oldest"]).total_seconds() if waiting["oldest"] else 0.0
    OUTBOX_WAITING.set(waiting["count"])
    OUTBOX_LAG.set(seconds)
    return seconds


def _left_behind(left_after_seconds: float) -> Sequence[OutboxEntry]:
    return list(
        OutboxEntry.objects.filter(created_at__lt=timezone.now() - timedelta(seconds=left_after_seconds))[:BATCH]
    )


def _delete(ids: Sequence[int]) -> None:
    OutboxEntry.objects.filter(pk__in=ids).delete()
