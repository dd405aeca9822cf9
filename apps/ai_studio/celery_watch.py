"""What Celery's workers do, from their events and from asking them: for the system stream.

`WorkerBook` keeps what was heard and knows no Celery; `CeleryWatch` listens and asks, in two threads of its own.
Nothing of Celery is loaded here: who has a broker brings the app.
"""

from __future__ import annotations

import itertools
import logging
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import msgspec

log = logging.getLogger(__name__)

ASK_SECONDS = 5.0
ANSWER_SECONDS = 1.0
RETRY_SECONDS = 1.0
LISTEN_SECONDS = 0.5  # how soon `stop` is seen
CONNECT_SECONDS = 2.0
SILENT_SECONDS = 10.0  # a worker sends a heartbeat every two seconds, and is asked every five
FORGET_SECONDS = 600.0
KNOWN_TASKS = 1_000
LISTEN = "events"
NOTHING, FAILED = "None", "'FAILED'"  # what a task returns of a job that somebody else has, or that failed; as `repr`
JOB_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class WorkerState(msgspec.Struct, frozen=True):
    """One worker. The counts and the mean are since it was first seen; `job_ids` are what it works on."""

    name: str
    alive: bool
    busy: bool
    done: int
    failed: int
    mean_runtime_seconds: float | None
    job_ids: tuple[str, ...]


class _Worker:
    def __init__(self, name: str) -> None:
        self.name = name
        self.heard_monotonic = 0.0
        self.is_offline = False
        self.running: dict[str, str] = {}  # job id ("" when it is not known) by task id
        self.done = 0
        self.failed = 0
        self.runtimes = 0
        self.runtime_seconds = 0.0


class WorkerBook:
    """What was heard of the workers. Thread-safe; `monotonic` is seconds of a clock that never goes back."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._workers: dict[str, _Worker] = {}
        self._jobs: OrderedDict[str, str] = OrderedDict()  # job id by task id, of tasks that were received

    def on_event(self, event: Mapping[str, Any]) -> None:
        """An event as Celery sends it (docs.celeryq.dev, "Event Reference"). What does not concern us is passed by."""
        group, _, what = str(event.get("type", "")).partition("-")
        if group not in ("worker", "task") or what == "sent" or not event.get("hostname"):
            return  # a task is sent by a client, which is no worker
        with self._lock:
            worker = self._heard(str(event["hostname"]))
            if group == "worker":
                self._on_worker(worker, what, event)
            else:
                self._on_task(worker, what, str(event.get("uuid", "")), event)

    def on_answer(self, name: str, active: Sequence[Mapping[str, Any]]) -> None:
        """What a worker said when it was asked: the tasks that it works on."""
        with self._lock:
            worker = self._heard(name)
            worker.running = {str(task.get("id")): _job_id(task.get("args")) for task in active}

    def states(self) -> list[WorkerState]:
        """Every worker of the last ten minutes, by name."""
        with self._lock:
            now = self._monotonic()
            for worker in list(self._workers.values()):
                if now - worker.heard_monotonic > FORGET_SECONDS:
                    del self._workers[worker.name]
            return [self._state(self._workers[name], now) for name in sorted(self._workers)]

    def _state(self, worker: _Worker, now: float) -> WorkerState:
        alive = not worker.is_offline and now - worker.heard_monotonic <= SILENT_SECONDS
        return WorkerState(
            name=worker.name,
            alive=alive,
            busy=bool(worker.running),
            done=worker.done,
            failed=worker.failed,
            mean_runtime_seconds=worker.runtime_seconds / worker.runtimes if worker.runtimes else None,
            job_ids=tuple(job_id for job_id in worker.running.values() if job_id),
        )

    def _heard(self, name: str) -> _Worker:
        worker = self._workers.get(name)
        if worker is None:
            worker = self._workers[name] = _Worker(name)
        worker.heard_monotonic = self._monotonic()
        worker.is_offline = False
        return worker

    def _on_worker(self, worker: _Worker, what: str, event: Mapping[str, Any]) -> None:
        worker.is_offline = what == "offline"
        if what in ("online", "offline") or event.get("active") == 0:
            worker.running.clear()  # also what ended while nobody listened

    def _on_task(self, worker: _Worker, what: str, task_id: str, event: Mapping[str, Any]) -> None:
        if what == "received":
            self._jobs[task_id] = _job_id(event.get("args"))
            if len(self._jobs) > KNOWN_TASKS:
                self._jobs.popitem(last=False)
        elif what == "started":
            worker.running[task_id] = self._jobs.get(task_id, "")
        else:
            worker.running.pop(task_id, None)
            self._jobs.pop(task_id, None)
            # A task returns the status of its job: a job that failed is no exception to Celery.
            result = str(event.get("result"))
            if result == NOTHING and what == "succeeded":
                return
            failed = what == "failed" or (what == "succeeded" and result == FAILED)
            worker.failed += failed
            worker.done += what == "succeeded" and not failed
            if isinstance(event.get("runtime"), int | float):
                worker.runtimes += 1
                worker.runtime_seconds += event["runtime"]


def _job_id(arguments: Any) -> str:
    found = JOB_ID.search(str(arguments))
    return found[0] if found else ""


class CeleryWatch:
    """Listens to the workers of a Celery app's broker, and asks them every `ask_seconds`. `start` once, then `stop`.

    A broker that goes away is logged once, and tried again every second: `connected` says how it is.
    """

    of_this_process: ClassVar[CeleryWatch | None] = None

    def __init__(
        self,
        app: Any,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        ask_seconds: float = ASK_SECONDS,
    ) -> None:
        self.book = WorkerBook(monotonic)
        self.asked = False
        """Whether workers had the time to answer once since the broker is there."""
        self._listens = False
        self._asks = False
        self._app = app
        self._ask_seconds = ask_seconds
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(name, work), name=f"celery-{name}", daemon=True)
            for name, work in ((LISTEN, self._listen), ("inspect", self._ask))
        ]

    @property
    def connected(self) -> bool:
        """Whether events are heard and questions go out."""
        return self._listens and self._asks

    def start(self) -> None:
        """Begin. It becomes this process's, until `stop`."""
        CeleryWatch.of_this_process = self
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_seconds: float = 2 * LISTEN_SECONDS + ANSWER_SECONDS) -> None:
        """End, and wait for it briefly."""
        if CeleryWatch.of_this_process is self:
            CeleryWatch.of_this_process = None
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout_seconds)

    def _run(self, name: str, work: Callable[[], None]) -> None:
        expected = self._errors()
        while not self._stop.is_set():
            try:
                work()
            except expected as error:
                if self._asks or not self.asked:
                    log.warning("the Celery broker is away (%s: %s); trying again", name, type(error).__name__)
                self._lost()
            except Exception:
                log.exception("what Celery's workers do cannot be followed (%s); trying again", name)
                self._lost()
            finally:
                if name == LISTEN:
                    self._listens = False
            self._stop.wait(RETRY_SECONDS)

    def _lost(self) -> None:
        self._asks = False
        self.asked = True  # who does not answer now has had the time

    def _errors(self) -> tuple[type[BaseException], ...]:
        from kombu.exceptions import OperationalError  # noqa: PLC0415 - without Celery, none of it is loaded

        connection = self._app.connection_for_read()
        return (*connection.connection_errors, *connection.channel_errors, OperationalError, OSError)

    # Listening

    def _listen(self) -> None:
        with self._app.connection_for_read() as connection:
            receiver = self._app.events.Receiver(connection, handlers={"*": self.book.on_event})
            receiver.connect_max_retries = 0  # `_run` tries again, and says so
            receiver.on_connection_error = lambda *_: None
            rounds = itertools.count()

            def on_iteration() -> None:
                receiver.should_stop = self._stop.is_set()
                self._listens = next(rounds) > 0  # Redis is subscribed to in the first

            receiver.on_iteration = on_iteration
            for _ in receiver.consume(limit=None, safety_interval=LISTEN_SECONDS):
                pass

    # Asking

    def _ask(self) -> None:
        while not self._stop.is_set():
            with self._app.connection_for_write() as connection:
                connection.ensure_connection(max_retries=0, timeout=CONNECT_SECONDS)
                if not self._asks:
                    log.info("the Celery broker is there")
                self._asks = True
                self._ask_workers(connection)
                self.asked = True
            self._stop.wait(self._ask_seconds)

    def _ask_workers(self, connection: Any) -> None:
        # With as many answers as workers there are, the wait is over; one more is heard of by its events.
        expected = sum(state.alive for state in self.book.states()) or None
        inspect = self._app.control.inspect(timeout=ANSWER_SECONDS, connection=connection, limit=expected)
        for name, tasks in (inspect.active() or {}).items():
            if isinstance(tasks, list):  # it understood the question
                self.book.on_answer(name, tasks)
