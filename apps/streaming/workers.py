"""`serve --workers N`: several server processes on one socket, started again when they die."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

log = logging.getLogger(__name__)

WATCH_SECONDS = 0.2
ORPHAN_SECONDS = 1.0
RESTART_SECONDS = 1.0  # a worker that dies at once is not started more often than this
STOP_SECONDS = 30.0  # beside the time that draining takes


class Workers:
    """`command` starts one worker, which finds the listening socket at the file descriptor that is appended to it."""

    def __init__(self, command: Sequence[str], count: int, sock: socket.socket, drain_seconds: float) -> None:
        self._command = [*command, str(sock.fileno())]
        self._count = count
        self._sock = sock
        self._stop_seconds = drain_seconds + STOP_SECONDS
        self._processes: list[subprocess.Popen[bytes]] = []
        self._started: dict[int, float] = {}
        self._stopping = threading.Event()

    def run(self) -> None:
        """Until SIGINT, SIGTERM or SIGHUP; then every worker drains and ends."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: self._stopping.set())
        self._processes = [self._start() for _ in range(self._count)]
        while not self._stopping.wait(WATCH_SECONDS):
            for index, process in enumerate(self._processes):
                due = time.monotonic() - self._started[process.pid] >= RESTART_SECONDS
                if process.poll() is not None and due:
                    log.warning("worker %d ended with %d; starting another", process.pid, process.returncode)
                    del self._started[process.pid]
                    self._processes[index] = self._start()
        self._sock.close()
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + self._stop_seconds
        for process in self._processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.exception("worker %d did not end, and is killed", process.pid)
                process.kill()

    def _start(self) -> subprocess.Popen[bytes]:
        # A session of its own: Ctrl-C in the terminal reaches this process, which tells the workers.
        process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, *self._command], pass_fds=[self._sock.fileno()], start_new_session=True
        )
        self._started[process.pid] = time.monotonic()
        return process


def end_with(parent_id: int) -> None:
    """In a worker: end as on SIGTERM when the process that started it is gone, or nobody could take its port again."""

    def watch() -> None:
        while os.getppid() == parent_id:
            time.sleep(ORPHAN_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
