"""Which feed to run, from the options of `serve`."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path

from django.conf import settings

from engines.market.calendar import IST, session_day
from engines.market.feeds.base import Feed
from engines.market.feeds.replay import DEFAULT_SPEED, BarFile, ReplayFeed, load_bars
from engines.market.feeds.simulated import SimulatedFeed

SIMULATED, REPLAY = "simulated", "replay"
SIMULATED_SPEED = 60.0


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
