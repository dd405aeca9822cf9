"""One-time tickets: how a page that holds a session or token opens a stream without a token in the URL."""

from __future__ import annotations

import hashlib
import secrets

import msgspec
from django.core.cache import cache

TICKET_SECONDS = 30


class TicketHolder(msgspec.Struct, frozen=True):
    user_id: str
    family_id: str | None


def issue(user_id: str, family_id: str | None) -> str:
    """A ticket good for one connection within `TICKET_SECONDS`."""
    ticket = secrets.token_urlsafe(32)
    cache.set(_key(ticket), (user_id, family_id), TICKET_SECONDS)
    return ticket


def redeem(ticket: str) -> TicketHolder | None:
    """Whom the ticket was issued to; None when it is unknown, expired or used. It is used afterwards."""
    key = _key(ticket)
    holder = cache.get(key)
    # Of several who got the value, `delete` answers True to one.
    if holder is None or not cache.delete(key):
        return None
    return TicketHolder(*holder)


def _key(ticket: str) -> str:
    return f"ticket:{hashlib.sha256(ticket.encode()).hexdigest()}"
