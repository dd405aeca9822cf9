"""A computing process whose works do what a test wants: the name of the work is its first symbol."""

from __future__ import annotations

import os
import signal
import sys
import time
from datetime import date

from engines.backtest.simulation import BacktestProgress
from engines.jobs import child
from engines.jobs.computing import Refused, Stopped
from engines.jobs.work import BacktestReport, TrainingDone


def done(text):
    return TrainingDone(text.encode(), "digest", {}, {}, rows=1, data_from=0, data_until=1)


def compute(work, report, cancelled, memory_mb):
    what, *arguments = work.spec.symbols
    if what == "echo":
        print("a library prints")  # noqa: T201 - that is what is tested
        os.write(1, b"and so does native code\n")
        return done(",".join(arguments))
    if what == "facts":
        return done(f"{os.nice(0)} {len(work.history)} {memory_mb() > 1} {sys.stdin.read()}")
    if what == "refuse":
        raise Refused("fewer bars than are needed")
    if what == "bug":
        raise ZeroDivisionError
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "garbage":
        os.write(int(os.environ["ANSWERS_FD"]), b"\xff" * 64)
    progress = BacktestProgress(1.0, date(2020, 1, 1), 1.0, 0.0, 0, ())
    report(BacktestReport(progress, memory_mb()))
    if what == "native":
        sum(range(10**12))  # holds the GIL, and hears nothing
    while not cancelled():
        time.sleep(0.01)
    raise Stopped


def main():
    dup = os.dup

    def remembered(fd):
        copy = dup(fd)
        if fd == 1:
            os.environ["ANSWERS_FD"] = str(copy)
        return copy

    os.dup = remembered
    child.main(compute)


if __name__ == "__main__":
    main()
