import logging

from django.apps import AppConfig

from apps.streaming.redact import RedactCredentials


class StreamingConfig(AppConfig):
    name = "apps.streaming"
    label = "streaming"

    def ready(self) -> None:
        # Servers log the URL of a handshake, and with it what stands in `?token=` or `?ticket=`.
        for server in ("uvicorn.error", "uvicorn.access", "daphne.server", "daphne.ws_protocol", "django.request"):
            logging.getLogger(server).addFilter(RedactCredentials())
