"""The Celery app: `celery -A config.celery worker`. Tasks live in the apps' `tasks.py`."""

import os

import django
from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from apps.ai_studio.jobs.queue import celery_options  # noqa: E402 - needs Django set up

app = Celery("sharewise")
app.conf.update(celery_options())
app.autodiscover_tasks()
