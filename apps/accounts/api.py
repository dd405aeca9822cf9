"""`/api/token/`: sign in, refresh, sign out. `user_auth` protects other routers."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import Router, Schema, Status
from ninja.security import HttpBearer, SessionAuth

from apps.accounts import tokens
from apps.accounts.models import User
from apps.accounts.signin import SignInRefused, sign_in

router = Router()


class Credentials(Schema):
    email: str
    password: str


class RefreshToken(Schema):
    refresh: str


class TokenPair(Schema):
    access: str
    refresh: str


class Problem(Schema):
    error: str


class AccessTokenAuth(HttpBearer):
    """Sets `request.auth` to the token's user."""

    def authenticate(self, request: HttpRequest, token: str) -> Any:
        try:
            claims = tokens.verify_access(token)
        except tokens.InvalidToken:
            return None
        request.token_claims = claims  # type: ignore[attr-defined]
        return User.objects.get(id=claims.user_id)


class SignedInSession(SessionAuth):
    """The console's cookie. Sets `request.auth` to the user; Django checks the CSRF token."""


user_auth = [AccessTokenAuth(), SignedInSession()]


@router.post("/", response={200: TokenPair, 401: Problem, 429: Problem}, auth=None)
def log_in(request: HttpRequest, credentials: Credentials, response: HttpResponse) -> Any:
    """Sign in: an access token for requests and streams, a refresh token for the next pair."""
    try:
        user = sign_in(request, credentials.email, credentials.password)
    except SignInRefused as refused:
        if refused.wait_seconds:
            response["Retry-After"] = str(refused.wait_seconds)
            return Status(429, {"error": str(refused)})
        return Status(401, {"error": str(refused)})
    pair = tokens.log_in(user)
    return Status(200, {"access": pair.access, "refresh": pair.refresh})


@router.post("/refresh/", response={200: TokenPair, 401: Problem}, auth=None)
def refresh(request: HttpRequest, body: RefreshToken) -> Any:
    """A new pair. Each refresh token works once; a second use revokes the whole login."""
    try:
        pair = tokens.refresh(body.refresh)
    except tokens.InvalidToken as error:
        return Status(401, {"error": str(error)})
    return Status(200, {"access": pair.access, "refresh": pair.refresh})


@router.post("/logout/", response={204: None, 401: Problem}, auth=None)
def log_out(request: HttpRequest, body: RefreshToken) -> Any:
    """End the login that a refresh token belongs to: its access tokens too, and its open streams within seconds."""
    try:
        tokens.log_out(body.refresh)
    except tokens.InvalidToken as error:
        return Status(401, {"error": str(error)})
    return Status(204, None)
