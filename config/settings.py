"""Django settings, all of them derived from the one `Environment`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import dj_database_url

from config.env import InvalidEnvironment, load

BASE_DIR = Path(__file__).resolve().parent.parent

try:
    ENV = load(os.environ)
except InvalidEnvironment as error:
    sys.exit(f"configuration error: {error}")

DEBUG = ENV.debug
SECRET_KEY = ENV.secret_key
ALLOWED_HOSTS = list(ENV.allowed_hosts) or ["localhost", "127.0.0.1", "[::1]"]
ALLOWED_ORIGINS = list(ENV.allowed_origins)
CSRF_TRUSTED_ORIGINS = ALLOWED_ORIGINS

INSTALLED_APPS = [
    "daphne",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "servestatic",
    "channels",
    "apps.accounts",
    "apps.streaming",
    "apps.trading",
    "apps.ai_studio",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "servestatic.middleware.ServeStaticMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DATABASES = {"default": dj_database_url.parse(ENV.database_url)}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    database = DATABASES["default"]
    path = BASE_DIR / str(database["NAME"])
    path.parent.mkdir(parents=True, exist_ok=True)
    database["NAME"] = str(path)
    database["TEST"] = {"NAME": str(path.with_name("test.sqlite3"))}  # a file: tests run a server in a thread
    # Readers never wait for the writer, and writers queue instead of failing.
    database["OPTIONS"] = {
        "timeout": 20,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
DATABASES["default"] |= {"CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Apart, so that a flood of logins cannot push tickets out.
_CACHE = "apps.streaming.cache.SharedCache" if ENV.redis_url else "django.core.cache.backends.locmem.LocMemCache"
CACHES = {
    name: {"BACKEND": _CACHE, "LOCATION": name, "OPTIONS": {"MAX_ENTRIES": 100_000}}
    for name in ("default", "tickets", "logins")
}

_LAYER = "redis.RedisChannelLayer" if ENV.redis_url else "memory.MemoryChannelLayer"
CHANNEL_LAYERS = {"default": {"BACKEND": f"apps.streaming.channel_layer.{_LAYER}"}}

AUTH_USER_MODEL = "accounts.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
LOGIN_URL = "/"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/"

LANGUAGE_CODE = "en-in"
TIME_ZONE = "Asia/Kolkata"
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "var" / "static"
STATIC_ROOT.mkdir(parents=True, exist_ok=True)
# `serve` needs no collectstatic: the few files are served from the apps themselves.
SERVESTATIC_USE_FINDERS = True

SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = not DEBUG
CSRF_COOKIE_SECURE = not DEBUG
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_CONTENT_TYPE_NOSNIFF = True
X_FRAME_OPTIONS = "DENY"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)-7s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {
        **{
            package: {"handlers": ["stderr"], "level": ENV.log_level, "propagate": False}
            for package in ("apps", "engines", "realtime")
        },
        "django.request": {"level": "ERROR"},
    },
}
