"""`/api/realtime/`: tickets for pages, publishing for programs in other languages."""

from __future__ import annotations

import hmac
from typing import Any

from django.conf import settings
from django.core import signing
from django.http import HttpRequest
from ninja import Field, Router, Schema
from ninja.security import HttpBearer

from apps.accounts.api import user_auth
from apps.streaming import tickets
from apps.streaming.publishing import call_notification
from realtime.errors import InvalidMessage

MAX_ITEMS = 1_000
SERVICE_TOKEN_SECONDS = 300
_SERVICE_SALT = "sharewise.service"

router = Router()


class Ticket(Schema):
    ticket: str
    expires_in: int


class PublishItem(Schema):
    notify: str = Field(..., examples=["notify_new_signal"])
    arguments: dict[str, Any]
    idempotency_key: str | None = Field(None, max_length=128)


class PublishRequest(Schema):
    items: list[PublishItem] = Field(..., min_length=1, max_length=MAX_ITEMS)


class PublishResult(Schema):
    ok: bool
    error: str | None = None


class PublishResponse(Schema):
    published: int
    failed: int
    results: list[PublishResult]


class ServiceAuth(HttpBearer):
    """A key of `SERVICE_KEYS`, or a short-lived token made by a process that shares `SECRET_KEY`."""

    def authenticate(self, request: HttpRequest, token: str) -> Any:
        if any(hmac.compare_digest(token.encode(), key.encode()) for key in settings.ENV.service_keys):
            return "service key"
        try:
            return signing.loads(token, salt=_SERVICE_SALT, max_age=SERVICE_TOKEN_SECONDS)
        except signing.BadSignature:
            return None


def service_token() -> str:
    """A bearer token for the publish API, for our own commands."""
    return signing.dumps("own process", salt=_SERVICE_SALT)


@router.post("/ticket/", response=Ticket, auth=user_auth)
def ticket(request: HttpRequest) -> Any:
    """A ticket for one connection: `?ticket=…`, good for 30 seconds and a single use."""
    claims = getattr(request, "token_claims", None)
    holder = tickets.TicketHolder(
        user_id=str(request.auth.pk),  # type: ignore[attr-defined]
        family_id=claims.family_id if claims else None,
        session_key=None if claims else request.session.session_key,
        expires_at=claims.expires_at if claims else request.session.get_expiry_date(),
    )
    return {"ticket": tickets.issue(holder), "expires_in": tickets.TICKET_SECONDS}


@router.post("/publish/", response=PublishResponse, auth=ServiceAuth())
def publish(request: HttpRequest, body: PublishRequest) -> Any:
    """Call `notify_*` functions by name. Each item is published whole or not at all, and has its own result."""
    results = [_publish(item) for item in body.items]
    failed = sum(not result["ok"] for result in results)
    return {"published": len(results) - failed, "failed": failed, "results": results}


def _publish(item: PublishItem) -> dict[str, Any]:
    arguments = dict(item.arguments)
    if item.idempotency_key is not None:
        arguments["idempotency_key"] = item.idempotency_key
    try:
        call_notification(item.notify, arguments)
    except InvalidMessage as error:
        return {"ok": False, "error": str(error)}
    return {"ok": True}
