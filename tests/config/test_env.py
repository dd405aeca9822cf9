"""One frozen object from the environment; what is wrong stops the start with one line that names it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from config.env import InvalidEnvironment, load

ROOT = Path(__file__).parents[2]
PRODUCTION = {"DEBUG": "0", "SECRET_KEY": "s" * 50, "ALLOWED_HOSTS": "example.com, www.example.com"}


def test_nothing_is_needed_in_development():
    environment = load({})
    assert environment.debug
    assert environment.redis_url is None


def test_production():
    environment = load({**PRODUCTION, "REDIS_URL": "redis://localhost:6379/1", "OTHER": "x", "LOG_LEVEL": ""})
    assert environment.allowed_hosts == ("example.com", "www.example.com")
    assert not environment.debug
    assert environment.log_level == "INFO"
    with pytest.raises(AttributeError):
        environment.debug = True


def test_the_variables_of_the_manual():
    environment = load({"REDIS_URL": "redis://localhost:6379/1", "CELERY_BROKER_URL": "redis://localhost:6379/0"})
    assert environment.celery_broker_url == "redis://localhost:6379/0"


def test_history_rules():
    (rule,) = load({"HISTORY_RULES": "trading.executions.*=5000/86400"}).history_rules
    assert (rule.pattern, rule.count, rule.age_seconds) == ("trading.executions.*", 5000, 86400)


@pytest.mark.parametrize(
    ("variables", "names"),
    [
        ({"DEBUG": "maybe"}, "DEBUG"),
        ({"DEBUG": "0"}, "SECRET_KEY"),
        ({"DEBUG": "0", "SECRET_KEY": "short"}, "SECRET_KEY"),
        ({"DEBUG": "0", "SECRET_KEY": "s" * 50}, "ALLOWED_HOSTS"),
        ({"REDIS_URL": "localhost:6379"}, "REDIS_URL"),
        ({"LIMIT_OUTBOX_BYTES": "1MB"}, "LIMIT_OUTBOX_BYTES"),
        ({"LIMIT_COMMAND_BURST": "0"}, "LIMIT_COMMAND_BURST"),
        ({"HEARTBEAT_SECONDS": "nan"}, "HEARTBEAT_SECONDS"),
        ({"HISTORY_RULES": "a=b"}, "HISTORY_RULES"),
        ({"LOG_LEVEL": "LOUD"}, "LOG_LEVEL"),
        ({"SERVICE_KEYS": "short"}, "SERVICE_KEYS"),
        ({"DATABASE_URL": "mongodb://x/y"}, "DATABASE_URL"),
    ],
)
def test_a_wrong_variable_is_named_in_one_line(variables, names):
    with pytest.raises(InvalidEnvironment) as caught:
        load(variables)
    assert str(caught.value).startswith(names + ":")
    assert "\n" not in str(caught.value)


def test_a_secret_is_never_shown():
    with pytest.raises(InvalidEnvironment) as caught:
        load({"SECRET_KEY": "tooshort"})
    assert "tooshort" not in str(caught.value)


def test_the_start_stops_with_that_line():
    result = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=ROOT,
        env={**os.environ, "DEBUG": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.strip() == (
        "configuration error: SECRET_KEY: must be set, to a value of your own, when DEBUG=0"
    )
