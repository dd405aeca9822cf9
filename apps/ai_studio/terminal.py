"""What `manage.py train` and `manage.py backtest` share: whose model, and a job that is run here and watched."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.core.management import CommandError
from django.core.management.base import CommandParser
from django.db import connection
from django.utils import timezone
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from apps.accounts.models import User
from apps.ai_studio import access, models, services
from apps.ai_studio.jobs.running import run_job
from apps.ai_studio.jobs.watch import fail_lost_jobs
from apps.streaming.demo import DEMO_EMAIL, ensure_demo_user
from apps.streaming.migrating import migrate
from engines.jobs.process import ComputeProcess
from engines.market.quotes import DAY_SECONDS
from realtime.errors import CommandFailed

LOOK_SECONDS = 0.2
LEAVE_SECONDS = 3.0
SHIPPED_MODEL = "Shipped bars"


def add_model_arguments(parser: CommandParser) -> None:
    """The options that say which model."""
    parser.add_argument("model", nargs="?", default=SHIPPED_MODEL, help=f"its name or id (default: {SHIPPED_MODEL!r})")
    parser.add_argument(
        "--user-email", default=DEMO_EMAIL, metavar="EMAIL", help=f"whose model (default: {DEMO_EMAIL})"
    )
    parser.add_argument("--seed", type=int, help="the same seed on the same bars gives the same result")


def owner_of(options: Mapping[str, Any]) -> User:
    """Whose model. With DEBUG the demo user is made when missing, in a fresh checkout the database, too. Raises
    `CommandError` when there is no such user."""
    if not connection.introspection.table_names():
        migrate()
    if settings.DEBUG and options["user_email"] == DEMO_EMAIL:
        return ensure_demo_user()
    user = User.objects.filter(email=options["user_email"]).first()
    if user is None:
        raise CommandError(f"there is no user {options['user_email']}; start `manage.py serve` once, or --user-email")
    return user


def find_model(owner: User, named: str) -> models.Model | None:
    """The owner's model of this name or id."""
    mine = access.models_of(str(owner.pk))
    return mine.filter(name=named).first() or next((m for m in mine if str(m.pk) == named), None)


def model_or_new(owner: User, named: str, changes: Mapping[str, Any]) -> models.Model:
    """The owner's model, changed; made when there is none of this name: on the shipped bars, unless `changes` say
    otherwise. Raises `CommandError`."""
    model = find_model(owner, named)
    new = {"name": named, "data_source": models.DataSource.SHIPPED, "bar_seconds": DAY_SECONDS} if model is None else {}
    try:
        return services.save_model(owner, model, {**new, **changes})
    except CommandFailed as refused:
        raise CommandError(refused.message) from None


def known_model(owner: User, named: str) -> models.Model:
    """The owner's model; of the name that a first `manage.py train` takes it is made. Raises `CommandError`."""
    model = find_model(owner, named)
    if model is None and named != SHIPPED_MODEL:
        raise CommandError(f"{owner.email} has no model {named!r}; manage.py train {named!r} makes one")
    return model or model_or_new(owner, named, {})


def start(begin: Callable[[], Any]) -> Any:
    """The job that `begin` queues. Jobs whose worker is gone do not stand in its way. Raises `CommandError`."""
    fail_lost_jobs(timezone.now())
    try:
        return begin()
    except CommandFailed as refused:
        raise CommandError(refused.message) from None


def run_here(console: Console, job: Any, say: Callable[[Mapping[str, Any]], str]) -> None:
    """Run a waiting job in a process of its own, and draw its progress until it has ended; `say` puts its progress in
    words. If a worker elsewhere is quicker to take it, watch that one. Ctrl-C cancels it, a second one leaves at once.
    Raises `CommandError` unless it was completed."""
    stop, failures = threading.Event(), list[Exception]()

    def work() -> None:
        try:
            with ComputeProcess() as compute:
                run_job(job, compute, stop)
        except Exception as error:  # noqa: BLE001 - shown to who waits in front of the terminal
            failures.append(error)
        finally:
            connection.close()

    worker = threading.Thread(target=work, name="job", daemon=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("waiting", total=100.0)
        worker.start()
        try:
            _watch(job, worker, failures, lambda seen: progress.update(task, **_shown(seen, say)))
        except KeyboardInterrupt:
            stop.set()
            worker.join(LEAVE_SECONDS)
            raise CommandError("stopped before the job had ended") from None
    job.refresh_from_db()
    if job.status != models.JobStatus.COMPLETED:
        raise CommandError(job.error or "cancelled")


def _watch(job: Any, worker: threading.Thread, failures: list[Exception], show: Callable[[Any], None]) -> None:
    """Until it has ended."""
    is_cancelled = False
    while True:
        try:
            time.sleep(LOOK_SECONDS)
            seen = type(job).objects.get(pk=job.pk)
            show(seen)
            if seen.status in models.FINISHED:
                return
            if failures:
                raise CommandError(f"the job cannot be run here: {failures[0]}")
            if not worker.is_alive():
                fail_lost_jobs(timezone.now())  # it is run elsewhere, where it may die, too
        except KeyboardInterrupt:
            if is_cancelled:
                raise
            is_cancelled = True
            with suppress(CommandFailed):  # it has just ended
                services.cancel(job)


def _shown(seen: Any, say: Callable[[Mapping[str, Any]], str]) -> dict[str, Any]:
    words = "cancelling" if seen.cancel_requested else say(seen.progress) if seen.progress else "starting"
    return {"completed": seen.progress.get("progress_percentage", 0.0), "description": words}
