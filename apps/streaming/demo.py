"""The demo user and data of a first start. Only with DEBUG."""

from __future__ import annotations

from django.conf import settings

from apps.accounts.models import User
from apps.streaming.plugins import demo_seeders
from engines.market.feeds.base import Feed

DEMO_EMAIL = "demo@sharewise.local"
DEMO_PASSWORD = "demo"  # noqa: S105 - published on the sign-in page, and refused without DEBUG


class DemoRefused(RuntimeError):
    """Demo data was asked for with DEBUG off."""


def ensure_demo_user() -> User:
    """The demo user, made when missing. Raises `DemoRefused` when DEBUG is off."""
    if not settings.DEBUG:
        raise DemoRefused("the demo user exists only with DEBUG=1: its password is public")
    user = User.objects.filter(email=DEMO_EMAIL).first()
    return user or User.objects.create_user(DEMO_EMAIL, DEMO_PASSWORD, first_name="Demo")


def ensure_demo(feed: Feed) -> User:
    """The demo user and everything that makes its fourteen streams live. Safe to call at every start."""
    user = ensure_demo_user()
    for seed in demo_seeders:
        seed(user, feed)
    return user
