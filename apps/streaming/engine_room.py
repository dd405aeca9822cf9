"""Runs the engines in the one process that may: whoever holds the lease acts, the others stand by."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from asgiref.sync import sync_to_async
from django.conf import settings

from apps.streaming.background import keep_running
from apps.streaming.demo import ensure_demo
from apps.streaming.metrics import ENGINES
from apps.streaming.plugins import Runner, runner_factories
from apps.streaming.runtime import runtime
from apps.streaming.threads import in_engine_thread
from engines.market.data import MarketData
from engines.market.feeds.base import Feed
from realtime.errors import BrokerAway

log = logging.getLogger(__name__)

LEASE = "engines"
LEASE_SECONDS = 8.5
RENEW_SECONDS = 0.5
ANSWER_SECONDS = 2.0
# Who cannot renew begins to stop this long before another may begin. A runner may take two seconds to stop.
STOPPING_SECONDS = 3.5


class EngineRoom:
    """`make_feed` is called each time the engines begin; they begin anew from what the database holds.

    The lease is in Redis (without `REDIS_URL` there is nobody to contend with). A holder that cannot renew it stops
    in time: two processes that act at once would be worse than none for a while.
    """

    def __init__(self, make_feed: Callable[[], Feed]) -> None:
        self._make_feed = make_feed
        self._renewed_monotonic = float("-inf")
        self._runners: list[Runner] = []
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def acts(self) -> bool:
        """Whether the engines run here."""
        return bool(self._tasks)

    async def attend(self) -> None:
        """One look at the lease: begin, go on, stop or stand by accordingly. Call it every `RENEW_SECONDS`."""
        engine = runtime()
        asked_monotonic = engine.clock.monotonic()  # the lease runs from before the question, not after the answer
        deadline_monotonic = self._renewed_monotonic + LEASE_SECONDS - STOPPING_SECONDS
        patience_seconds = min(ANSWER_SECONDS, deadline_monotonic - asked_monotonic) if self.acts else ANSWER_SECONDS
        try:
            async with asyncio.timeout(patience_seconds):
                held = await engine.leases.hold(LEASE, engine.process_id, LEASE_SECONDS)
        except (BrokerAway, TimeoutError):
            held = self.acts and engine.clock.monotonic() + RENEW_SECONDS < deadline_monotonic
            if self.acts and not held:
                log.warning("the engines pause: their lease cannot be renewed while Redis is away")
        else:
            if held:
                self._renewed_monotonic = asked_monotonic
        if held and not self.acts:
            try:
                await self._begin()
            except BaseException:
                await self._let_go()
                raise
        elif not held and self.acts:
            await self._end()

    async def run(self) -> None:
        """Until cancelled."""
        said = False
        while True:
            await self.attend()
            if not self.acts and not said:
                log.info("the engines stand by: another process runs them, or Redis is away")
            said = not self.acts
            await asyncio.sleep(RENEW_SECONDS)

    async def close(self) -> None:
        """Stop the engines, and let another process take over at once."""
        if self.acts:
            await self._end()
            await self._let_go()

    async def _let_go(self) -> None:
        engine = runtime()
        try:
            await engine.leases.let_go(LEASE, engine.process_id)
        except BrokerAway:
            log.debug("the engines' lease runs out by itself")

    async def _begin(self) -> None:
        feed = await asyncio.to_thread(self._make_feed)
        if settings.DEBUG:
            await sync_to_async(ensure_demo)(feed)
        market = runtime().market = MarketData(feed, runtime().clock.monotonic)
        try:
            for factory in runner_factories:
                runner = factory(market)
                await runner.start()
                self._runners.append(runner)
        except BaseException:
            await self._end()
            raise
        calls = [market.run, *(runner.run for runner in self._runners)]
        self._tasks = [asyncio.get_running_loop().create_task(keep_running(call)) for call in calls]
        ENGINES.set(1)

    async def _end(self) -> None:
        tasks, self._tasks = self._tasks, []
        runners, self._runners = self._runners, []
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, *(runner.stop() for runner in runners), return_exceptions=True)
        for error in ended:
            if isinstance(error, Exception):
                log.error("an engine did not stop cleanly", exc_info=error)
        await in_engine_thread(lambda: None)()  # what was begun in the engines' thread has ended now
        runtime().market = None
        ENGINES.set(0)
