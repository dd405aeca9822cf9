"""Makes the users of a cluster's test, each watching one symbol, and prints their access tokens as JSON."""

from __future__ import annotations

import json
import sys

import django

django.setup()

from django.core.management import call_command
from django.utils import timezone

from apps.accounts import tokens
from apps.accounts.models import User
from apps.trading.models import Instrument, Signal, WatchlistItem


def main(count: int) -> None:
    call_command("migrate", verbosity=0)
    made = {}
    for n in range(count):
        symbol = f"SYM{n}"
        Instrument.objects.get_or_create(symbol=symbol, defaults={"name": symbol, "kind": "equity"})
        user = User.objects.create_user(f"user{n}@example.com", "a password of a test")
        WatchlistItem.objects.create(user=user, instrument_id=symbol)
        now = timezone.now()
        Signal.objects.create(
            symbol=symbol, signal_type="BUY", confidence_score=0.5, entry_price=100, created_at=now, rationale="seed"
        )
        made[symbol] = tokens.log_in(user).access
    print(json.dumps(made))


if __name__ == "__main__":
    main(int(sys.argv[1]))
