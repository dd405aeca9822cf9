"""Access and refresh tokens: JSON Web Tokens, in families that rotate.

A login starts a family. Every refresh answers with a new pair and makes the old refresh token worthless; whoever
presents an old one (a thief, or the owner after a thief) revokes the family, and with it its access tokens.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import jwt
import msgspec
from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.models import Session
from django.db import transaction
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from apps.accounts.models import TokenFamily, User

ALGORITHM = "HS256"
MAX_VERIFIED = 10_000
MAX_HASHED = 50_000
REVOKED = "the token was revoked; sign in again"


class InvalidToken(ValueError):
    """The token is malformed, expired, revoked, or of the wrong kind. The message may be shown to its bearer."""


class TokenPair(msgspec.Struct, frozen=True):
    access: str
    refresh: str


class AccessClaims(msgspec.Struct, frozen=True):
    """What an access token says. Whether its login is still good is in the database."""

    user_id: str
    family_id: str
    expires_at: datetime


class Login(msgspec.Struct, frozen=True):
    """A good token family, and its user's present state."""

    user_id: str
    is_staff: bool


def log_in(user: User) -> TokenPair:
    """Start a family for this user."""
    expires_at = timezone.now() + timedelta(seconds=settings.ENV.refresh_token_seconds)
    return _pair(TokenFamily.objects.create(user=user, auth_hash=user.get_session_auth_hash(), expires_at=expires_at))


def refresh(token: str) -> TokenPair:
    """Exchange a refresh token for a new pair. Raises `InvalidToken`; a reused token revokes its family."""
    claims = _decode(token, "refresh")
    with transaction.atomic():
        living = TokenFamily.objects.alive().select_related("user").select_for_update(of=("self",))
        family = living.filter(id=claims["fam"]).first()
        if family is None or not family.has_same_password:
            raise InvalidToken("the refresh token was revoked; sign in again")
        reused = str(family.current_id) != claims["jti"]
        if reused:
            family.revoked_at = timezone.now()
        else:
            family.current_id = uuid.uuid4()
        family.save(update_fields=["revoked_at", "current_id"])
    if reused:
        raise InvalidToken("the refresh token was used before: every token of this login is revoked; sign in again")
    return _pair(family)


def log_out(refresh_token: str) -> None:
    """End a login: its tokens are worthless from now on, and its streams close. A login that has ended already is no
    error. Raises `InvalidToken`."""
    claims = _decode(refresh_token, "refresh")
    TokenFamily.objects.filter(id=claims["fam"], revoked_at=None).update(revoked_at=timezone.now())


def verify_access(token: str) -> AccessClaims:
    """What the access token says. Raises `InvalidToken`, also when its user or family is no longer good."""
    claims = read_access(token)
    if claims.family_id not in good_logins([claims.family_id]):
        raise InvalidToken(REVOKED)
    return claims


def read_access(token: str) -> AccessClaims:
    """What the access token says, without asking whether its login is still good. Raises `InvalidToken`."""
    claims = _decode(token, "access")
    try:
        family_id = uuid.UUID(claims["fam"])
    except (ValueError, AttributeError, TypeError):
        raise InvalidToken("the token is not valid") from None
    return AccessClaims(
        user_id=str(claims["sub"]),
        family_id=str(family_id),
        expires_at=datetime.fromtimestamp(claims["exp"], UTC),
    )


def good_logins(family_ids: Collection[str]) -> dict[str, Login]:
    """Those of these families that are good. One query, however many."""
    families = TokenFamily.objects.alive().filter(id__in=family_ids)
    rows = families.values_list("id", "auth_hash", "user_id", "user__password", "user__is_staff")
    return {
        str(family_id): Login(str(user_id), is_staff)
        for family_id, auth_hash, user_id, password, is_staff in rows
        if constant_time_compare(auth_hash, _auth_hash(password, settings.SECRET_KEY))
    }


def ended_sessions(session_keys: set[str]) -> set[str]:
    """Which of these sessions were signed out, have expired, or belong to a user who changed the password."""
    alive = Session.objects.filter(session_key__in=session_keys, expire_date__gt=timezone.now())
    decoded = {session.session_key: session.get_decoded() for session in alive}
    users = User.objects.in_bulk([int(data[SESSION_KEY]) for data in decoded.values() if SESSION_KEY in data])
    good = set()
    for session_key, data in decoded.items():
        user = users.get(int(data.get(SESSION_KEY, 0)))
        if user is not None and constant_time_compare(data[HASH_SESSION_KEY], user.get_session_auth_hash()):
            good.add(session_key)
    return session_keys - good


def active_users(user_ids: set[str]) -> dict[str, bool]:
    """Which of these users may be connected, and whether each is staff now."""
    active = User.objects.filter(id__in=user_ids, is_active=True).values_list("id", "is_staff")
    return {str(user_id): is_staff for user_id, is_staff in active}


def _pair(family: TokenFamily) -> TokenPair:
    now = timezone.now()
    return TokenPair(
        access=_encode(family, "access", uuid.uuid4(), now + timedelta(seconds=settings.ENV.access_token_seconds)),
        refresh=_encode(family, "refresh", family.current_id, family.expires_at),
    )


def _encode(family: TokenFamily, kind: str, token_id: uuid.UUID, expires_at: datetime) -> str:
    claims = {
        "sub": str(family.user_id),
        "typ": kind,
        "fam": str(family.id),
        "jti": str(token_id),
        "iat": int(timezone.now().timestamp()),
        "exp": int(expires_at.timestamp()),
    }
    return jwt.encode(claims, settings.SECRET_KEY, ALGORITHM)


@lru_cache(maxsize=MAX_HASHED)
def _auth_hash(password: str, secret: str) -> str:  # noqa: ARG001 - part of what the answer depends on
    """`get_session_auth_hash` of a user whose password is stored as this: it takes longer than asking the database,
    and every connected login is asked about every two seconds."""
    return User(password=password).get_session_auth_hash()


@lru_cache(maxsize=MAX_VERIFIED)
def _verified(token: str, secret: str) -> dict[str, Any]:
    """The claims of a token with a good signature. Clients that come back by the thousand have shown theirs before, and
    verifying is a seventh of what a connection costs."""
    return jwt.decode(token, secret, [ALGORITHM], options={"require": ["sub", "typ", "fam", "jti", "exp"]})


def _decode(token: str, kind: str) -> dict[str, Any]:
    try:
        claims = _verified(token, settings.SECRET_KEY)
    except jwt.ExpiredSignatureError:
        raise InvalidToken("the token has expired") from None
    except jwt.PyJWTError:
        raise InvalidToken("the token is not valid") from None
    if claims["exp"] <= time.time():  # it was good when it was verified
        raise InvalidToken("the token has expired")
    if claims["typ"] != kind:
        raise InvalidToken(f"expected an {kind} token, got a token for {claims['typ']}")
    return claims
