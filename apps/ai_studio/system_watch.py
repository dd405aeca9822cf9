"""Looks at the system, and tells who watches it: where the engines run, and where they are missed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from django.conf import settings

from apps.ai_studio import messages, system_report, topics
from apps.ai_studio.celery_watch import CeleryWatch
from apps.streaming.publishing import forget
from apps.streaming.runtime import runtime
from realtime.messages import type_of

SYSTEM_SECONDS = 5.0


class SystemWatch:
    """One per process that runs engines. Call `look` every second, and `stop` in the end.

    It publishes at once when the state is another than the one that was published last (see `Report.state`), else
    every `SYSTEM_SECONDS`. `monotonic` is seconds of a clock that never goes back.
    """

    def __init__(self, monotonic: Callable[[], float] | None = None) -> None:
        self._monotonic = monotonic or runtime().clock.monotonic
        self._due_monotonic = float("-inf")
        self._state: object = None
        self._celery: CeleryWatch | None = None

    async def look(self) -> None:
        """Publish, if it is time to."""
        self._follow_celery()
        report = await system_report.report()
        now = self._monotonic()
        if report.state == self._state and now < self._due_monotonic:
            return
        system_report.publish_report(report)
        self._state = report.state
        self._due_monotonic = now + SYSTEM_SECONDS

    async def stop(self) -> None:
        """Look no more."""
        celery, self._celery = self._celery, None
        if celery is not None:
            await asyncio.to_thread(celery.stop)

    def _follow_celery(self) -> None:
        if settings.ENV.celery_broker_url and self._celery is None:
            from apps.ai_studio.jobs.queue import celery_app  # noqa: PLC0415 - without Celery, none of it is loaded

            self._celery = CeleryWatch(celery_app())
            self._celery.start()


class EnginesWatch:
    """One per process that serves. Call `look` every few seconds: when no process's engines tell anything any more, it
    tells that, and then what changes while they are away. Of several processes the first tells it."""

    def __init__(self) -> None:
        self._state: object = None

    async def look(self) -> None:
        """Publish, if there is something new."""
        report = await system_report.report_without_engines()
        if report is None:
            self._state = None
            return
        is_news = report.state != self._state and not (self._state is None and report.is_told)
        self._state = report.state
        if is_news:
            system_report.publish_report(report)
            # Nobody keeps these up to date, so who comes next gets them from a snapshot alone.
            for topic in (topics.system(), topics.system_detail()):
                forget(topic, type_of(messages.WorkerStatusUpdate))
