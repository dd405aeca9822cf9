"""The numbers of this process and the machine that it runs on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psutil
from django.conf import settings

FRESH_SECONDS = 0.9
FIRST_LOOK_SECONDS = 0.1

# psutil measures the CPU since the same thread asked last: so one thread asks, for everybody.
_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="host")


class HostMeter:
    """Reads the numbers off the event loop. Who asks twice within a second gets the same answer: a share of CPU time
    means nothing over a shorter time."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._read_monotonic = float("-inf")
        self._numbers: dict[str, float] = {}
        self._process = psutil.Process()

    async def numbers(self) -> dict[str, float]:
        """Percentages are 0 to 100; that of the process counts one core as 100."""
        return await asyncio.get_running_loop().run_in_executor(_thread, self._read)

    def _read(self) -> dict[str, float]:
        if self._monotonic() - self._read_monotonic >= FRESH_SECONDS:
            is_first = not self._numbers
            if is_first:
                self._process.cpu_percent()
            self._numbers = {
                "cpu_percent": psutil.cpu_percent(interval=FIRST_LOOK_SECONDS if is_first else None),
                "cpu_count": float(psutil.cpu_count() or 1),
                "load_1_minute": round(psutil.getloadavg()[0], 2),
                "memory_percent": psutil.virtual_memory().percent,
                "disk_percent": psutil.disk_usage(str(settings.BASE_DIR)).percent,
                "process_cpu_percent": self._process.cpu_percent(),
                "process_memory_mb": round(self._process.memory_info().rss / 1e6, 1),
                "process_threads": float(self._process.num_threads()),
            }
            self._read_monotonic = self._monotonic()
        return self._numbers
