"""Threads for the engines' database work, so that it never queues in front of a client's snapshot."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.db import close_old_connections

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

# One thread: the engines' writes keep their order, and SQLite has one writer anyway.
_engine_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engines")


def in_engine_thread(
    call: Callable[Arguments, Result],
) -> Callable[Arguments, Coroutine[Any, Any, Result]]:
    """`sync_to_async`, on the engines' own thread, with a database connection that works."""

    @functools.wraps(call)
    def with_connection(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        close_old_connections()
        return call(*args, **kwargs)

    return sync_to_async(with_connection, thread_sensitive=False, executor=_engine_thread)
