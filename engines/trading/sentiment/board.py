"""The headlines that count now: each once, and less as it gets older."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

from engines.trading.sentiment.headlines import Headline, normalise_title, numbers_in, similarity
from engines.trading.sentiment.scoring import default_scorer
from engines.trading.sentiment.tagging import SymbolTagger

MARKET_SCOPE = "MARKET"
HALF_LIFE = timedelta(hours=6)
KEPT_HALF_LIVES = 8  # what is older weighs less than 1/256
MAX_HEADLINES = 5_000
NEAR = 0.8
NEAR_WITHIN = timedelta(hours=24)
MAX_AHEAD = timedelta(hours=1)
_NONE: frozenset[str] = frozenset()


class NewsScore(msgspec.Struct, frozen=True):
    """What the news of a scope says. `score` is from -1 to 1; `weight` (0 to 1) is how much of it there is: 1 from one
    fresh headline on; `headline_count` counts the old ones, too."""

    score: float
    weight: float
    headline_count: int


class _Kept(msgspec.Struct, frozen=True):
    headline: Headline
    words: frozenset[str]
    about: tuple[frozenset[str], tuple[str, ...]]  # the numbers and the symbols that it names
    score: float


class HeadlineBoard:
    """Keeps headlines for eight half-lives, at most `max_headlines`; the oldest leave first. Not thread-safe.

    A headline of age a weighs 2^(-a / half-life). Those ahead of `now` count once `now` has reached them.
    """

    def __init__(
        self,
        tagger: SymbolTagger,
        *,
        half_life: timedelta = HALF_LIFE,
        max_headlines: int = MAX_HEADLINES,
        score: Callable[[str], float] | None = None,
    ) -> None:
        if half_life <= timedelta(0) or max_headlines < 1:
            raise ValueError(f"half_life and max_headlines are above 0, not {half_life} and {max_headlines}")
        self.half_life = half_life
        self.kept_for = max(KEPT_HALF_LIVES * half_life, NEAR_WITHIN)
        self._tagger = tagger
        self._max_headlines = max_headlines
        self._score = score or default_scorer().score
        self._kept: dict[str, _Kept] = {}
        self._with_word: defaultdict[tuple[Any, str], set[str]] = defaultdict(set)  # ids by `about` and word

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def headlines(self) -> list[Headline]:
        """What is kept, oldest first."""
        return sorted((kept.headline for kept in self._kept.values()), key=lambda headline: headline.published_at)

    def score_of(self, headline_id: str) -> float | None:
        """What a kept headline was scored with."""
        kept = self._kept.get(headline_id)
        return kept.score if kept else None

    def add(self, headlines: Iterable[Headline], now: datetime) -> list[Headline]:
        """Take headlines; those that are new, oldest first, with their symbols: of those that the source gave the ones
        known here, or else those that the title names. Not taken: the same title or nearly the same (see `_is_near`),
        what is too old to be kept, what is over an hour ahead of `now`. Raises `ValueError` when `now` is naive."""
        self.forget(now)
        new: list[Headline] = []
        for headline in sorted(headlines, key=lambda headline: headline.published_at):
            age = now - headline.published_at
            if headline.headline_id in self._kept or not -MAX_AHEAD <= age < self.kept_for:
                continue
            given = tuple(symbol for symbol in headline.symbols if symbol in self._tagger.symbols)
            named = self._tagger.tag(headline.title)
            tagged = msgspec.structs.replace(headline, symbols=given or named)
            words = frozenset(normalise_title(headline.title, headline.source).split())
            kept = _Kept(tagged, words, (numbers_in(words), named), self._score(headline.title))
            if not self._has_near(kept):
                self._keep(kept)
                new.append(tagged)
        self._drop_beyond(self._max_headlines)
        return [headline for headline in new if headline.headline_id in self._kept]

    def forget(self, now: datetime) -> None:
        """Let go of what is too old. Raises `ValueError` when `now` is naive."""
        if now.utcoffset() is None:
            raise ValueError(f"now needs a time zone: {now.isoformat()}")
        for headline_id, kept in list(self._kept.items()):
            if now - kept.headline.published_at >= self.kept_for:
                self._drop(headline_id)

    def scores(self, now: datetime) -> Mapping[str, NewsScore]:
        """Per scope that has news: `MARKET` (all headlines) and each symbol."""
        self.forget(now)
        weights: defaultdict[str, float] = defaultdict(float)
        sums: defaultdict[str, float] = defaultdict(float)
        counts: defaultdict[str, int] = defaultdict(int)
        for kept in self._kept.values():
            age = now - kept.headline.published_at
            if age < timedelta(0):
                continue
            weight = math.exp2(-(age / self.half_life))
            for scope in (MARKET_SCOPE, *kept.headline.symbols):
                weights[scope] += weight
                sums[scope] += weight * kept.score
                counts[scope] += 1
        # The weighted mean; where all that there is has faded, it fades as well, by dividing by no less than 1.
        return {
            scope: NewsScore(sums[scope] / max(1.0, weight), min(1.0, weight), counts[scope])
            for scope, weight in weights.items()
        }

    def _has_near(self, new: _Kept) -> bool:
        """Whether something nearly the same is kept. Who shares 0.8 of all words shares 0.8 of these, and so at least
        one of any 0.2 and one more: only those that have one of the rarest need to be looked at."""
        having = sorted((self._with_word.get((new.about, word), _NONE) for word in new.words), key=len)
        needed = len(having) - math.ceil(NEAR * len(having) - 1e-9) + 1
        candidates = _NONE.union(*having[:needed])
        return any(_is_near(new, self._kept[headline_id]) for headline_id in candidates)

    def _keep(self, kept: _Kept) -> None:
        self._kept[kept.headline.headline_id] = kept
        for word in kept.words:
            self._with_word[kept.about, word].add(kept.headline.headline_id)

    def _drop(self, headline_id: str) -> None:
        kept = self._kept.pop(headline_id)
        for word in kept.words:
            having = self._with_word[kept.about, word]
            having.discard(headline_id)
            if not having:
                del self._with_word[kept.about, word]

    def _drop_beyond(self, count: int) -> None:
        if len(self._kept) > count:
            for headline in self.headlines[: len(self._kept) - count]:
                self._drop(headline.headline_id)


def _is_near(one: _Kept, other: _Kept) -> bool:
    """Whether two are one piece of news in other words: published within 24 hours, with at least 0.8 of all words in
    common, the same numbers and names, and not opposite in what they say ("shares rise", "shares fall")."""
    return (
        one.about == other.about
        and abs(one.headline.published_at - other.headline.published_at) <= NEAR_WITHIN
        and one.score * other.score >= 0
        and similarity(one.words, other.words) >= NEAR
    )
