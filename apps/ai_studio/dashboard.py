"""A user's AI Studio at a glance: the snapshot, and the board that tells those who watch what changed."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
from django.db import InterfaceError, OperationalError
from django.db.models import Count, Q, Sum
from django.utils import timezone

from apps.ai_studio import models, payloads, present, topics, websocket_utils
from apps.ai_studio.access import running_leases
from apps.ai_studio.earnings import SETTLING_DAYS, month_of, month_starts, parts
from apps.streaming.audience import watched
from apps.streaming.publishing import forget
from apps.streaming.runtime import runtime
from apps.streaming.threads import in_engine_thread

log = logging.getLogger(__name__)

PARTS = payloads.Dashboard.__struct_fields__
BEST_MODELS = 5
MIN_OUTCOMES = 20  # fewer say nothing about a model's accuracy
RUNNING_JOBS = 50
USERS_PER_QUERY = 500
EARNED_SECONDS = 60.0  # how often what leases earn is computed anew for who watches

Earned = Callable[[Collection[int], datetime], Mapping[int, float]]


# The snapshot


def dashboard(user_id: str | int) -> payloads.Dashboard:
    """The user's AI Studio now. Synchronous; call it from a thread."""
    return dashboards([int(user_id)])[int(user_id)]


def dashboards(user_ids: Iterable[int]) -> dict[int, payloads.Dashboard]:
    """Those of many users at once: the number of queries does not grow with theirs, but with that of profit shares."""
    found = {}
    for some in _portions(sorted(user_ids)):
        found.update(_dashboards(some, earned_this_month))
    return found


def _portions(user_ids: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(user_ids), USERS_PER_QUERY):
        yield user_ids[start : start + USERS_PER_QUERY]


def _dashboards(user_ids: list[int], earned_of: Earned) -> dict[int, payloads.Dashboard]:
    counts = _model_counts(user_ids)
    deployments = _deployments(user_ids)
    jobs = _running_jobs(user_ids)
    listings = _count_by_owner(
        models.Listing.objects.filter(withdrawn_at=None, model__owner_id__in=user_ids), "model__owner_id"
    )
    leases = _count_by_owner(running_leases().filter(listing__model__owner_id__in=user_ids), "listing__model__owner_id")
    earned = earned_of(user_ids, timezone.now())
    return {
        user_id: payloads.Dashboard(
            model_count=counts[user_id]["models"],
            deployed_count=len(deployments[user_id]),
            listing_count=listings.get(user_id, 0),
            running_jobs=[present.job_brief(job) for job in jobs[user_id][:RUNNING_JOBS]],
            best_models=_best(deployments[user_id]),
            active_leases=leases.get(user_id, 0),
            earned_this_month=earned.get(user_id, 0.0),
            predictions_today=counts[user_id]["made"],
            accuracy=_share(counts[user_id]["correct"], counts[user_id]["settled"]),
        )
        for user_id in user_ids
    }


def _model_counts(user_ids: Collection[int]) -> defaultdict[int, dict[str, int]]:
    """Models, and what was predicted today, by owner."""
    today = Q(counted_on=timezone.localdate())
    rows = (
        models.Model.objects.filter(owner_id__in=user_ids)
        .values("owner_id")
        .annotate(
            models=Count("pk"),
            made=Sum("predictions_made", filter=today, default=0),
            settled=Sum("predictions_settled", filter=today, default=0),
            correct=Sum("predictions_correct", filter=today, default=0),
        )
        .order_by()
    )
    nothing = {"models": 0, "made": 0, "settled": 0, "correct": 0}
    return defaultdict(lambda: nothing, {row["owner_id"]: row for row in rows})


def _deployments(user_ids: Collection[int]) -> defaultdict[int, list[dict[str, Any]]]:
    rows = models.Deployment.objects.filter(ended_at=None, model__owner_id__in=user_ids).values(
        "model__owner_id", "model_id", "model__name", "artifact__version", "monitoring"
    )
    by_owner: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_owner[row["model__owner_id"]].append(row)
    return by_owner


def _best(deployments: Collection[dict[str, Any]]) -> list[payloads.BestModel]:
    """The most accurate ones first; of two alike, the one with more outcomes."""
    known = [
        payloads.BestModel(
            model_id=str(row["model_id"]),
            name=row["model__name"],
            version=row["artifact__version"],
            outcomes=row["monitoring"]["outcomes"],
            accuracy=row["monitoring"]["accuracy"],
        )
        for row in deployments
        if row["monitoring"].get("outcomes", 0) >= MIN_OUTCOMES and row["monitoring"].get("accuracy") is not None
    ]
    return sorted(known, key=lambda best: (-best.accuracy, -best.outcomes, best.name))[:BEST_MODELS]


def _running_jobs(user_ids: Collection[int]) -> defaultdict[int, list[Any]]:
    """The latest started first."""
    by_owner: defaultdict[int, list[Any]] = defaultdict(list)
    for kind in (models.TrainingJob, models.Backtest):
        running = kind.objects.filter(status=models.JobStatus.RUNNING, model__owner_id__in=user_ids)
        for job in running.select_related("model").order_by("-started_at", "-created_at"):
            by_owner[job.model.owner_id].append(job)
    return by_owner


def _count_by_owner(rows: Any, owner: str) -> dict[int, int]:
    return {row[owner]: row["count"] for row in rows.values(owner).annotate(count=Count("pk")).order_by()}


def earned_this_month(user_ids: Collection[int], now: datetime) -> dict[int, float]:
    """What the leases of the users' models have accrued this month, as `earnings` has it; users without a lease that
    may earn are left out."""
    month = month_of(now)
    begins = month_starts(month)
    may_earn = Q(ends_at__gt=begins) | Q(price=None, ends_at__gt=begins - timedelta(days=SETTLING_DAYS))
    leases = models.Lease.objects.filter(may_earn, listing__model__owner_id__in=user_ids)
    earned: defaultdict[int, Decimal] = defaultdict(Decimal)
    for lease in leases.select_related("listing__model").order_by():
        earned[lease.listing.model.owner_id] += parts(lease, now).get(month, Decimal(0))
    return {user_id: float(amount) for user_id, amount in earned.items()}


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


# The updates


class DashboardBoard:
    """Tells users who watch their dashboard the parts of it that changed. One per process that runs engines.

    The broker keeps the value of each part that was told, and hands it to whoever subscribes, after the snapshot. So
    what was told is taken back when nobody watches any more: it would be old news for who comes next. Who begins to
    watch is told every part once, which also replaces what a process left there that ended without `close`.

    What leases earn is computed anew every `EARNED_SECONDS` per user; `monotonic` is seconds of a clock that never goes
    back. A user whose dashboard cannot be told holds up nobody else, and is logged once.
    """

    def __init__(self, monotonic: Callable[[], float] | None = None) -> None:
        self._told: dict[int, payloads.Dashboard] = {}
        self._broken: set[int] = set()
        self._earned = _EarnedLately(monotonic or runtime().clock.monotonic)

    async def publish(self) -> None:
        """One round."""
        user_ids = await in_engine_thread(_users_with_models)() | self._told.keys()
        watching = await watched(topics.dashboard, user_ids)
        await in_engine_thread(self._tell)(watching)

    async def close(self) -> None:
        """Take everything back: this process tells nothing more."""
        await in_engine_thread(self._tell)(set())

    def _tell(self, watching: set[int]) -> None:
        for user_id in self._told.keys() - watching:
            del self._told[user_id]
            for name in PARTS:
                forget(topics.dashboard(user_id), name)
        self._broken &= watching
        self._earned.keep(watching)
        were_broken = sorted(self._broken)
        for some in _portions(sorted(watching - self._broken)):
            self._tell_together(some)
        for user_id in were_broken:
            self._tell_alone(user_id)

    def _tell_together(self, user_ids: list[int]) -> None:
        try:
            found = _dashboards(user_ids, self._earned)
        except (InterfaceError, OperationalError):
            raise  # no database: nobody's can be told
        except Exception:
            log.exception("the dashboards of %d users cannot be told together", len(user_ids))
            found = {}
        for user_id in user_ids:
            self._tell_alone(user_id, found.get(user_id))

    def _tell_alone(self, user_id: int, current: payloads.Dashboard | None = None) -> None:
        try:
            current = current or _dashboards([user_id], self._earned)[user_id]
            changed = _changes(self._told.get(user_id), current)
            if changed:
                websocket_utils.notify_dashboard_update(user_id, payloads.DashboardUpdate(**changed))
        except (InterfaceError, OperationalError):
            raise
        except Exception:
            if user_id not in self._broken:
                log.exception("the dashboard of user %s cannot be told", user_id)
            self._broken.add(user_id)
        else:
            self._told[user_id] = current
            self._broken.discard(user_id)


class _EarnedLately:
    """What leases have earned this month, at most `EARNED_SECONDS` ago."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._month: date | None = None
        self._known: dict[int, tuple[float, float]] = {}  # rupees, and when they were computed

    def __call__(self, user_ids: Collection[int], now: datetime) -> Mapping[int, float]:
        month, moment = month_of(now), self._monotonic()
        if month != self._month:
            self._month = month
            self._known.clear()
        due = [user_id for user_id in user_ids if not self._is_fresh(user_id, moment)]
        earned = earned_this_month(due, now) if due else {}
        self._known.update({user_id: (earned.get(user_id, 0.0), moment) for user_id in due})
        return {user_id: self._known[user_id][0] for user_id in user_ids}

    def keep(self, user_ids: Collection[int]) -> None:
        """Forget everybody else."""
        self._known = {user_id: known for user_id, known in self._known.items() if user_id in user_ids}

    def _is_fresh(self, user_id: int, moment: float) -> bool:
        return user_id in self._known and moment - self._known[user_id][1] < EARNED_SECONDS


def _changes(told: payloads.Dashboard | None, current: payloads.Dashboard) -> dict[str, Any]:
    """The parts that are other than those told; all of them when nothing was."""
    values = msgspec.structs.asdict(current)
    return {name: value for name, value in values.items() if told is None or getattr(told, name) != value}


def _users_with_models() -> set[int]:
    return set(models.Model.objects.order_by().values_list("owner_id", flat=True).distinct())
