"""Every stream of the project, and the URL patterns that lead to them. Filled by the apps' `routing.py`."""

from __future__ import annotations

from typing import Any

from django.urls import path

from apps.streaming.consumer import StreamConsumer
from apps.streaming.stream import Stream

_streams: dict[str, type[Stream]] = {}


def stream_url(consumer: type[StreamConsumer]) -> Any:
    """The URL pattern of a consumer; also lists its stream for the console, AsyncAPI and `test_websockets`."""
    stream = consumer.stream_class
    _streams[stream.name] = stream
    return path(f"ws/{stream.path}", consumer.as_asgi(), name=stream.name)


def streams() -> tuple[type[Stream], ...]:
    """Every stream, in the order of the URLs."""
    return tuple(_streams.values())
