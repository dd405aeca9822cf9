"""One-time tickets: how a page that holds a session or token opens a stream without a token in the URL."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime

import msgspec
from django.core.cache import caches

TICKET_SECONDS = 30


class TicketHolder(msgspec.Struct, frozen=True):
    """Whom a ticket was issued to: the user, by which login, and how long that is good."""

    user_id: str
    family_id: str | None
    session_key: str | None
    expires_at: datetime


def issue(holder: TicketHolder) -> str:
    """A ticket good for one connection within `TICKET_SECONDS`."""
    ticket = secrets.token_urlsafe(32)
    caches["tickets"].set(_key(ticket), msgspec.json.encode(holder), TICKET_SECONDS)
    return ticket


def redeem(ticket: str) -> TicketHolder | None:
    """Whom the ticket was issued to; None when it is unknown, expired or used. It is used afterwards."""
    key = _key(ticket)
    holder = caches["tickets"].get(key)
    # Of several who got the value, `delete` answers True to one.
    if holder is None or not caches["tickets"].delete(key):
        return None
    return msgspec.json.decode(holder, type=TicketHolder)


def _key(ticket: str) -> str:
    return f"ticket:{hashlib.sha256(ticket.encode()).hexdigest()}"
