"""The numbers of the system stream: this process and its host, the market's feed, and the workers.

Engines and job workers are in one process of the system. What it publishes, the others hand on when they are asked; and
when it publishes nothing any more, they say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec
from django.db import DatabaseError
from msgspec import UNSET

from apps.ai_studio import payloads, topics, websocket_utils
from apps.ai_studio.celery_watch import CeleryWatch
from apps.ai_studio.engines_report import UNSET_FEED, EnginesEar, Feed
from apps.ai_studio.host import HostMeter
from apps.ai_studio.workforce import workers
from apps.streaming.health import health_report
from apps.streaming.runtime import runtime
from apps.streaming.threads import in_database, in_engine_thread
from engines.market.data import MarketData

STALE = " (stale)"

_host = HostMeter()


class Report(msgspec.Struct, frozen=True):
    """The system in detail. `workers` None: not known here, or not now. `is_told`: another process told it."""

    status: payloads.SystemStatus
    workers: list[payloads.Worker] | None
    is_told: bool = False

    @property
    def state(self) -> tuple[object, ...]:
        """What is published at once when it is another: everything but the numbers."""
        status = self.status
        told = (status.status, status.broker, status.redis, status.database, status.degraded_since, status.feed)
        return (*told, frozenset((each.name, each.alive, each.busy) for each in self.workers or ()))


async def report() -> Report:
    """The system as this process sees it. For the process whose engines run."""
    try:
        found = await in_engine_thread(workers)(detail=True)
    except DatabaseError:
        found = None  # the status says it
    return Report(await _status(_own_feed(), found, detail=True), found)


async def report_without_engines() -> Report | None:
    """The system as this process sees it when nobody's engines run: what is told then. None while somebody's do, or
    when that cannot be known."""
    if runtime().market is not None:
        return None
    heard = await ear().listen(topics.system())
    if not heard.are_away:
        return None
    found = await _workers_by_the_database(detail=True)
    # The broker hands it on until the engines are back: numbers of a host would be old by then.
    return Report(await _status(heard.feed, found, detail=False, is_well=False), found, is_told=heard.is_told)


async def publish() -> None:
    """Tell everybody who watches the system. Where no engines run, nothing is known of workers, and nothing said."""
    if runtime().market is not None:
        publish_report(await report())
        return
    heard = await ear().listen(topics.system())
    feed = heard.feed if heard.are_away else UNSET_FEED
    websocket_utils.notify_system_status(await _status(feed, None, detail=True, is_well=not heard.are_away))


def publish_report(found: Report) -> None:
    """Tell it."""
    websocket_utils.notify_system_status(found.status)
    if found.workers is not None:
        websocket_utils.notify_worker_status(found.workers)


async def status(*, detail: bool) -> payloads.SystemStatus:
    """How the system is; with host and connections of this process where `detail`."""
    return (await snapshot(detail=detail))[0]


async def snapshot(*, detail: bool) -> tuple[payloads.SystemStatus, Sequence[payloads.Worker]]:
    """What a client that asks is told: of feed and workers, where no engines run, what was published last."""
    if runtime().market is not None:
        found = await _workers_by_the_database(detail=detail)
        return await _status(_own_feed(), found, detail=detail), found or []
    heard = await ear().listen(topics.system_detail() if detail else topics.system())
    found = heard.workers if heard.workers is not None else await _workers_by_the_database(detail=detail)
    return await _status(heard.feed, found, detail=detail, is_well=not heard.are_away), found or []


async def _workers_by_the_database(*, detail: bool) -> list[payloads.Worker] | None:
    try:
        return await in_database(workers, detail=detail)
    except DatabaseError:
        return None  # the status says it


@cache
def ear() -> EnginesEar:
    """This process's."""
    return EnginesEar(runtime().clock)


# The status


async def _status(
    feed: Feed, found: Sequence[payloads.Worker] | None, *, detail: bool, is_well: bool = True
) -> payloads.SystemStatus:
    health = await health_report()
    well = is_well and health["status"] == "ok" and not str(feed.feed).endswith(STALE) and _jobs_are_taken(found)
    host: Any = UNSET
    if detail:
        host = {**await _host.numbers(), "event_loop_lag_ms": health["event_loop_lag_ms"]}
    return payloads.SystemStatus(
        status="ok" if well else "degraded",
        broker=health["broker"]["kind"],
        redis=health["redis"],
        degraded_since=runtime().broker.status.degraded_since or UNSET,
        database=health["database"],
        feed=feed.feed,
        feed_age_seconds=feed.feed_age_seconds,
        feed_rejected=UNSET if feed.feed_rejected is UNSET else dict(feed.feed_rejected),
        host=host,
        connections=health["connections"] if detail else UNSET,
    )


def _jobs_are_taken(found: Sequence[payloads.Worker] | None) -> bool:
    """Whether somebody runs jobs; as far as it is known here."""
    watch = CeleryWatch.of_this_process
    if watch is not None and watch.asked and not watch.connected:
        return False
    if watch is not None and watch.asked and not found:
        return False
    return not found or any(worker.alive is not False for worker in found)


def _own_feed() -> Feed:
    market = runtime().market
    if market is None:
        return Feed()
    age_seconds = market.quote_age_seconds
    return Feed(_description(market), None if age_seconds is None else round(age_seconds, 2), dict(market.rejected))


def _description(market: MarketData) -> str:
    return market.feed.description + (" (ended)" if market.ended else STALE if market.is_stale else "")
