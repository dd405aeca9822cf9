"""`manage.py run_engines`: the engines and the job worker apart from the web servers."""

from __future__ import annotations

from typing import Any

import uvloop
from django.conf import settings
from django.core.management import BaseCommand, CommandError
from django.core.management.base import CommandParser

from apps.streaming import feeds
from apps.streaming.engine_room import LEASE_SECONDS, EngineRoom
from apps.streaming.migrating import migrate
from apps.streaming.server import run_engines


class Command(BaseCommand):
    help = (
        "Run the feed, the engines and the job worker without a web server. Start it on as many machines as you like: "
        f"one acts, the others stand by and take over within {LEASE_SECONDS + 2:g} s. Needs REDIS_URL. Stops cleanly "
        "on Ctrl-C and SIGTERM."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        feeds.add_arguments(parser)

    def handle(self, **options: Any) -> None:
        feeds.check_options(options)
        if not settings.ENV.redis_url:
            raise CommandError(
                "run_engines needs REDIS_URL: without it nothing reaches the web servers. "
                "`manage.py serve` runs everything in one process"
            )
        make_feed, description = feeds.feed_maker(options, self.stdout.write, self.stderr.write)
        self.stdout.write("Applying migrations …")
        migrate()
        self.stdout.write(f"Engines: on the {description}, once the lease is ours. Stop with Ctrl-C.")
        self.stdout.flush()
        uvloop.run(run_engines(EngineRoom(make_feed)))
        self.stdout.write("Stopped.")
