"""The numbers of the system stream: this process, its host, and the jobs."""

from __future__ import annotations

import psutil
from asgiref.sync import sync_to_async
from msgspec import UNSET

from apps.ai_studio import messages, models, present, websocket_utils
from apps.ai_studio.worker import JobWorker
from apps.streaming.health import health_report
from apps.streaming.runtime import runtime
from apps.streaming.threads import in_engine_thread
from engines.market.data import MarketData


async def publish() -> None:
    """Tell everybody who watches the system."""
    websocket_utils.notify_system_status(await status(detail=True))
    websocket_utils.notify_worker_status(await in_engine_thread(workers)(detail=True))


async def status(*, detail: bool) -> messages.SystemStatus:
    """How the system is; with host and connections where `detail`."""
    report = await health_report()
    market = runtime().market
    age_seconds = market.quote_age_seconds if market else None
    stale = market is not None and market.is_stale
    well = report["status"] == "ok" and not stale
    host = await sync_to_async(_host)(report["event_loop_lag_ms"]) if detail else UNSET
    return messages.SystemStatus(
        status="ok" if well else "degraded",
        broker=report["broker"]["kind"],
        redis=report["redis"],
        degraded_since=runtime().broker.status.degraded_since or UNSET,
        database=report["database"],
        feed=_feed(market, stale=stale),
        feed_age_seconds=None if age_seconds is None else round(age_seconds, 2),
        feed_rejected=dict(market.rejected) if market else UNSET,
        host=host,
        connections=report["connections"] if detail else UNSET,
    )


def _feed(market: MarketData | None, *, stale: bool) -> str:
    if market is None:
        return "none"
    return market.feed.description + (" (ended)" if market.ended else " (stale)" if stale else "")


def workers(*, detail: bool) -> list[messages.Worker]:
    """The worker of this process; none where no engines run."""
    worker = JobWorker.of_this_process
    if worker is None:
        return []
    status = models.JobStatus
    running = [
        *models.TrainingJob.objects.filter(status=status.RUNNING).select_related("model"),
        *models.Backtest.objects.filter(status=status.RUNNING).select_related("model"),
    ]
    queued = sum(kind.objects.filter(status=status.PENDING).count() for kind in (models.TrainingJob, models.Backtest))
    job = f"{present.job_brief(running[0]).kind} of {running[0].model.name}" if running else None
    return [
        messages.Worker(
            name="embedded",
            busy=bool(running),
            done=worker.done,
            failed=worker.failed,
            queued=queued,
            job=job if detail else UNSET,
        )
    ]


def _host(event_loop_lag_ms: float) -> dict[str, float]:
    process = psutil.Process()
    return {
        "cpu_percent": psutil.cpu_percent(),
        "memory_percent": psutil.virtual_memory().percent,
        "disk_percent": psutil.disk_usage("/").percent,
        "process_memory_mb": round(process.memory_info().rss / 1e6, 1),
        "process_threads": float(process.num_threads()),
        "event_loop_lag_ms": event_loop_lag_ms,
    }
