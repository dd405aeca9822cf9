"""`python -m engines.jobs.child`: computes what it reads from stdin, one work after another, and answers on stdout.

It yields to everything else on the machine (`nice`), and ends as soon as stdin does: whoever started it is gone then,
even if by kill -9. Ctrl-C in a terminal and the SIGTERM of a service manager reach it with its parent; it ignores both,
since it is for the parent to say whether the work goes on.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import BinaryIO

import msgspec
import psutil

from engines.jobs import work as protocol
from engines.jobs.computing import Refused, ReportTo, ShouldStop, Stopped, compute
from engines.jobs.work import MAX_NEW_TRADES, BacktestReport, BadFrame, Cancelled, Failed, Report, TrainingReport, Work

NICENESS = 10
REPORT_SECONDS = 0.25
BYTES_PER_MB = 1_000_000
EXIT_BAD_FRAME = 2

Compute = Callable[[Work, ReportTo, ShouldStop, Callable[[], float]], protocol.TrainingDone | protocol.BacktestDone]


class Reporter:
    """Passes reports on, at most one per `REPORT_SECONDS` but for the first of each training step and the last of all.
    The trades of reports that were held back go with the next, the latest `MAX_NEW_TRADES` of them."""

    def __init__(self, send: ReportTo, monotonic: Callable[[], float]) -> None:
        self._send = send
        self._monotonic = monotonic
        self._sent_at: float | None = None
        self._step = 0
        self._held: Report | None = None
        self._trades: deque[object] = deque(maxlen=MAX_NEW_TRADES)

    def __call__(self, report: Report) -> None:
        now = self._monotonic()
        is_new_step = isinstance(report, TrainingReport) and report.progress.step != self._step
        if isinstance(report, TrainingReport):
            self._step = report.progress.step
        else:
            self._trades.extend(report.progress.new_trades)
        self._held = report
        if is_new_step or self._sent_at is None or now - self._sent_at >= REPORT_SECONDS:
            self._sent_at = now
            self.flush()

    def flush(self) -> None:
        """Send what is held back."""
        held, self._held = self._held, None
        if isinstance(held, BacktestReport):
            progress = msgspec.structs.replace(held.progress, new_trades=tuple(self._trades))
            held = msgspec.structs.replace(held, progress=progress)
            self._trades.clear()
        if held is not None:
            self._send(held)


class Child:
    """Reads requests in a thread of its own, so that "cancel" and the end of stdin are heard while it computes."""

    def __init__(self, source: BinaryIO, sink: BinaryIO, compute: Compute) -> None:
        self._source = source
        self._sink = sink
        self._compute = compute
        self._runs: queue.SimpleQueue[protocol.Run] = queue.SimpleQueue()
        self._cancelled: set[int] = set()

    def serve(self) -> None:
        """Compute until stdin ends, which ends the process."""
        threading.Thread(target=self._read, name="requests", daemon=True).start()
        while True:
            run = self._runs.get()
            self._send(self._outcome(run))
            self._cancelled.discard(run.number)

    def _outcome(self, run: protocol.Run) -> protocol.Answer:
        report = Reporter(self._send, time.monotonic)
        try:
            done = self._compute(run.work, report, lambda: run.number in self._cancelled, _memory_mb)
        except Stopped:
            return Cancelled()
        except Refused as refused:
            return Failed(message=str(refused))
        except Exception:  # noqa: BLE001 - whatever it is, the parent logs it, and the next work goes on
            return Failed(traceback=traceback.format_exc())
        report.flush()
        return done

    def _send(self, answer: protocol.Answer) -> None:
        try:
            self._sink.write(protocol.frame(answer))
            self._sink.flush()
        except OSError:
            os._exit(0)  # nobody listens any more

    def _read(self) -> None:
        try:
            while True:
                request = protocol.request(self._exactly(protocol.body_length(self._exactly(protocol.HEADER_BYTES))))
                if isinstance(request, protocol.Run):
                    self._runs.put(request)
                else:
                    self._cancelled.add(request.number)
        except EOFError:
            os._exit(0)  # at once: the main thread may be deep in native code
        except BadFrame as error:
            sys.stderr.write(f"the computing process got what it cannot read: {error}\n")
            sys.stderr.flush()
            os._exit(EXIT_BAD_FRAME)

    def _exactly(self, count: int) -> bytes:
        read = self._source.read(count)
        if len(read) < count:
            raise EOFError
        return read


def _memory_mb() -> float:
    return round(float(psutil.Process().memory_info().rss) / BYTES_PER_MB, 1)


def main(compute: Compute = compute) -> None:
    """Serve on stdin and stdout. What libraries print goes to stderr, and breaks no frame."""
    for ignored in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)
    os.nice(NICENESS)
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    source = os.fdopen(os.dup(0), "rb")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    Child(source, sink, compute).serve()


if __name__ == "__main__":
    main()
