"""Reads positions and history: whoever asks at the same time shares a pipeline, and the same question one answer."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from typing import Any

import msgspec
from redis.exceptions import NoScriptError, RedisClusterException, RedisError, ResponseError

from realtime.brokers.redis import codec, scripts
from realtime.brokers.redis.feed import ReadResult
from realtime.brokers.redis.servers import Servers
from realtime.errors import BrokerAway, InvalidTopic
from realtime.publication import Position
from realtime.topic import Retention, Topic

log = logging.getLogger(__name__)

QUESTIONS_PER_PIPELINE = 200


class Question(msgspec.Struct, frozen=True):
    """What to read. `since_ms`, where not 0, is the time of the publication that the asker has seen at `since`."""

    topic: Topic
    since: Position | None = None
    since_ms: int = 0
    content: bool = True


class Reader:
    """Belongs to one event loop."""

    def __init__(
        self,
        servers: Servers,
        names: scripts.Names,
        client: Any,
        retention: Callable[[str], Retention],
        new_epoch: Callable[[], str],
    ) -> None:
        self._servers = servers
        self._names = names
        self._client = client
        self._retention = retention
        self._new_epoch = new_epoch
        self._script = ""
        self._asked: dict[Question, asyncio.Future[ReadResult]] = {}
        self._task: asyncio.Task[None] | None = None

    async def read(self, question: Question) -> ReadResult:
        """Raises `BrokerAway` when Redis does not answer, and `InvalidTopic` when the topic is of another kind."""
        answer = self._asked.get(question)
        if answer is None:
            answer = self._asked[question] = asyncio.get_running_loop().create_future()
            if self._task is None or self._task.done():
                self._task = asyncio.get_running_loop().create_task(self._answer_all())
        return await asyncio.shield(answer)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _answer_all(self) -> None:
        await asyncio.sleep(0)  # let everybody who is about to ask do so
        while self._asked:
            taken = dict(itertools.islice(self._asked.items(), QUESTIONS_PER_PIPELINE))
            for question in taken:
                del self._asked[question]
            try:
                answers = await self._ask(list(taken))
            except (RedisError, RedisClusterException, OSError, TimeoutError) as error:
                self._script = ""
                answers = [BrokerAway(f"{type(error).__name__}: {error}")] * len(taken)
            except asyncio.CancelledError:
                for future in taken.values():
                    future.cancel()
                raise
            for (question, future), answer in zip(taken.items(), answers, strict=True):
                self._give(future, question, answer)

    async def _ask(self, questions: list[Question]) -> list[Any]:
        for _ in range(2):
            if not self._script:
                self._script = await self._client.script_load(scripts.READ)
            pipeline = self._client.pipeline(transaction=False) if self._servers.is_plain else self._client.pipeline()
            for question in questions:
                self._add(pipeline, question)
            answers = list(await pipeline.execute(raise_on_error=False))
            if not any(isinstance(answer, NoScriptError) for answer in answers):
                break
            self._script = ""
        return answers

    def _add(self, pipeline: Any, question: Question) -> None:
        topic, since = question.topic, question.since
        keys = self._names.keys(topic.name, topic.kind, "")
        retention = self._retention(topic.name)
        pipeline.execute_command(  # `evalsha` itself is not offered in a Cluster's pipeline
            "EVALSHA",
            self._script,
            2,
            keys.meta,
            keys.data,
            topic.kind.value,
            self._new_epoch(),
            "content" if question.content else "position",
            since.epoch if since else "",
            since.offset if since else 0,
            question.since_ms,
            retention.count,
            scripts.data_ms(retention),
            scripts.meta_ms(retention),
        )

    def _give(self, future: asyncio.Future[ReadResult], question: Question, answer: Any) -> None:
        if future.done():
            return
        topic = question.topic
        if isinstance(answer, ResponseError) and str(answer).startswith(scripts.WRONG_KIND):
            existing = str(answer).split()[1]
            answer = InvalidTopic(f"{topic.name!r} is a {existing} topic, not a {topic.kind.value} topic")
        elif isinstance(answer, Exception) and not isinstance(answer, BrokerAway):
            answer = BrokerAway(f"{type(answer).__name__}: {answer}")
        if isinstance(answer, Exception):
            future.set_exception(answer)
            future.exception()  # nobody may be left to hear it
            return
        epoch, offset, recovered, messages = answer
        items = [codec.decode(topic, message) for message in messages]
        future.set_result(ReadResult(Position(epoch.decode(), int(offset)), bool(recovered), items))
