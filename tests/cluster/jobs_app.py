"""`celery -A tests.cluster.jobs_app worker`: the project's own, but that its computing processes yield to nobody."""

from __future__ import annotations

from functools import partial

from config.celery import app

__all__ = ["app"]

from apps.ai_studio import tasks  # Django is set up now
from engines.jobs.process import ComputeProcess

tasks.ComputeProcess = partial(ComputeProcess, "tests.engines.jobs.keen_child")
