"""Who opens a connection: the first credential that is present decides (DESIGN §5.1)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs

import msgspec
from channels.auth import get_user
from django.conf import settings
from django.db import Error as DatabaseError
from django.http.cookie import parse_cookie

from apps.accounts import tokens
from apps.accounts.models import User
from apps.streaming import tickets
from apps.streaming.known_logins import KnownLogins
from apps.streaming.threads import in_database
from realtime.connection import Connection
from realtime.errors import NotAuthenticated, ProtocolError

log = logging.getLogger(__name__)

SUBPROTOCOL = "sharewise.v1"
BATCH_SUBPROTOCOL = "sharewise.v1.batch"
_BEARER_SUBPROTOCOL = "bearer."


class Principal(msgspec.Struct, frozen=True):
    """Who is connected, and until when."""

    user_id: str
    is_staff: bool
    family_id: str | None = None
    session_key: str | None = None
    expires_at: datetime | None = None


class StreamConnection(Connection):
    """A connection that knows which login opened it, and how to ask whether its user may still see its object; which it
    does by itself when a right ends at a time that is known."""

    is_staff: bool = False
    family_id: str | None = None
    session_key: str | None = None
    reauthorize: Callable[[], Awaitable[None]] | None = None
    rights_end_at: datetime | None = None
    _asking: asyncio.Task[None] | None = None

    def tick(self) -> None:
        super().tick()
        if self.closed_with is not None or self.rights_end_at is None or self._clock.now() < self.rights_end_at:
            return
        if self._asking is None or self._asking.done():
            self._asking = asyncio.get_running_loop().create_task(self._ask_again())

    async def check_object(self) -> None:
        """Close, unless the user may still see the object."""
        if self.reauthorize is None or self.closed_with is not None:
            return
        try:
            await self.reauthorize()
        except ProtocolError as refused:
            self.reject(refused)

    async def _ask_again(self) -> None:
        try:
            await self.check_object()
        except DatabaseError:
            log.exception("could not ask whether a right has ended; trying again")


async def authenticate(scope: Mapping[str, Any], logins: KnownLogins) -> Principal:
    """The principal of a handshake. Raises `NotAuthenticated` with a reason for the client."""
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
    authorization = _header(scope, b"authorization")
    if authorization is not None:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise NotAuthenticated("the Authorization header must be 'Bearer <access token>'")
        return await authenticate_token(token.strip(), logins)
    if "token" in query:
        return await authenticate_token(query["token"][0], logins)
    if "ticket" in query:
        return await _from_ticket(query["ticket"][0], logins)
    for subprotocol in scope.get("subprotocols", ()):
        if subprotocol.startswith(_BEARER_SUBPROTOCOL):
            return await authenticate_token(subprotocol.removeprefix(_BEARER_SUBPROTOCOL), logins)
    return await _from_session(scope)


async def authenticate_token(token: str, logins: KnownLogins) -> Principal:
    """The principal of an access token. Raises `NotAuthenticated`."""
    try:
        claims = tokens.read_access(token)
    except tokens.InvalidToken as error:
        raise NotAuthenticated(str(error)) from None
    login = await logins.find(claims.family_id)
    if login is None:
        raise NotAuthenticated(tokens.REVOKED)
    return Principal(login.user_id, login.is_staff, claims.family_id, None, claims.expires_at)


async def _from_ticket(ticket: str, logins: KnownLogins) -> Principal:
    holder = await in_database(tickets.redeem, ticket)
    if holder is None:
        raise NotAuthenticated("the ticket is unknown, expired, or was used before; get a new one")
    if holder.family_id is not None:
        login = await logins.find(holder.family_id)
        if login is None:
            raise NotAuthenticated(tokens.REVOKED)
        return Principal(login.user_id, login.is_staff, holder.family_id, None, holder.expires_at)
    user = await in_database(User.objects.filter(id=holder.user_id, is_active=True).first)
    if user is None:
        raise NotAuthenticated("this account is not active")
    return Principal(str(user.pk), user.is_staff, None, holder.session_key, holder.expires_at)


async def _from_session(scope: Mapping[str, Any]) -> Principal:
    cookies = parse_cookie(_header(scope, b"cookie") or "")
    session = _sessions().SessionStore(cookies.get(settings.SESSION_COOKIE_NAME))
    user = await get_user({"session": session}) if session.session_key else None
    if not isinstance(user, User) or not user.is_active:
        raise NotAuthenticated(
            "sign in first: send an access token in the Authorization header or as ?token=, or a ticket as ?ticket="
        )
    origin = _header(scope, b"origin")
    if not _origin_allowed(origin, _header(scope, b"host")):
        raise NotAuthenticated(f"connections with a session cookie are not allowed from origin {origin!r}")
    expires_at = await in_database(session.get_expiry_date)
    return Principal(str(user.pk), user.is_staff, None, session.session_key, expires_at)


@cache
def _sessions() -> ModuleType:
    return import_module(settings.SESSION_ENGINE)


def _origin_allowed(origin: str | None, host: str | None) -> bool:
    if not origin:
        return False
    return origin in settings.ALLOWED_ORIGINS or origin in {f"http://{host}", f"https://{host}"}


def _header(scope: Mapping[str, Any], name: bytes) -> str | None:
    for key, value in scope.get("headers", ()):
        if key.lower() == name:
            return str(value.decode("latin-1"))
    return None
