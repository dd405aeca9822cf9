"""Django Channels with its `AuthMiddlewareStack` and its in-memory layer, on this project's database: who connects is
signed in by the session cookie and gets the same snapshot as on our signals stream."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

import django
from django.conf import settings

settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
django.setup()

import msgspec  # noqa: E402 - needs Django set up
from channels.auth import AuthMiddlewareStack  # noqa: E402 - needs Django set up
from channels.db import database_sync_to_async  # noqa: E402 - needs Django set up
from channels.generic.websocket import AsyncWebsocketConsumer  # noqa: E402 - needs Django set up
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402 - needs Django set up
from django.db.models import Q  # noqa: E402 - needs Django set up
from django.urls import path  # noqa: E402 - needs Django set up

from apps.accounts.models import User  # noqa: E402 - needs Django set up
from apps.trading import messages, present  # noqa: E402 - needs Django set up
from apps.trading.models import Signal  # noqa: E402 - needs Django set up
from benchmarks.pump import Messages, controlled  # noqa: E402 - needs Django set up


def _recent_signals(user: User) -> list[messages.Signal]:
    symbols = list(user.watchlist.values_list("instrument_id", flat=True))
    wanted = Q(user=user) | Q(user=None, symbol__in=symbols) if symbols else Q(user=user)
    return [present.signal(row) for row in Signal.objects.filter(wanted)[:50]]


class SignalsConsumer(AsyncWebsocketConsumer):
    """Joins the user's group, and sends the user's latest signals."""

    async def connect(self) -> None:
        user = self.scope["user"]
        if not user.is_authenticated:
            await self.close()
            return
        self.group = f"signals-{user.pk}"
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()
        signals = await database_sync_to_async(_recent_signals)(user)
        snapshot = {"type": "recent_signals", "signals": signals, "count": len(signals)}
        await self.send(text_data=msgspec.json.encode(snapshot).decode())

    async def disconnect(self, code: int) -> None:  # noqa: ARG002 - Channels hands it over
        if hasattr(self, "group"):
            await self.channel_layer.group_discard(self.group, self.channel_name)


def _publish(messages: Messages, personal: bool) -> None:
    raise NotImplementedError("this peer is measured at connecting only")


application = controlled(
    ProtocolTypeRouter({"websocket": AuthMiddlewareStack(URLRouter([path("signals", SignalsConsumer.as_asgi())]))}),
    _publish,
)
