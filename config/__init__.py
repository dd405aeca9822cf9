"""The Django project: environment, settings, ASGI application and URLs."""
