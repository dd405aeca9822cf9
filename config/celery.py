"""The Celery app: `celery -A config.celery worker`. Tasks live in the apps' `tasks.py`."""

import os

import django
from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from django.conf import settings  # noqa: E402 - needs Django set up

app = Celery("sharewise")
app.conf.update(
    broker_url=settings.ENV.celery_broker_url,
    broker_connection_retry_on_startup=True,
    timezone=settings.TIME_ZONE,
    task_ignore_result=True,
    worker_hijack_root_logger=False,
)
app.autodiscover_tasks()
