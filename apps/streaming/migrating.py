"""Migrations at start, by one process at a time: several that start together would make the same tables."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from django.core.management import call_command
from django.db import connection

# Any number will do, as long as nobody else uses it in this database.
_ADVISORY_LOCK = 7_369_112_043


def migrate() -> None:
    """Apply what is not applied yet."""
    with _alone():
        call_command("migrate", verbosity=0, interactive=False)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", [_ADVISORY_LOCK])
            try:
                yield
            finally:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [_ADVISORY_LOCK])
    else:
        with Path(f"{connection.settings_dict['NAME']}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # given back when the file is closed
            yield
