"""`manage.py serve`: everything in one process with nothing to install, or the web servers of a larger system."""

from __future__ import annotations

import logging
import os
import socket
import sys
from argparse import SUPPRESS
from typing import Any

import uvloop
from django.conf import settings
from django.core.management import BaseCommand, CommandError
from django.core.management.base import CommandParser

from apps.streaming import feeds
from apps.streaming.demo import DEMO_EMAIL, DEMO_PASSWORD, ensure_demo_user
from apps.streaming.engine_room import EngineRoom
from apps.streaming.migrating import migrate
from apps.streaming.server import listen, make_server, serve
from apps.streaming.workers import Workers, end_with

log = logging.getLogger(__name__)

MAX_WORKERS = 256


class Command(BaseCommand):
    help = (
        "Run the web server, the engines and the job worker in one process. Applies migrations, and with DEBUG "
        "makes the demo user. With --workers several processes share the port, and with --no-engines the engines are "
        "left to `run_engines`; both need REDIS_URL. Drains and stops cleanly on Ctrl-C and SIGTERM."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
        parser.add_argument("--port", type=int, default=8000, help="port to listen on (default: %(default)s)")
        feeds.add_arguments(parser)
        parser.add_argument("--no-engines", action="store_true", help="serve only: no feed, engines or job worker")
        parser.add_argument(
            "--workers", type=int, default=1, metavar="N", help="server processes on this port (default: 1)"
        )
        # The process that started it, and the file descriptor of its listening socket.
        parser.add_argument("--worker-of", type=int, nargs=2, help=SUPPRESS)

    def handle(self, **options: Any) -> None:
        feeds.check_options(options)
        workers = options["workers"]
        if not 1 <= workers <= MAX_WORKERS:
            raise CommandError(f"--workers must be from 1 to {MAX_WORKERS}, got {workers}")
        if workers > 1 and not settings.ENV.redis_url:
            raise CommandError(
                "--workers above 1 needs REDIS_URL: without it, a process delivers to its own clients only"
            )
        if options["worker_of"] is not None:
            parent_id, descriptor = options["worker_of"]
            end_with(parent_id)
            self._serve(socket.socket(fileno=descriptor), options)
            return
        try:
            sock = listen(options["host"], options["port"])
        except OSError as error:
            raise CommandError(
                f"cannot listen on {options['host']}:{options['port']}: {error.strerror}; choose another with --port"
            ) from None
        engines = "off" if options["no_engines"] else f"on the {self._make_feed(options)[1]}"
        self.stdout.write("Applying migrations …")
        migrate()
        port = sock.getsockname()[1]
        self.stdout.write(self.style.SUCCESS(f"ShareWise is at http://{_shown_host(options['host'])}:{port}/"))
        if settings.DEBUG:
            ensure_demo_user()
            self.stdout.write(f"Sign in as {DEMO_EMAIL}, password {DEMO_PASSWORD}")
        several = f" {workers} server processes." if workers > 1 else ""
        self.stdout.write(f"Engines: {engines}.{several} Stop with Ctrl-C.")
        self.stdout.flush()
        if workers > 1:
            Workers(_worker_command(), workers, sock, settings.ENV.drain_seconds).run()
        else:
            self._serve(sock, options)
        self.stdout.write("Stopped.")

    def _serve(self, sock: socket.socket, options: dict[str, Any]) -> None:
        engines = None if options["no_engines"] else EngineRoom(self._make_feed(options)[0])
        uvloop.run(serve(make_server(), sock, engines))

    def _make_feed(self, options: dict[str, Any]) -> Any:
        if options["worker_of"] is not None:  # all has been said by the process that started it
            return feeds.feed_maker(options, log.debug, log.debug)
        return feeds.feed_maker(options, self.stdout.write, self.stderr.write)


def _worker_command() -> list[str]:
    """The command line of this process, for a worker of it; the socket's file descriptor is still to be added."""
    return [*sys.argv, "--worker-of", str(os.getpid())]


def _shown_host(host: str) -> str:
    return "localhost" if host in ("127.0.0.1", "0.0.0.0", "::1", "::") else host  # noqa: S104 - for display
