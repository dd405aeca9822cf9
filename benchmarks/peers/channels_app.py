"""Django Channels as its tutorial teaches it: a consumer in a group, `group_send`, the layer `CHANNEL_LAYER` names."""

from __future__ import annotations

import os
from typing import Any

import django
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import get_channel_layer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.urls import path

from benchmarks.pump import controlled, one_by_one, wire_message

# redis-py's own limits, 100 connections and five seconds for an answer, are below what this layer needs: a connection
# for each consumer that joins a group at that moment, and one that waits five seconds for messages.
_HOST = {
    "address": os.environ.get("BENCH_REDIS_URL", "redis://127.0.0.1:6379/9"),
    "max_connections": 10_000,
    "socket_timeout": None,
}
_REDIS = {"hosts": [_HOST]}
_LAYERS: dict[str, dict[str, Any]] = {
    "memory": {"BACKEND": "channels.layers.InMemoryChannelLayer"},
    "redis-core": {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": _REDIS},
    "redis-pubsub": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": _REDIS},
}

settings.configure(
    CHANNEL_LAYERS={"default": _LAYERS[os.environ.get("CHANNEL_LAYER", "memory")]},
    SECRET_KEY="only for benchmarks",  # noqa: S106 - signs nothing
    ALLOWED_HOSTS=["*"],
)
django.setup()


class SignalsConsumer(AsyncWebsocketConsumer):
    """Joins the groups of its path, and passes on what is sent there."""

    async def connect(self) -> None:
        self.topics = [f"topic-{topic}" for topic in self.scope["url_route"]["kwargs"]["topics"].split(",")]
        for topic in self.topics:
            await self.channel_layer.group_add(topic, self.channel_name)
        await self.accept()
        await self.send(text_data='{"type":"welcome"}')

    async def disconnect(self, code: int) -> None:  # noqa: ARG002 - Channels hands it over
        for topic in self.topics:
            await self.channel_layer.group_discard(topic, self.channel_name)

    async def signal(self, event: dict[str, Any]) -> None:
        await self.send(text_data=event["text"])


async def _publish(topic: int, signal: dict[str, Any]) -> None:
    await get_channel_layer().group_send(f"topic-{topic}", {"type": "signal", "text": wire_message(topic, signal)})


_streams = URLRouter([path("signals/<str:topics>", SignalsConsumer.as_asgi())])
application = controlled(ProtocolTypeRouter({"websocket": _streams}), one_by_one(_publish))
