"""Which feed to run, from the options of `serve` and `run_engines`."""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import CommandError

from engines.market.calendar import IST, session_day
from engines.market.feeds.base import Feed
from engines.market.feeds.kite import KiteCredentials, KiteFeed
from engines.market.feeds.replay import DEFAULT_SPEED, BarFile, ReplayFeed, load_bars
from engines.market.feeds.simulated import SimulatedFeed
from engines.market.files import BadRow, UnusableFile
from engines.market.instruments import load_instruments

SIMULATED, REPLAY, KITE = "simulated", "replay", "kite"
SIMULATED_SPEED = 60.0
MAX_BAD_ROWS_SHOWN = 10


def shipped_bars_path() -> Path:
    """The daily bars that come with the project."""
    return Path(settings.BASE_DIR) / "data" / "daily_bars.csv"


def simulated_feed(speed: float | None = None) -> Feed:
    """The simulated market, from the opening of today's session, or the next."""
    return SimulatedFeed(start=session_day(datetime.now(IST)), sleep=asyncio.sleep, speed=speed or SIMULATED_SPEED)


def replay_feed(path: Path, speed: float | None = None) -> tuple[Feed, BarFile]:
    """A replay, and what its file held. Raises `UnusableFile`."""
    file = load_bars(path)
    return ReplayFeed(file, name=path.name, sleep=asyncio.sleep, speed=speed or DEFAULT_SPEED), file


def kite_feed(path: Path) -> tuple[Feed, Sequence[BadRow]]:
    """The live market of the instruments in a Kite Connect dump, and the rows that are of no use. Raises
    `UnusableFile`, and `ValueError` for credentials that are missing and instruments that do not fit a connection."""
    variables = {"KITE_API_KEY": settings.ENV.kite_api_key, "KITE_ACCESS_TOKEN": settings.ENV.kite_access_token}
    missing = [name for name, value in variables.items() if not value]
    if missing:
        raise ValueError(
            f"--feed kite needs {' and '.join(missing)} in the environment; docs/how-to/live-market-kite.md says where "
            "they come from"
        )
    instruments, bad_rows = load_instruments(path, datetime.now(IST).date())
    credentials = KiteCredentials(settings.ENV.kite_api_key, settings.ENV.kite_access_token)
    feed = KiteFeed(instruments, credentials, sleep=asyncio.sleep, now=lambda: datetime.now(UTC))
    return feed, bad_rows


def add_arguments(parser: ArgumentParser) -> None:
    """The options that choose a feed."""
    parser.add_argument("--feed", choices=(SIMULATED, REPLAY, KITE), help="default: simulated; with --data, replay")
    parser.add_argument("--data", type=Path, help="bars to replay, CSV or Parquet (default: those that ship with it)")
    parser.add_argument(
        "--instruments",
        type=Path,
        help="what --feed kite follows: lines of Kite Connect's instrument dump (CSV, may be gzipped), at most 3000",
    )
    parser.add_argument(
        "--speed",
        type=float,
        help="market seconds per second (default: 60 simulated; 22500, a trading day per second, for replay)",
    )


def check_options(options: dict[str, Any]) -> None:
    """Raises `CommandError` for options that do not go together."""
    if options["speed"] is not None and not options["speed"] > 0:
        raise CommandError(f"--speed must be above 0, got {options['speed']:g}")
    if options["data"] and options["feed"] not in (None, REPLAY):
        raise CommandError("--data goes with --feed replay")
    if options["instruments"] and options["feed"] != KITE:
        raise CommandError("--instruments goes with --feed kite")
    if options["feed"] == KITE:
        if options["speed"] is not None:
            raise CommandError("--speed does not go with --feed kite: a live market has its own")
        if not options["instruments"]:
            raise CommandError("--feed kite needs --instruments FILE, lines of Kite Connect's instrument dump")


def feed_maker(
    options: dict[str, Any], say: Callable[[str], object], warn: Callable[[str], object]
) -> tuple[Callable[[], Feed], str]:
    """What makes the feed anew each time, and what it is. Raises `CommandError` when its file is of no use."""
    speed = options["speed"]
    if options["feed"] == KITE:
        return _kite_feed_maker(options["instruments"], say, warn)
    if options["data"] is None and options["feed"] != REPLAY:
        return lambda: simulated_feed(speed), simulated_feed(speed).description
    path = options["data"] or shipped_bars_path()
    try:
        feed, file = replay_feed(path, speed)
    except UnusableFile as error:
        raise CommandError(str(error)) from None
    _warn_of(file.bad_rows, warn)
    say(f"Read {len(file.bars)} bars of {len(feed.instruments)} instruments from {path}")
    return lambda: replay_feed(path, speed)[0], feed.description


def _kite_feed_maker(
    path: Path, say: Callable[[str], object], warn: Callable[[str], object]
) -> tuple[Callable[[], Feed], str]:
    """The file is read anew each time: contracts expire."""
    try:
        feed, bad_rows = kite_feed(path)
    except ValueError as error:  # also `UnusableFile`
        raise CommandError(str(error)) from None
    _warn_of(bad_rows, warn)
    say(f"Read {len(feed.instruments)} instruments from {path}")
    return lambda: kite_feed(path)[0], feed.description


def _warn_of(bad_rows: Sequence[object], warn: Callable[[str], object]) -> None:
    for bad_row in bad_rows[:MAX_BAD_ROWS_SHOWN]:
        warn(f"skipped {bad_row}")
    more = len(bad_rows) - MAX_BAD_ROWS_SHOWN
    if more > 0:
        warn(f"… and {more} more rows")
