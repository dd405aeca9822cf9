"""Keeps tokens and tickets out of logs."""

from __future__ import annotations

import logging
import re

_CREDENTIAL = re.compile(r"(?i)\b(token|ticket)=[^&\s\"']+|\bbearer[. ][\w.~+/-]+")


def redact(text: str) -> str:
    """The text with every token and ticket replaced by its name."""
    return _CREDENTIAL.sub(lambda match: f"{match[1] or 'bearer'}=[hidden]", text)


class RedactCredentials(logging.Filter):
    """A logging filter that rewrites records which carry a credential."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        redacted = redact(message)
        if redacted != message:
            record.msg, record.args = redacted, None
        return True
