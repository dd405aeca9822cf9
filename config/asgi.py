"""The ASGI application: HTTP to Django, WebSockets to the streams."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
http_application = get_asgi_application()  # sets Django up; everything below needs it

from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402 - needs Django set up

from apps.ai_studio.routing import websocket_urlpatterns as ai_studio_urlpatterns  # noqa: E402 - as above
from apps.streaming.consumer import unknown_endpoint  # noqa: E402 - as above
from apps.streaming.middleware import Attached, StreamAuthMiddleware  # noqa: E402 - as above
from apps.trading.routing import websocket_urlpatterns as trading_urlpatterns  # noqa: E402 - as above

application = Attached(
    ProtocolTypeRouter(
        {
            "http": http_application,
            "websocket": StreamAuthMiddleware(
                URLRouter([*trading_urlpatterns, *ai_studio_urlpatterns, unknown_endpoint])
            ),
        }
    )
)
