"""The environment: every variable the system reads, in one frozen, validated object.

The table in `docs/reference/settings.md` lists the same variables; a test keeps the two in step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

INSECURE_SECRET_KEY = "insecure-key-for-development-only-never-use-it-with-debug-off"  # noqa: S105 - refused with DEBUG=0

PositiveInt = Annotated[int, Meta(gt=0)]
PositiveFloat = Annotated[float, Meta(gt=0)]


class InvalidEnvironment(ValueError):
    """A variable is missing or wrong; the message is one line that names it."""


class RetentionRule(msgspec.Struct, frozen=True):
    """`pattern=count/seconds`: how much history the log topics that match keep."""

    pattern: str
    count: PositiveInt
    age_seconds: PositiveFloat


class Environment(msgspec.Struct, frozen=True, kw_only=True, rename=str.upper, forbid_unknown_fields=True):
    """One field per variable; its name in the environment is the field's in capitals."""

    debug: bool = True
    secret_key: Annotated[str, Meta(min_length=32)] = INSECURE_SECRET_KEY
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    database_url: Annotated[str, Meta(pattern=r"^(sqlite|postgres|postgresql)://")] = "sqlite:///var/sharewise.sqlite3"
    redis_url: str | None = None
    redis_prefix: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,32}$")] = "sharewise"
    celery_broker_url: Annotated[str, Meta(pattern=r"^[a-z+]+://")] | None = None
    service_keys: tuple[Annotated[str, Meta(min_length=32)], ...] = ()
    log_level: str = "INFO"

    kite_api_key: str | None = None
    kite_access_token: str | None = None
    headlines_path: str | None = None

    access_token_seconds: PositiveInt = 1_800
    refresh_token_seconds: PositiveInt = 1_209_600

    heartbeat_seconds: PositiveFloat = 20.0
    coalescing_ms: Annotated[float, Meta(ge=0, le=1_000)] = 5.0
    history_count: PositiveInt = 1_000
    history_seconds: PositiveFloat = 3_600.0
    history_rules: tuple[RetentionRule, ...] = ()
    memory_broker_bytes: PositiveInt = 268_435_456
    broker_queue_count: PositiveInt = 50_000
    drain_seconds: Annotated[float, Meta(ge=0, le=600)] = 2.0

    limit_message_bytes: PositiveInt = 65_536
    limit_commands_per_second: PositiveFloat = 20.0
    limit_command_burst: PositiveInt = 40
    limit_subscriptions_per_connection: PositiveInt = 100
    limit_connections_per_user: PositiveInt = 20
    limit_outbox_bytes: PositiveInt = 1_048_576


_LISTS = ("ALLOWED_HOSTS", "ALLOWED_ORIGINS", "SERVICE_KEYS")
_SECRETS = (
    "SECRET_KEY",
    "SERVICE_KEYS",
    "REDIS_URL",
    "CELERY_BROKER_URL",
    "DATABASE_URL",
    "KITE_API_KEY",
    "KITE_ACCESS_TOKEN",
)
_LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def load(variables: Mapping[str, str]) -> Environment:
    """Read the variables that `Environment` names; an empty one counts as unset. Raises `InvalidEnvironment`."""
    known: dict[str, Any] = {}
    for name in (field.encode_name for field in msgspec.structs.fields(Environment)):
        value = variables.get(name, "").strip()
        if not value:
            continue
        try:
            known[name] = _parsed(name, value)
            msgspec.convert({name: known[name]}, Environment, strict=False)
        except ValueError as error:
            shown = "what it holds" if name in _SECRETS else repr(value)
            reason = str(error).split(" - at ")[0]
            raise InvalidEnvironment(f"{name}: {reason}; {shown} is not allowed") from None
    environment = msgspec.convert(known, Environment, strict=False)
    if environment.log_level not in _LOG_LEVELS:
        raise InvalidEnvironment(f"LOG_LEVEL: got {environment.log_level!r}, allowed are {', '.join(_LOG_LEVELS)}")
    if not environment.debug:
        if environment.secret_key == INSECURE_SECRET_KEY:
            raise InvalidEnvironment("SECRET_KEY: must be set, to a value of your own, when DEBUG=0")
        if not environment.allowed_hosts:
            raise InvalidEnvironment("ALLOWED_HOSTS: must be set when DEBUG=0, for example ALLOWED_HOSTS=example.com")
    return environment


def _parsed(name: str, value: str) -> Any:
    if name in _LISTS:
        return [item.strip() for item in value.split(",") if item.strip()]
    if name == "HISTORY_RULES":
        return [_retention_rule(item.strip()) for item in value.split(",") if item.strip()]
    if name == "REDIS_URL":
        _check_redis(value)
    return value


def _check_redis(urls: str) -> None:
    from realtime.brokers.redis.servers import connect, split_urls  # noqa: PLC0415 - without Redis, none of it is loaded

    for url in split_urls(urls):
        connect(url)


def _retention_rule(text: str) -> dict[str, str]:
    pattern, equals, bounds = text.partition("=")
    count, slash, seconds = bounds.partition("/")
    if not (pattern and equals and slash):
        raise ValueError(f"expected pattern=count/seconds, got {text!r}")
    return {"pattern": pattern, "count": count, "age_seconds": seconds}
