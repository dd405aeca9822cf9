"""The parent's side of a computing process."""

from __future__ import annotations

import logging
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Protocol, Self

from engines.jobs import work as protocol
from engines.jobs.work import BacktestReport, BadFrame, Cancelled, Crashed, Outcome, Report, TrainingReport, Work

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[2]
POLL_SECONDS = 0.2
CANCEL_SECONDS = 1.0
CLOSE_SECONDS = 1.0
DYING_SECONDS = 0.5  # between the end of its pipe and that of the process
READ_BYTES = 1 << 18


class Compute(Protocol):
    """Whatever does a work."""

    def run(self, work: Work, on_progress: Callable[[Report], None], should_stop: Callable[[], bool]) -> Outcome:
        """Do the work to its end. `should_stop` is asked every `POLL_SECONDS`; once it says so the outcome is there
        within `CANCEL_SECONDS`, and is `Cancelled` unless it was ready. What either call raises ends the work."""
        ...

    def close(self) -> None: ...


class ComputeProcess:
    """A child that computes one work at a time, for one thread. It is started with the first, and kept for the next
    (its imports take a second); one that died or had to be killed is replaced."""

    def __init__(self, module: str = "engines.jobs.child", monotonic: Callable[[], float] = time.monotonic) -> None:
        self._module = module
        self._monotonic = monotonic
        self._child: _Pipes | None = None
        self._number = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Of the child; None while there is none."""
        return self._child.process.pid if self._child is not None else None

    def run(self, work: Work, on_progress: Callable[[Report], None], should_stop: Callable[[], bool]) -> Outcome:
        """As `Compute` says. `Crashed` when the child dies."""
        self._number += 1
        child = self._ready()
        child.send(protocol.Run(self._number, work))
        try:
            outcome = self._supervise(child, on_progress, should_stop)
        except (BadFrame, EOFError) as error:
            how = self._kill(DYING_SECONDS)
            return Crashed(how if isinstance(error, EOFError) else f"{error}; {how}")
        except BaseException:
            self._kill()
            raise
        if outcome is None:
            log.info("a computing process did not stop within %s s, and was killed", CANCEL_SECONDS)
            self._kill()
            return Cancelled()
        return outcome

    def _supervise(
        self, child: _Pipes, on_progress: Callable[[Report], None], should_stop: Callable[[], bool]
    ) -> Outcome | None:
        """The outcome; None when the child was told to stop and did not. Raises what the pipes and the calls raise."""
        now = self._monotonic()
        ask_at, give_up_at = now + POLL_SECONDS, None
        while True:
            for answer in child.exchange(max(0.0, ask_at - self._monotonic())):
                if not isinstance(answer, TrainingReport | BacktestReport):
                    return answer
                if give_up_at is None:
                    on_progress(answer)
            now = self._monotonic()
            if now < ask_at:
                continue
            ask_at = now + POLL_SECONDS
            if give_up_at is None and should_stop():
                child.send(protocol.Cancel(self._number))
                give_up_at = self._monotonic() + CANCEL_SECONDS
            elif give_up_at is not None and now >= give_up_at:
                return None

    def _ready(self) -> _Pipes:
        if self._child is not None and self._child.process.poll() is not None:
            log.warning("a computing process that had nothing to do has ended (%s)", self._kill())
        if self._child is None:
            self._child = _Pipes(self._module)
        return self._child

    def close(self) -> None:
        """End the child; one that is busy is killed."""
        if self._child is not None:
            self._child.end_of_requests()
            try:
                self._child.process.wait(CLOSE_SECONDS)
            except subprocess.TimeoutExpired:
                log.warning("a computing process did not end by itself, and is killed")
            self._kill()

    def _kill(self, grace_seconds: float = 0.0) -> str:
        """See to it that the child has ended, and say how it did."""
        child, self._child = self._child, None
        return child.kill(grace_seconds) if child is not None else "gone"


class _Pipes:
    """A child and its pipes, neither of which ever blocks."""

    def __init__(self, module: str) -> None:
        # In the session of its parent: where the kernel groups processes by session to be fair (autogroup), `nice`
        # counts only within one.
        self.process: subprocess.Popen[bytes] = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=_environment(),
        )
        self._requests = _pipe(self.process.stdin)
        self._answers = _pipe(self.process.stdout)
        self._to_write = bytearray()
        self._read = bytearray()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._answers, selectors.EVENT_READ)

    def send(self, request: protocol.Request) -> None:
        """Queue it; `exchange` writes."""
        if not self._to_write:
            self._selector.register(self._requests, selectors.EVENT_WRITE)
        self._to_write += protocol.frame(request)

    def exchange(self, seconds: float) -> list[protocol.Answer]:
        """Write and read what is possible, waiting so long for anything at all. Raises `EOFError` when the child is
        gone, `BadFrame` when it wrote none of our frames."""
        for key, _ in self._selector.select(seconds):
            if key.fileobj is self._answers:
                self._receive()
            else:
                self._write()
        return list(self._whole())

    def _write(self) -> None:
        try:
            written = os.write(self._requests.fileno(), self._to_write)
        except BrokenPipeError:
            raise EOFError from None
        del self._to_write[:written]
        if not self._to_write:
            self._selector.unregister(self._requests)

    def _receive(self) -> None:
        read = os.read(self._answers.fileno(), READ_BYTES)
        if not read:
            raise EOFError
        self._read += read

    def _whole(self) -> list[protocol.Answer]:
        answers = []
        while len(self._read) >= protocol.HEADER_BYTES:
            end = protocol.HEADER_BYTES + protocol.body_length(bytes(self._read[: protocol.HEADER_BYTES]))
            if len(self._read) < end:
                break
            answers.append(protocol.answer(bytes(self._read[protocol.HEADER_BYTES : end])))
            del self._read[:end]
        return answers

    def end_of_requests(self) -> None:
        self._selector.close()
        self._requests.close()

    def kill(self, grace_seconds: float) -> str:
        """See to it that the process has ended, and say how it did: by itself, if it does so within the grace."""
        self._selector.close()
        try:
            code = self.process.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self._requests.close()
        self._answers.close()
        return f"killed by signal {-code}" if code < 0 else f"exit code {code}"


def _pipe(of_child: IO[bytes] | None) -> IO[bytes]:
    if of_child is None:  # only without PIPE
        raise RuntimeError("a computing process was started without its pipes")
    os.set_blocking(of_child.fileno(), False)
    return of_child


def _environment() -> dict[str, str]:
    """The parent's, with the project importable. One thread per process, so that a job leaves the other cores to the
    server and gives the same result on every machine; whoever sets OMP_NUM_THREADS decides otherwise."""
    path = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH", "")) if part)
    return {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", **os.environ, "PYTHONPATH": path}
