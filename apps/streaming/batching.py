"""Batch mode: a client that asks for it gets JSON arrays of messages, one frame for all that one window holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs

from apps.streaming.authentication import BATCH_SUBPROTOCOL, SUBPROTOCOL
from realtime.errors import CommandFailed, ProtocolError

Query = Mapping[str, Sequence[str]]


def parse_query(scope: Mapping[str, Any]) -> Query:
    """What the client opened with, all values of each name."""
    return parse_qs(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)


def wants_batches(scope: Mapping[str, Any], query: Query) -> bool:
    """Whether the client opened with `?batch=1` or the subprotocol `sharewise.v1.batch`."""
    return query.get("batch") == ["1"] or BATCH_SUBPROTOCOL in scope.get("subprotocols", ())


def refused_batch(query: Query) -> list[ProtocolError]:
    """Why the value of `batch` is not followed, if it is not: then it is as if there were none."""
    value = query.get("batch", ["0"])
    if value in (["0"], ["1"]):
        return []
    return [CommandFailed("invalid_batch", f"batch: got {','.join(value)[:60]!r}, allowed are 0 and 1; it is ignored")]


def choose_subprotocol(scope: Mapping[str, Any]) -> str | None:
    """The subprotocol to answer with: the one that says more, of those the client offers."""
    offered = scope.get("subprotocols", ())
    return next((known for known in (BATCH_SUBPROTOCOL, SUBPROTOCOL) if known in offered), None)
