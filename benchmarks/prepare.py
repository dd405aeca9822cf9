"""A database of our own for the benchmark, with its instruments and users. Prints an access token and a session key per
user; the users' ids count up from 1.

`python -m benchmarks.prepare COUNT`, with `DATABASE_URL` set; a program of its own, so that the rest needs no Django.
"""

from __future__ import annotations

import os
import sys
import uuid
from datetime import timedelta

import django
from django.core.management import call_command

from benchmarks.peers.catalogue import symbol

SYMBOLS = 200
VALID = timedelta(days=1)


def main(user_count: int) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY  # noqa: PLC0415 - needs Django
    from django.contrib.sessions.backends.db import SessionStore  # noqa: PLC0415 - as above
    from django.contrib.sessions.models import Session  # noqa: PLC0415 - as above
    from django.db import transaction  # noqa: PLC0415 - as above
    from django.utils import timezone  # noqa: PLC0415 - as above

    from apps.accounts import tokens  # noqa: PLC0415 - as above
    from apps.accounts.models import User  # noqa: PLC0415 - as above
    from apps.trading.models import Instrument  # noqa: PLC0415 - as above
    from apps.trading.services import register_instruments  # noqa: PLC0415 - as above
    from engines.market import instruments  # noqa: PLC0415 - as above

    call_command("migrate", verbosity=0)
    register_instruments(
        [instruments.Instrument(symbol(n), f"Benchmark {n}", "equity") for n in range(SYMBOLS)],
        Instrument.Source.SIMULATED,
    )
    with transaction.atomic():
        users = User.objects.bulk_create([User(id=n + 1, email=f"{n}@bench.example") for n in range(user_count)])
        sessions = []
        for user in users:
            signed_in = {
                SESSION_KEY: str(user.pk),
                BACKEND_SESSION_KEY: "django.contrib.auth.backends.ModelBackend",
                HASH_SESSION_KEY: user.get_session_auth_hash(),
            }
            key = uuid.uuid4().hex
            sessions.append(
                Session(
                    session_key=key, session_data=SessionStore().encode(signed_in), expire_date=timezone.now() + VALID
                )
            )
            print(tokens.log_in(user).access, key)  # noqa: T201 - what this program is for
        Session.objects.bulk_create(sessions)


main(int(sys.argv[1]))
