"""The AsyncAPI 3 document, generated from the message types. JSON Schema 2020-12 inside."""

from __future__ import annotations

import inspect
import re
from functools import lru_cache
from typing import Any

import msgspec

from apps.streaming.registry import streams
from apps.streaming.stream import Stream
from realtime.close import CLOSE_CODES
from realtime.messages import COMMON_COMMANDS, COMMON_MESSAGES, type_of

_REF = "#/components/schemas/{name}"
_PARAMETER = re.compile(r"<\w+:(\w+)>")


@lru_cache(maxsize=1)
def document() -> dict[str, Any]:
    """The whole document. The streams are fixed at start, so it is made once."""
    all_streams = streams()
    sent = _unique([*COMMON_MESSAGES, *(m for stream in all_streams for m in stream.messages)])
    received = _unique([*COMMON_COMMANDS, *(c for stream in all_streams for c in stream.commands)])
    _, schemas = msgspec.json.schema_components([*sent, *received], ref_template=_REF)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "ShareWise real time",
            "version": "1",
            "description": "Fourteen authenticated WebSocket streams. One JSON message per text frame.",
        },
        "defaultContentType": "application/json",
        "channels": {_id(stream): _channel(stream) for stream in all_streams},
        "operations": {key: value for stream in all_streams for key, value in _operations(stream).items()},
        "components": {
            "messages": {message.__name__: _message(message) for message in (*sent, *received)},
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "token": {"type": "httpApiKey", "in": "query", "name": "token"},
                "ticket": {"type": "httpApiKey", "in": "query", "name": "ticket"},
                "session": {"type": "httpApiKey", "in": "cookie", "name": "sessionid"},
            },
        },
        "x-close-codes": [
            {"code": close.code, "meaning": close.meaning, "client": close.reconnect.value} for close in CLOSE_CODES
        ],
    }


def _unique(types: list[Any]) -> list[Any]:
    return list(dict.fromkeys(types))


def _id(stream: type[Stream]) -> str:
    return stream.name.replace(".", "_").replace("-", "_")


def _channel(stream: type[Stream]) -> dict[str, Any]:
    messages = (*COMMON_MESSAGES, *stream.messages, *COMMON_COMMANDS, *stream.commands)
    names = [message.__name__ for message in _unique(list(messages))]
    channel: dict[str, Any] = {
        "address": "/ws/" + _PARAMETER.sub(r"{\1}", stream.path),
        "title": stream.name,
        "summary": stream.summary,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
    }
    parameters = _PARAMETER.findall(stream.path)
    if parameters:
        channel["parameters"] = {name: {"description": "A UUID."} for name in parameters}
    return channel


def _operations(stream: type[Stream]) -> dict[str, Any]:
    channel = {"$ref": f"#/channels/{_id(stream)}"}

    def references(types: tuple[Any, ...]) -> list[dict[str, str]]:
        return [{"$ref": f"#/channels/{_id(stream)}/messages/{t.__name__}"} for t in types]

    return {
        f"{_id(stream)}_send": {
            "action": "send",
            "channel": channel,
            "messages": references((*COMMON_MESSAGES, *stream.messages)),
        },
        f"{_id(stream)}_receive": {
            "action": "receive",
            "channel": channel,
            "messages": references((*COMMON_COMMANDS, *stream.commands)),
        },
    }


def _message(message: Any) -> dict[str, Any]:
    return {
        "name": type_of(message),
        "title": message.__name__,
        "summary": inspect.getdoc(message) or "",
        "payload": {
            "schemaFormat": "application/schema+json;version=2020-12",
            "schema": {"$ref": f"#/components/schemas/{message.__name__}"},
        },
    }
