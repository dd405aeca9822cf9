"""Drives AI Studio: what closed bars lead to, and what happens by the clock. Each room does one thing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

from apps.ai_studio import housekeeping
from apps.ai_studio.bar_store import BarStore
from apps.ai_studio.dashboard import DashboardBoard
from apps.ai_studio.deployed_models import DeployedModels
from apps.ai_studio.earnings import EarningsBoard
from apps.ai_studio.jobs.room import JobRoom
from apps.ai_studio.monitoring_room import MonitoringRoom
from apps.ai_studio.prediction_room import PredictionRoom
from apps.ai_studio.system_watch import SystemWatch
from apps.streaming.background import every
from apps.streaming.runtime import runtime
from apps.streaming.threads import in_engine_thread
from engines.market.data import MarketData, MarketUpdate
from engines.market.quotes import Bar

log = logging.getLogger(__name__)

JOBS_SECONDS = 1.0
SYSTEM_SECONDS = 1.0  # it publishes at most every 5, or at a change
DASHBOARD_SECONDS = 2.0
MONITORING_SECONDS = 5.0
LENGTHS_SECONDS = 10.0
EARNINGS_SECONDS = 10.0
HOUSEKEEPING_SECONDS = 60.0
PRUNE_SECONDS = 3_600.0


class StudioRunner:
    """One per process that runs engines. `start`, then `run` as a task, then `stop`."""

    def __init__(self, market: MarketData) -> None:
        self._clock = runtime().clock
        self._market = market
        self._store = BarStore(market)
        deployed = DeployedModels()
        self._monitoring = MonitoringRoom(deployed, self._clock.monotonic)
        self._predictions = PredictionRoom(self._store, deployed, self._monitoring, self._clock.monotonic)
        self._jobs = JobRoom()
        self._dashboards = DashboardBoard()
        self._earnings = EarningsBoard()
        self._system = SystemWatch()

    async def start(self) -> None:
        """Go on from what the database holds."""
        await in_engine_thread(self._begin)()
        self._market.listen(self.on_market)
        await in_engine_thread(self._jobs.start)()
        log.info("AI Studio follows the %s", self._market.feed.description)

    async def run(self) -> None:
        """Everything that happens by the clock rather than by the market, each at its own pace: what fails is logged,
        and tried again the next time."""
        await asyncio.gather(
            every(JOBS_SECONDS, in_engine_thread(self._jobs.tick)),
            every(SYSTEM_SECONDS, self._system.look),
            every(DASHBOARD_SECONDS, self._dashboards.publish),
            every(MONITORING_SECONDS, in_engine_thread(self._monitoring.publish)),
            every(LENGTHS_SECONDS, in_engine_thread(self._store.refresh)),
            every(EARNINGS_SECONDS, self._earnings.publish),
            every(HOUSEKEEPING_SECONDS, in_engine_thread(housekeeping.tidy)),
            every(PRUNE_SECONDS, in_engine_thread(self._store.prune)),
        )

    async def stop(self) -> None:
        """Give back what is held, and keep what monitoring saw. One room's trouble must not keep the others from it."""
        ended = await asyncio.gather(
            in_engine_thread(self._monitoring.save)(),
            self._dashboards.close(),
            self._system.stop(),
            asyncio.to_thread(self._jobs.stop),  # it waits for a thread of its own; the engines' must not
            return_exceptions=True,
        )
        for error in ended:
            if isinstance(error, Exception):
                log.error("a part of AI Studio did not stop cleanly", exc_info=error)

    async def on_market(self, update: MarketUpdate) -> None:
        """Take the bars that closed."""
        if self._store.wants(update.bars):
            await in_engine_thread(self._on_bars)(update.bars, self._clock.monotonic())

    def _begin(self) -> None:
        self._store.begin(self._clock.now())
        self._predictions.refresh()

    def _on_bars(self, closed: Mapping[int, Sequence[Bar]], arrived_monotonic: float) -> None:
        kept = self._store.take(closed)
        _guarded(
            lambda: self._predictions.on_bars(kept, arrived_monotonic),
            "nothing was predicted on the bars that closed; outcomes that they tell are settled with the next bars",
        )
        _guarded(self._store.write, "the bars that closed could not be stored; they are stored with the next")


def _guarded(step: Callable[[], object], trouble: str) -> None:
    """One room's trouble must not stop the others. `trouble`: what is lost, and what is not."""
    try:
        step()
    except Exception:
        # Nothing of the step counts: it was one transaction.
        log.exception("%s", trouble)
