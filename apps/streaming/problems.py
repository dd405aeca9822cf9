"""How what the services refuse is answered over HTTP: one rule for every router."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import NinjaAPI, Schema

from realtime.errors import AccessDenied, CommandFailed, NotFound, ProtocolError

_STATUS: dict[type[ProtocolError], int] = {AccessDenied: 403, NotFound: 404, CommandFailed: 409}


class Refusal(Schema):
    """`error` is for people, `error_code` for programs: the same code that a stream would answer with."""

    error: str
    error_code: str


REFUSALS: dict[Any, Any] = {403: Refusal, 404: Refusal, 409: Refusal}
"""For `response=`: what a view that calls services may answer beside its own."""


def answer_refusals(api: NinjaAPI) -> None:
    """Let the API answer a `ProtocolError` with its status and words."""

    def answer(request: HttpRequest, refused: Any) -> HttpResponse:
        body = {"error": refused.message, "error_code": refused.error_code}
        return api.create_response(request, body, status=_STATUS.get(type(refused), 400))

    api.add_exception_handler(ProtocolError, answer)
