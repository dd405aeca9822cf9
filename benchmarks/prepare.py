"""A database of our own for the benchmark, with its instruments and users. Prints an access token per user.

`python -m benchmarks.prepare COUNT`, with `DATABASE_URL` set; a program of its own, so that the rest needs no Django.
"""

from __future__ import annotations

import os
import sys

import django
from django.core.management import call_command


def main(user_count: int) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    from apps.accounts import tokens  # noqa: PLC0415 - needs Django set up
    from apps.accounts.models import User  # noqa: PLC0415 - as above
    from apps.trading.models import Instrument  # noqa: PLC0415 - as above
    from apps.trading.services import register_instruments  # noqa: PLC0415 - as above
    from engines.market.instruments import NSE_UNIVERSE  # noqa: PLC0415 - as above

    call_command("migrate", verbosity=0)
    register_instruments(NSE_UNIVERSE, Instrument.Source.SIMULATED)
    users = User.objects.bulk_create([User(email=f"{n}@bench.example") for n in range(user_count)])
    for user in users:
        print(tokens.log_in(user).access)  # noqa: T201 - what this program is for


main(int(sys.argv[1]))
