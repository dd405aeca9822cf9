"""The numbers of the system stream: this process, its host, and the jobs."""

from __future__ import annotations

from typing import Any

import psutil
from asgiref.sync import sync_to_async
from django.db.models import Count, Q
from msgspec import UNSET

from apps.ai_studio import messages, models
from apps.streaming.health import health_report
from apps.streaming.runtime import runtime

STALE_FEED_SECONDS = 30.0


async def status(*, detail: bool) -> messages.SystemStatus:
    """How the system is; with host and connections where `detail`."""
    report = await health_report()
    market = runtime().market
    age_seconds = market.quote_age_seconds if market else None
    stale = age_seconds is not None and age_seconds > STALE_FEED_SECONDS
    well = report["status"] == "ok" and not stale
    host = await sync_to_async(_host)(report["event_loop_lag_ms"]) if detail else UNSET
    return messages.SystemStatus(
        status="ok" if well else "degraded",
        broker=report["broker"]["kind"],
        redis=report["redis"],
        database=report["database"],
        feed=f"{market.feed.description}{' (stale)' if stale else ''}" if market else "none",
        feed_age_seconds=None if age_seconds is None else round(age_seconds, 2),
        host=host,
        connections=report["connections"] if detail else UNSET,
    )


def workers(*, detail: bool) -> list[messages.Worker]:
    """The embedded worker, by what the database says of its jobs."""
    training, backtests = _counts(models.TrainingJob), _counts(models.Backtest)
    count = {name: training[name] + backtests[name] for name in training}
    running = models.TrainingJob.objects.filter(status=models.JobStatus.RUNNING).select_related("model").first()
    job = f"training {running.model.name}" if running else None
    return [
        messages.Worker(
            name="embedded",
            busy=count["running"] > 0,
            done=count["done"],
            failed=count["failed"],
            queued=count["queued"],
            job=job if detail else UNSET,
        )
    ]


def _counts(jobs: Any) -> dict[str, int]:
    status = models.JobStatus
    counts: dict[str, int] = jobs.objects.aggregate(
        running=Count("pk", filter=Q(status=status.RUNNING)),
        done=Count("pk", filter=Q(status=status.COMPLETED)),
        failed=Count("pk", filter=Q(status=status.FAILED)),
        queued=Count("pk", filter=Q(status=status.PENDING)),
    )
    return counts


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
