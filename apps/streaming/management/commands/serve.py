"""`manage.py serve`: everything in one process, nothing to install."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import uvloop
from django.conf import settings
from django.core.management import BaseCommand, CommandError, call_command
from django.core.management.base import CommandParser

from apps.streaming import feeds
from apps.streaming.demo import DEMO_EMAIL, DEMO_PASSWORD, ensure_demo
from apps.streaming.server import listen, make_server, serve
from engines.market.feeds.base import Feed
from engines.market.feeds.replay import UnusableFile

MAX_BAD_ROWS_SHOWN = 10


class Command(BaseCommand):
    help = (
        "Run the web server, the engines and the job worker in one process. Applies migrations, and with DEBUG "
        "makes the demo user. Stops cleanly on Ctrl-C and SIGTERM."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
        parser.add_argument("--port", type=int, default=8000, help="port to listen on (default: %(default)s)")
        parser.add_argument(
            "--feed", choices=(feeds.SIMULATED, feeds.REPLAY), help="default: simulated; with --data, replay"
        )
        parser.add_argument(
            "--data", type=Path, help="bars to replay, CSV or Parquet (default: those that ship with it)"
        )
        parser.add_argument(
            "--speed",
            type=float,
            help="market seconds per second (default: 60 simulated; 22500, a trading day per second, for replay)",
        )
        parser.add_argument("--no-engines", action="store_true", help="serve only: no feed, engines or job worker")

    def handle(self, **options: Any) -> None:
        if options["speed"] is not None and not options["speed"] > 0:
            raise CommandError(f"--speed must be above 0, got {options['speed']:g}")
        if options["data"] and options["feed"] == feeds.SIMULATED:
            raise CommandError("--data goes with --feed replay")
        try:
            sock = listen(options["host"], options["port"])
        except OSError as error:
            raise CommandError(
                f"cannot listen on {options['host']}:{options['port']}: {error.strerror}; choose another with --port"
            ) from None
        feed = self._feed(options)
        self.stdout.write("Applying migrations …")
        call_command("migrate", verbosity=0, interactive=False)
        if settings.DEBUG:
            ensure_demo(feed)
        port = sock.getsockname()[1]
        self.stdout.write(self.style.SUCCESS(f"ShareWise is at http://{_shown_host(options['host'])}:{port}/"))
        if settings.DEBUG:
            self.stdout.write(f"Sign in as {DEMO_EMAIL}, password {DEMO_PASSWORD}")
        engines = "off" if options["no_engines"] else f"on the {feed.description}"
        self.stdout.write(f"Engines: {engines}. Stop with Ctrl-C.")
        self.stdout.flush()
        uvloop.run(serve(make_server(), sock, None if options["no_engines"] else feed))
        self.stdout.write("Stopped.")

    def _feed(self, options: dict[str, Any]) -> Feed:
        if options["data"] is None and options["feed"] != feeds.REPLAY:
            return feeds.simulated_feed(options["speed"])
        path = options["data"] or feeds.shipped_bars_path()
        try:
            feed, file = feeds.replay_feed(path, options["speed"])
        except UnusableFile as error:
            raise CommandError(str(error)) from None
        for bad_row in file.bad_rows[:MAX_BAD_ROWS_SHOWN]:
            self.stderr.write(self.style.WARNING(f"skipped {bad_row}"))
        more = len(file.bad_rows) - MAX_BAD_ROWS_SHOWN
        if more > 0:
            self.stderr.write(self.style.WARNING(f"… and {more} more rows"))
        self.stdout.write(f"Read {len(file.bars)} bars of {len(feed.instruments)} instruments from {path}")
        return feed


def _shown_host(host: str) -> str:
    return "localhost" if host in ("127.0.0.1", "0.0.0.0", "::1", "::") else host  # noqa: S104 - for display
