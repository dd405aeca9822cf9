"""Topics: dotted addresses of two kinds, and how much history each keeps."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

import msgspec

from realtime.errors import InvalidTopic

MAX_NAME_LENGTH = 99
_NAME = re.compile(r"[A-Za-z0-9_.\-]+")


class Kind(enum.Enum):
    """What counts on a topic: every publication (a log), or only the latest per key (a state)."""

    LOG = "log"
    STATE = "state"


class Topic(msgspec.Struct, frozen=True, gc=False):
    """A validated topic. Build these only in an app's `topics.py`.

    Raises `InvalidTopic` when the name is empty, too long, or holds a character outside `[A-Za-z0-9_.-]`.
    """

    name: str
    kind: Kind

    def __post_init__(self) -> None:
        if len(self.name) > MAX_NAME_LENGTH:
            raise InvalidTopic(
                f"topic {self.name[:40]!r}… has {len(self.name)} characters, at most {MAX_NAME_LENGTH} are allowed"
            )
        if not _NAME.fullmatch(self.name):
            raise InvalidTopic(f"topic {self.name!r} may hold only letters, digits, '_', '.' and '-', and not be empty")


class Retention(msgspec.Struct, frozen=True):
    """How much of a log topic is kept for resuming, whichever bound is reached first."""

    count: int = 1_000
    age_seconds: float = 3_600.0


class RetentionRules:
    """Retention per topic: the first pattern that matches (`trading.signals.*`) decides, else the default."""

    def __init__(self, rules: Iterable[tuple[str, Retention]] = (), default: Retention | None = None) -> None:
        self._rules = tuple(rules)
        self._default = default or Retention()

    def for_topic(self, name: str) -> Retention:
        for pattern, retention in self._rules:
            if fnmatchcase(name, pattern):
                return retention
        return self._default
