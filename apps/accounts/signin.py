"""Signing in by e-mail and password: one path for the REST API and the console."""

from __future__ import annotations

from django.contrib.auth import authenticate
from django.http import HttpRequest

from apps.accounts.models import User
from apps.accounts.throttle import LoginThrottle


class SignInRefused(Exception):
    """Wrong, or too soon after too many wrong ones (`wait_seconds` > 0). The message may be shown."""

    def __init__(self, message: str, wait_seconds: int = 0) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds


def sign_in(request: HttpRequest, email: str, password: str) -> User:
    """The active user with this e-mail and password. Raises `SignInRefused`."""
    throttle = LoginThrottle(email, request.META.get("REMOTE_ADDR", ""))
    wait_seconds = throttle.attempt()
    if wait_seconds:
        raise SignInRefused(f"too many wrong passwords: try again in {wait_seconds} s", wait_seconds)
    user = authenticate(request, username=email.strip().lower(), password=password)
    if not isinstance(user, User):
        raise SignInRefused("no active account has this e-mail and password")
    throttle.succeeded()
    return user
