"""Where the database is asked: never in the event loop. Clients' questions share trips to one thread; the engines'
work has a thread of its own, so that it never queues in front of a client's snapshot."""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from asgiref.sync import sync_to_async
from channels.db import database_sync_to_async
from django.db import close_old_connections

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

MAX_CALLS_PER_TRIP = 64  # the first to ask need not wait for the last of a thousand

# One thread: the engines' writes keep their order, and SQLite has one writer anyway.
_engine_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engines")


async def in_database(call: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
    """What `call` returns or raises, in the thread for database work. Calls are made one by one, in the order in which
    they were asked for; those that wait at one moment share a trip to the thread, which costs more than a query."""
    answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
    _Trips.of_this_loop().add(functools.partial(call, *args, **kwargs), answer)
    return await answer


class _Trips:
    """The calls of one event loop that wait for the thread."""

    _by_loop: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, _Trips]] = WeakKeyDictionary()

    def __init__(self) -> None:
        self._waiting: deque[tuple[Callable[[], Any], asyncio.Future[Any]]] = deque()
        self._travelling: asyncio.Task[None] | None = None

    @classmethod
    def of_this_loop(cls) -> _Trips:
        loop = asyncio.get_running_loop()
        trips = cls._by_loop.get(loop)
        if trips is None:
            trips = cls._by_loop[loop] = cls()
        return trips

    def add(self, call: Callable[[], Any], answer: asyncio.Future[Any]) -> None:
        self._waiting.append((call, answer))
        if self._travelling is None or self._travelling.done():
            self._travelling = asyncio.get_running_loop().create_task(self._travel())

    async def _travel(self) -> None:
        while self._waiting:
            trip = [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_CALLS_PER_TRIP))]
            asked = [(call, answer) for call, answer in trip if not answer.done()]  # done: who asked has gone
            try:
                outcomes = await database_sync_to_async(_make)([call for call, _ in asked])
            except RuntimeError as error:  # the process ends, and its threads have
                outcomes = [(None, error)] * len(asked)
            for (_, answer), (result, failure) in zip(asked, outcomes, strict=True):
                if answer.done():
                    continue
                if failure is not None:
                    answer.set_exception(failure)
                else:
                    answer.set_result(result)


def _make(calls: list[Callable[[], Any]]) -> list[tuple[Any, Exception | None]]:
    outcomes: list[tuple[Any, Exception | None]] = []
    for call in calls:
        try:
            outcomes.append((call(), None))
        except Exception as error:  # noqa: BLE001 - raised where it was asked for
            outcomes.append((None, error))
    return outcomes


def in_engine_thread(
    call: Callable[Arguments, Result],
) -> Callable[Arguments, Coroutine[Any, Any, Result]]:
    """`sync_to_async`, on the engines' own thread, with a database connection that works."""

    @functools.wraps(call)
    def with_connection(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        close_old_connections()
        return call(*args, **kwargs)

    called: Callable[Arguments, Coroutine[Any, Any, Result]] = sync_to_async(
        with_connection, thread_sensitive=False, executor=_engine_thread
    )
    return called
