"""What loaders of files say about files and rows that are of no use."""

from __future__ import annotations

import msgspec


class BadRow(msgspec.Struct, frozen=True):
    """A row that was skipped, and why."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


class UnusableFile(ValueError):
    """The file cannot be read, lacks columns, or has no good row."""
