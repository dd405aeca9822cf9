"""Makes the instruments that the visitors of a soak subscribe to: of each generation of topics the first few."""

from __future__ import annotations

import sys

import django

django.setup()

from apps.trading.models import Instrument

if __name__ == "__main__":
    first, generations, count = map(int, sys.argv[1:])
    names = [f"G{first + generation}-{n}" for generation in range(generations) for n in range(count)]
    Instrument.objects.bulk_create([Instrument(symbol=name, name=name, kind="equity") for name in names])
