"""Where the database is asked: never in the event loop. Clients' questions share trips to one thread; the engines'
work has a thread of its own, so that it never queues in front of a client's snapshot."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections import defaultdict, deque
from collections.abc import Callable, Coroutine, Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from asgiref.sync import sync_to_async
from channels.db import database_sync_to_async
from django.db import InterfaceError, OperationalError, close_old_connections

log = logging.getLogger(__name__)

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Question = TypeVar("Question", bound=Hashable)
Answers = Callable[[list[Question]], Mapping[Question, Result]]

MAX_CALLS_PER_TRIP = 64  # the first to ask need not wait for the last of a thousand
MAX_QUESTIONS_PER_CALL = 250  # as above
CROWD = 4  # so many questions on one trip mean that many clients are coming
CROWD_SECONDS = 0.01  # how long the next trip then waits for more

# One thread: the engines' writes keep their order, and SQLite has one writer anyway.
_engine_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engines")


async def in_database(call: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
    """What `call` returns or raises, in the thread for database work. Calls are made one by one, in the order in which
    they were asked for; those that wait at one moment share a trip to the thread, which costs more than a query."""
    answer: asyncio.Future[Result] = _Trips.of_this_loop().add(functools.partial(call, *args, **kwargs))
    return await answer


async def in_database_together(answer_all: Answers[Question, Result], question: Question) -> Result | None:
    """What `answer_all` says to the question, or None when it says nothing. Whoever asks the same function at the same
    moment shares a call, and the same question one answer: a thousand clients that come back cost a few queries.
    `answer_all` is called in the thread for database work. What it raises for one question concerns nobody else."""
    answers = await asyncio.shield(_Trips.of_this_loop().add_question(answer_all, question))
    answer = answers.get(question)
    if isinstance(answer, _Refused):
        raise answer.error
    return answer


class _Trips:
    """The calls of one event loop that wait for the thread."""

    _by_loop: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, _Trips]] = WeakKeyDictionary()

    def __init__(self) -> None:
        self._waiting: deque[tuple[Callable[[], Any], asyncio.Future[Any]]] = deque()
        self._shared: defaultdict[Answers[Any, Any], list[_SharedCall]] = defaultdict(list)  # those of the waiting
        self._travelling: asyncio.Task[None] | None = None

    @classmethod
    def of_this_loop(cls) -> _Trips:
        loop = asyncio.get_running_loop()
        trips = cls._by_loop.get(loop)
        if trips is None:
            trips = cls._by_loop[loop] = cls()
        return trips

    def add(self, call: Callable[[], Any]) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((call, answer))
        if self._travelling is None or self._travelling.done():
            self._travelling = loop.create_task(self._travel())
        return answer

    def add_question(self, answer_all: Answers[Any, Any], question: Hashable) -> asyncio.Future[Mapping[Any, Any]]:
        """What `answer_all` will have said to this question and others."""
        calls = self._shared[answer_all]
        shared = next((call for call in calls if question in call.questions), None)
        if shared is None:
            if not calls or len(calls[-1].questions) == MAX_QUESTIONS_PER_CALL:
                calls.append(_SharedCall(answer_all))
                calls[-1].answers = self.add(calls[-1])
            shared = calls[-1]
            shared.questions[question] = None
        return shared.answers

    async def _travel(self) -> None:
        questions = 0
        while self._waiting:
            if questions > CROWD and len(self._waiting) < MAX_CALLS_PER_TRIP:
                await asyncio.sleep(CROWD_SECONDS)
            self._shared.clear()
            trip = [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_CALLS_PER_TRIP))]
            asked = [(call, answer) for call, answer in trip if not answer.done()]  # done: who asked has gone
            questions = sum([len(call.questions) if isinstance(call, _SharedCall) else 1 for call, _ in asked])
            try:
                outcomes = await database_sync_to_async(_make)([call for call, _ in asked])
            except Exception as error:  # noqa: BLE001 - raised where it was asked for: nobody must wait for ever
                outcomes = [(None, error)] * len(asked)
            for (_, answer), (result, failure) in zip(asked, outcomes, strict=True):
                if answer.done():
                    continue
                if failure is not None:
                    answer.set_exception(failure)
                else:
                    answer.set_result(result)


class _SharedCall:
    """One call on behalf of many who ask."""

    answers: asyncio.Future[Mapping[Any, Any]]

    def __init__(self, answer_all: Answers[Any, Any]) -> None:
        self._answer_all = answer_all
        self.questions: dict[Hashable, None] = {}

    def __call__(self) -> Mapping[Any, Any]:
        questions = list(self.questions)
        try:
            return self._answer_all(questions)
        except (OperationalError, InterfaceError):
            raise  # the database is away, for everybody
        except Exception:
            if len(questions) == 1:
                raise
            log.exception("a question among %d could not be answered; they are asked one by one", len(questions))
        return {question: self._answer_alone(question) for question in questions}

    def _answer_alone(self, question: Hashable) -> Any:
        try:
            return self._answer_all([question]).get(question)
        except Exception as error:  # noqa: BLE001 - raised where it was asked for
            return _Refused(error)


class _Refused:
    """Stands for the answer to a question that cannot be asked."""

    def __init__(self, error: Exception) -> None:
        self.error = error


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
