"""A piece of news, and when two are the same one."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

from engines.trading.sentiment.words import words_of

MAX_TITLE, MAX_SOURCE, MAX_URL, MAX_SYMBOLS = 300, 80, 500, 20
_ID_DIGITS = 32

# "UPDATE 2-Oil rises", "BRIEF-Acme appoints", "BREAKING: ...": what agencies put before a title.
_AGENCY_PREFIX = re.compile(
    r"^\s*(?:(?:update|refile|correct(?:ed|ion)?|brief|wrapup)\s*\d*\s*-|"
    r"(?:breaking|exclusive|just in|live|watch|alert)\s*:)\s*",
    re.IGNORECASE,
)
# What stands between a title and the source that was put behind it: a dash or bar with space around it.
_DASH = re.compile(" [-|\N{EN DASH}\N{EM DASH}] ")
_SITE = re.compile(r"^(?:www\.)?[\w-]+(?:\.[\w-]+)*\.(?:com|in|co|net|org|news)$", re.IGNORECASE)
_SOURCES = frozenset(
    "".join(words_of(name)).lower()
    for name in (
        "Reuters", "Bloomberg", "Mint", "LiveMint", "Moneycontrol", "Economic Times", "ET", "ET Markets", "ETMarkets",
        "Business Standard", "BusinessLine", "Hindu BusinessLine", "Hindu", "CNBC", "CNBC TV18", "NDTV", "NDTV Profit",
        "BQ Prime", "BloombergQuint", "Financial Express", "Financial Times", "FT", "Business Today", "India Today",
        "Times of India", "Hindustan Times", "Indian Express", "Zee Business", "Fortune India", "Forbes India",
        "Outlook", "Deccan Herald", "News18", "Upstox", "PTI", "ANI", "IANS", "AP", "AFP", "WSJ", "Wall Street Journal",
        "MarketWatch", "Yahoo Finance", "Investing.com", "Barron's", "BBC", "Nikkei Asia",
    )
)  # fmt: skip


class Headline(msgspec.Struct, frozen=True):
    """One piece of news. `headline_id` is a hash of the normalised title: the same news from two sources has one id.
    `published_at` is aware; `symbols` are what it is about, as far as its source says. Make it with `new_headline`."""

    headline_id: str
    title: str
    source: str
    url: str
    published_at: datetime
    symbols: tuple[str, ...] = ()


def new_headline(
    title: str, *, published_at: datetime, source: str = "", url: str = "", symbols: Iterable[str] = ()
) -> Headline:
    """A headline with its id; space is tidied, and what is too long is cut. Raises `ValueError` for a title without a
    word, for a time without a zone, and for a URL that is not http(s)."""
    tidy = " ".join(title.split())[:MAX_TITLE].rstrip()
    normalised = normalise_title(tidy, source)
    if not normalised:
        raise ValueError(f"the title {tidy[:60]!r} has no word in it")
    if published_at.tzinfo is None or published_at.utcoffset() is None:
        raise ValueError(f"published_at needs a time zone: {published_at.isoformat()} of {tidy[:60]!r}")
    address = url.strip()
    if address and not address.lower().startswith(("http://", "https://")):
        raise ValueError(f"a URL starts with http:// or https://, not {address[:60]!r}")
    return Headline(
        headline_id=hashlib.sha256(normalised.encode()).hexdigest()[:_ID_DIGITS],
        title=tidy,
        source=" ".join(source.split())[:MAX_SOURCE],
        url=address if len(address) <= MAX_URL else "",  # a part of an address leads nowhere
        published_at=_in_utc(published_at),
        symbols=tuple(dict.fromkeys(s.strip().upper() for s in symbols if s.strip()))[:MAX_SYMBOLS],
    )


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"published_at is out of range: {moment.isoformat()}") from error


def normalise_title(title: str, source: str = "") -> str:
    """The title's words in lower case, one space between: without punctuation, an agency's prefix ("UPDATE 1-"), and
    the name of the source behind it (" - Reuters": `source` itself, a known one, or a site)."""
    bare = _AGENCY_PREFIX.sub("", " ".join(title.split()))
    dashes = list(_DASH.finditer(bare))
    if dashes and _is_source(bare[dashes[-1].end() :], source):
        bare = bare[: dashes[-1].start()]
    return " ".join(word.lower().replace("'", "") for word in words_of(bare))


def _is_source(text: str, source: str) -> bool:
    name = "".join(words_of(text)).lower()
    return bool(name) and (
        name.removeprefix("the") in _SOURCES
        or name == "".join(words_of(source)).lower()
        or _SITE.match(text.strip()) is not None
    )


def similarity(one: frozenset[str], other: frozenset[str]) -> float:
    """Jaccard's index of two sets of words: what they share, of all they have."""
    together = len(one | other)
    return len(one & other) / together if together else 0.0


def numbers_in(words: Iterable[str]) -> frozenset[str]:
    """The words that are numbers."""
    return frozenset(word for word in words if word[0].isdigit())
