"""From a dict that a view or task built to a typed message, or to an error that says what to change."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, get_args, get_origin, get_type_hints
from uuid import UUID

import msgspec

from realtime.errors import InvalidMessage

NOT_JSON = (UnicodeError, RecursionError, TypeError, ValueError)  # what encoding raises for what JSON cannot say
_PATH = re.compile(r" - at `\$(?P<path>[^`]*)`$")
_AS_IS = frozenset({str, int, float, bool, type(None)})
_UNKNOWN = re.compile(r"unknown field `(?P<field>[^`]*)`")


def to_payload(kind: Any, value: Any, name: str) -> Any:
    """`value` (a dict, or already a Struct) as `kind`.

    Numbers may come as int, float, `Decimal` or NumPy scalars, ids as `UUID`, times as aware or naive (then UTC)
    `datetime`. Raises `InvalidMessage` naming the field, what came and what is allowed.
    """
    try:
        plain = _plain(value)
        return msgspec.convert(plain, kind)
    except msgspec.ValidationError as error:
        raise InvalidMessage(_explained(str(error), kind, plain, name)) from None
    except NOT_JSON as error:
        raise InvalidMessage(f"{name}: {error}") from None


def _plain(value: Any) -> Any:
    if type(value) in _AS_IS:
        return value
    if type(value) is dict:  # what nearly every payload is, and nearly every value in it is plain
        return {
            key if type(key) is str else str(key): item if type(item) in _AS_IS else _plain(item)
            for key, item in value.items()
        }
    if isinstance(value, msgspec.Struct):
        return msgspec.to_builtins(value, builtin_types=(datetime,))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    if type(value).__module__ == "numpy":
        return value.tolist()
    return value


def _explained(text: str, kind: Any, value: Any, name: str) -> str:
    match = _PATH.search(text)
    path = match["path"] if match else ""
    reason = text[: match.start()] if match else text
    came: Any = value
    hint: Any = kind
    for part in re.findall(r"[^.\[\]]+", path):
        came, hint = _step(came, hint, part)
    unknown = _UNKNOWN.search(reason)
    if unknown:
        return f"{name}{path}.{unknown['field']}: no such field; allowed are {', '.join(_fields(hint))}"
    allowed = _allowed(hint)
    return f"{name}{path}: got {_shown(came)}; {reason}" + (f"; allowed are {allowed}" if allowed else "")


def _step(came: Any, hint: Any, part: str) -> tuple[Any, Any]:
    """One step down a path: into a field, or into the items of a list or mapping (written `...`)."""
    struct = _struct_of(hint)
    if struct is not None:
        inner = came.get(part) if isinstance(came, Mapping) else None
        return inner, get_type_hints(struct, include_extras=True).get(part)
    if isinstance(came, list) and part.isdigit() and int(part) < len(came):
        return came[int(part)], next(iter(get_args(hint)), None)
    return came, hint


def _struct_of(hint: Any) -> type[msgspec.Struct] | None:
    for candidate in (hint, *get_args(hint)):
        if isinstance(candidate, type) and issubclass(candidate, msgspec.Struct):
            return candidate
    return None


def _fields(hint: Any) -> tuple[str, ...]:
    struct = _struct_of(hint)
    return struct.__struct_fields__ if struct is not None else ()


def _allowed(hint: Any) -> str:
    for candidate in (hint, *get_args(hint)):
        if get_origin(candidate) is Literal:
            return ", ".join(str(item) for item in get_args(candidate))
    return ""


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
