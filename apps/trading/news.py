"""Headlines from files: CSV, JSON lines, RSS and Atom. Synchronous; nothing is fetched.

A CSV file has a header, a JSON-lines file one object per line, with the fields `title` and `published_at` (ISO 8601
with a zone), and, where known, `source`, `url` and `symbols` (in CSV parted by spaces or semicolons, in JSON a list).
"""

from __future__ import annotations

import calendar
import csv
import io
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.sax import SAXException

import feedparser
import msgspec

from engines.trading.sentiment.headlines import Headline, new_headline

log = logging.getLogger(__name__)

MAX_BYTES = 8 * 1024 * 1024
MAX_ENTRIES = 10_000
MAX_HTML = 2_000  # characters of a title with its tags
FEED_SUFFIXES = (".xml", ".rss", ".atom")
LINE_SUFFIXES = (".csv", ".jsonl", ".ndjson")
SUFFIXES = (*FEED_SUFFIXES, *LINE_SUFFIXES)


class UnreadableNews(ValueError):
    """A file that cannot be used at all. The message says which, and why."""


class NewsRead(msgspec.Struct, frozen=True):
    """What a file holds: headlines, and what of it could not be used, in words."""

    headlines: list[Headline]
    problems: list[str]


class NewsReader:
    """Reads a file, or every file of a directory (not of those within it) that is named as one of `SUFFIXES`. A file is
    read when it is new or has changed; one that could not be read is not tried again before it changes."""

    def __init__(self, path: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.problems: list[str] = []
        self._path = path
        self._now = now
        self._seen: dict[Path, tuple[int, int]] = {}

    def read(self) -> list[Headline]:
        """All of the files that are new or have changed since the last call. Entries that say a time to come count as
        published now, those that say none when their file last changed. What could not be used, be it that there is no
        such path yet, raises nothing: it is in `problems`, in words, and logged, once while it lasts."""
        now = self._now()
        headlines: list[Headline] = []
        problems: list[str] = []
        try:
            changed = self._changed()
        except OSError as error:
            changed = []
            problems.append(f"{self._path}: {error.strerror}")
        for path, changed_at in changed:
            try:
                result = read_headlines(path, min(changed_at, now), now)
            except UnreadableNews as error:
                problems.append(str(error))
            except OSError as error:
                del self._seen[path]  # it may be let read without being changed
                problems.append(f"{path.name}: {error.strerror}")
            else:
                headlines += result.headlines
                problems += result.problems
        for problem in problems:
            if problem not in self.problems:
                log.warning("news: %s", problem)
        self.problems = problems
        return headlines

    def _changed(self) -> list[tuple[Path, datetime]]:
        """The files that are new or have changed, with the time of it. From now on they count as seen."""
        paths = [self._path]
        if self._path.is_dir():
            paths = sorted(path for path in self._path.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
        seen, changed = {}, []
        for path in paths:
            status = path.stat()
            seen[path] = (status.st_mtime_ns, status.st_size)
            if self._seen.get(path) != seen[path]:
                changed.append((path, datetime.fromtimestamp(status.st_mtime, UTC)))
        self._seen = seen
        return changed


def read_headlines(path: Path, undated: datetime, now: datetime) -> NewsRead:
    """The headlines of one file, by its suffix; those without a time count as published at `undated`, those ahead of
    `now` at `now`. Raises `UnreadableNews` when it is too large, of another kind, or broken; a single row or entry that
    is bad is left out and named among the problems."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UnreadableNews(f"{path.name}: not one of {', '.join(SUFFIXES)}")
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise UnreadableNews(f"{path.name}: larger than {MAX_BYTES // 1024 // 1024} MiB")
    if suffix in FEED_SUFFIXES:
        rows = _feed_rows(path, data)
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise UnreadableNews(f"{path.name}: not UTF-8 at byte {error.start}") from error
        rows = _csv_rows(path, text) if suffix == ".csv" else _json_rows(text)
    return _headlines(path, rows, undated, now)


def plain_text(html: str) -> str:
    """The text of a piece of HTML: no tags, no scripts, entities resolved."""
    text = _Text()
    text.feed(html[:MAX_HTML])
    text.close()
    return " ".join("".join(text.parts).split())


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: Any) -> None:  # noqa: ARG002 - the base class calls it so
        if tag in ("script", "style"):
            self._hidden += 1
        elif tag in ("br", "p", "div", "li"):
            self.parts.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._hidden = max(0, self._hidden - 1)

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.parts.append(data)


# What a row says: where it stands, its fields, or what is wrong with it.
_Row = tuple[str, Mapping[str, Any] | str]


def _headlines(path: Path, rows: Iterable[_Row], undated: datetime, now: datetime) -> NewsRead:
    headlines: list[Headline] = []
    problems: list[str] = []
    for where, row in rows:
        try:
            headlines.append(_headline(row, undated, now))
        except ValueError as error:
            problems.append(f"{path.name}, {where}: {error}")
        if len(headlines) + len(problems) > MAX_ENTRIES:
            raise UnreadableNews(f"{path.name}: more than {MAX_ENTRIES:,} entries")
    return NewsRead(headlines, problems)


def _headline(row: Mapping[str, Any] | str, undated: datetime, now: datetime) -> Headline:
    if isinstance(row, str):
        raise ValueError(row)  # noqa: TRY004 - the row's problem, not this code's
    published_at = row.get("published_at") or undated
    if isinstance(published_at, str):
        published_at = datetime.fromisoformat(published_at.strip())
    if not isinstance(published_at, datetime):
        raise ValueError(f"published_at is a time in ISO 8601, not {published_at!r}")  # noqa: TRY004 - as above
    if published_at.tzinfo is not None:
        published_at = min(published_at, now)
    symbols = row.get("symbols") or ()
    if isinstance(symbols, str):
        symbols = symbols.replace(";", " ").split()
    url = str(row.get("url") or "")
    return new_headline(
        plain_text(str(row.get("title") or "")),
        published_at=published_at,
        source=plain_text(str(row.get("source") or "")),
        url=url,
        symbols=[str(symbol) for symbol in symbols],
    )


def _csv_rows(path: Path, text: str) -> Iterator[_Row]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        missing = {"title", "published_at"} - set(reader.fieldnames or ())
        if missing:
            raise UnreadableNews(f"{path.name}: the header lacks {', '.join(sorted(missing))}")
        for row in reader:
            yield f"line {reader.line_num}", row
    except csv.Error as error:
        raise UnreadableNews(f"{path.name}, line {reader.line_num}: {error}") from error


def _json_rows(text: str) -> Iterator[_Row]:
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.DecodeError as error:
            if number == len(lines):
                return  # somebody is writing it just now; it comes with the next change
            row = str(error)
        yield f"line {number}", row


def _feed_rows(path: Path, data: bytes) -> Iterator[_Row]:
    if b"<!ENTITY" in data.replace(b"\0", b""):  # in any width of characters
        raise UnreadableNews(f"{path.name}: it declares entities, which no feed needs and which can grow without bound")
    # A stream, because feedparser would take text that looks like an address, or a file's name, for one.
    feed = feedparser.parse(io.BytesIO(data))
    error = feed.get("bozo_exception")
    if isinstance(error, SAXException) or not feed.get("version"):
        what = f"not well-formed ({error})" if isinstance(error, SAXException) else "neither RSS nor Atom"
        raise UnreadableNews(f"{path.name}: {what}")
    title = feed.feed.get("title") or path.stem
    for number, entry in enumerate(feed.entries, 1):
        where, link = f"entry {number}", entry.get("link", "")
        published = entry.get("published_parsed") or entry.get("updated_parsed")
        try:
            published_at = datetime.fromtimestamp(calendar.timegm(published), UTC) if published else None
        except (ValueError, OverflowError, OSError) as error:
            yield where, f"its time: {error}"
            continue
        yield (
            where,
            {
                "title": entry.get("title", ""),
                "published_at": published_at,
                "source": (entry.get("source") or {}).get("title") or title,
                "url": link if link.lower().startswith(("http://", "https://")) else "",
            },
        )
