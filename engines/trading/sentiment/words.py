"""The finance word list: how it is read, and how a headline is cut into words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files

import msgspec

WORDS_FILE = "finance_words.txt"
MAX_VALENCE = 4.0
# A number with its decimals and per cent sign, or a word with inner apostrophes and ampersands (`isn't`, `M&M`).
_WORD = re.compile(r"\d+(?:[.,]\d+)*%?|[^\W_]+(?:['&][^\W_]+)*")
_DIRECTIONS = ("up", "down")
_SECTIONS = ("words", *_DIRECTIONS, "bad_when_up")


class FinanceWords(msgspec.Struct, frozen=True):
    """`valence` of words and phrases (0: none); `directions`: +1 for those that say up, -1 for down; `bad_when_up`:
    words and phrases for things of which less is better. Phrases have one space between words; all is lower case."""

    valence: Mapping[str, float]
    directions: Mapping[str, int]
    bad_when_up: frozenset[str]


def words_of(text: str) -> list[str]:
    """The words of a text as they are written, without punctuation; hyphens part words. Numbers are words, with their
    decimals and without their thousands' commas."""
    plain = unicodedata.normalize("NFKC", text).replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    return [word.replace(",", "") for word in _WORD.findall(plain)]


def parse_finance_words(text: str) -> FinanceWords:
    """Read a list in the form that `finance_words.txt` explains. Raises `ValueError` naming the line."""
    valence: dict[str, float] = {}
    moved: dict[str, float] = {}
    directions: dict[str, int] = {}
    bad_when_up: set[str] = set()
    for section, of_section, line, parts in _entries(text):
        phrase = parts[0]
        if " ".join(words_of(phrase)).lower() != phrase:
            raise ValueError(f"line {line}: {phrase!r} is not made of lower-case words with one space between")
        if section == "words":
            if len(parts) != 2 or phrase in valence:
                raise ValueError(f"line {line}: {phrase!r} needs one valence, and stands in [words] once")
            valence[phrase] = _valence(parts[1], line)
        elif section in _DIRECTIONS:
            directions[phrase] = 1 if section == "up" else -1
            moved[phrase] = of_section
        else:
            bad_when_up.add(phrase)
    return FinanceWords(moved | valence, directions, frozenset(bad_when_up))


def _entries(text: str) -> Iterator[tuple[str, float, int, list[str]]]:
    section, of_section = "", 0.0
    for line, raw in enumerate(text.splitlines(), 1):
        if not raw.strip() or raw.startswith("#"):
            continue
        parts = [part.strip() for part in raw.split("\t")]
        if parts[0].startswith("["):
            section = parts[0].strip("[]")
            if section not in _SECTIONS:
                raise ValueError(f"line {line}: no section {parts[0]}, only {', '.join(_SECTIONS)}")
            of_section = _valence(parts[1], line) if section in _DIRECTIONS and len(parts) == 2 else 0.0
        elif not section:
            raise ValueError(f"line {line}: {parts[0]!r} stands before any section")
        else:
            yield section, of_section, line, parts


def _valence(text: str, line: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = MAX_VALENCE + 1
    if not abs(value) <= MAX_VALENCE:  # also what is not a number
        raise ValueError(f"line {line}: a valence is from -{MAX_VALENCE:g} to {MAX_VALENCE:g}, not {text!r}")
    return value


@cache
def finance_words() -> FinanceWords:
    """The list that comes with this package."""
    return parse_finance_words(files(__package__).joinpath(WORDS_FILE).read_text("utf-8"))
