"""The sentiment of the market and of each symbol: the weighted mean of what is known, each part shown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Literal

import msgspec

from engines.market.instruments import Instrument
from engines.trading.sentiment import components
from engines.trading.sentiment.board import MARKET_SCOPE, HeadlineBoard, NewsScore

Label = Literal["BEARISH", "NEUTRAL", "BULLISH"]
Component = Literal["news", "breadth", "momentum", "pcr", "vix"]
NEUTRAL_BAND = 0.2
WEIGHTS: Mapping[Component, float] = {"news": 0.3, "breadth": 0.2, "momentum": 0.25, "pcr": 0.1, "vix": 0.15}
_PLACES = 4
_NO_NEWS = NewsScore(0.0, 0.0, 0)


class Sentiment(msgspec.Struct, frozen=True):
    """`score` from -1 to 1 is the sum of `components` (from -1 to 1) times `weights` (which add up to 1); both hold the
    same names, those that are known. `headline_count` is how many headlines `news` comes from."""

    scope: str
    score: float
    label: Label
    components: Mapping[str, float]
    weights: Mapping[str, float]
    headline_count: int = 0


def label_of(score: float) -> Label:
    """The word for a score: neutral from -0.2 to 0.2."""
    return "BULLISH" if score > NEUTRAL_BAND else "BEARISH" if score < -NEUTRAL_BAND else "NEUTRAL"


class SentimentModel:
    """Puts the components together. `weights` are relative, one for each; `market_underlying` is whose options speak
    for the whole market. Holds no state but the board's."""

    def __init__(
        self,
        instruments: Iterable[Instrument],
        board: HeadlineBoard | None = None,
        *,
        weights: Mapping[Component, float] = WEIGHTS,
        market_underlying: str = "NIFTY",
        contrarian_pcr: bool = False,
    ) -> None:
        if weights.keys() != WEIGHTS.keys() or not all(0 <= weight < math.inf for weight in weights.values()):
            raise ValueError(
                f"each of {', '.join(WEIGHTS)} needs a weight that is a number from 0 on, not {dict(weights)}"
            )
        self._shares = frozenset(instrument.symbol for instrument in instruments if instrument.kind == "equity")
        self._board = board
        self._weights = weights
        self._market_underlying = market_underlying
        self._contrarian_pcr = contrarian_pcr

    def assess(
        self,
        now: datetime,
        *,
        previous_close: Mapping[str, float],
        last: Mapping[str, float],
        pcr: Mapping[str, float | None] | None = None,
        vix: Mapping[str, float | None] | None = None,
    ) -> list[Sentiment]:
        """`MARKET` first, then each symbol, those left out of which nothing is known. `pcr` (puts per call) and `vix`
        (per cent a year) go by underlying. What is no finite number above 0 is not known. Raises `ValueError` when
        `now` is naive."""
        ratios, indices = pcr or {}, vix or {}
        moves = components.moves_since(previous_close, last)
        news = self._board.scores(now) if self._board is not None else {}
        of_shares = [move for symbol, move in moves.items() if symbol in self._shares]
        assessed = [
            self._sentiment(
                MARKET_SCOPE,
                news.get(MARKET_SCOPE, _NO_NEWS),
                {
                    "breadth": components.breadth(of_shares),
                    "momentum": components.momentum(of_shares or moves.values()),
                    "pcr": self._put_call(ratios.get(self._market_underlying)),
                    "vix": components.volatility_index(indices.get(self._market_underlying)),
                },
            )
        ]
        for symbol in dict.fromkeys((*moves, *ratios, *indices, *news)):
            if symbol != MARKET_SCOPE:
                parts = {
                    "momentum": components.momentum([moves[symbol]] if symbol in moves else ()),
                    "pcr": self._put_call(ratios.get(symbol)),
                    "vix": components.volatility_index(indices.get(symbol)),
                }
                assessed.append(self._sentiment(symbol, news.get(symbol, _NO_NEWS), parts))
        return [sentiment for sentiment in assessed if sentiment is not None]

    def _put_call(self, ratio: float | None) -> float | None:
        return components.put_call(ratio, contrarian=self._contrarian_pcr)

    def _sentiment(self, scope: str, news: NewsScore, market: Mapping[str, float | None]) -> Sentiment | None:
        known: dict[str, float] = {
            name: value for name, value in {"news": news.score, **market}.items() if value is not None
        }
        weights = {name: weight for name, weight in self._weights.items() if name in known}
        # Old news weighs less and less, so that nothing jumps when the last of it leaves.
        weights["news"] *= news.weight
        used: dict[str, float] = {name: weight for name, weight in weights.items() if weight > 0}
        total = sum(used.values())
        if not total:
            return None
        shares = {name: weight / total for name, weight in used.items()}
        rounded = {name: round(known[name], _PLACES) for name in used}
        score = round(sum(rounded[name] * share for name, share in shares.items()), _PLACES)
        return Sentiment(scope, score, label_of(score), rounded, shares, news.headline_count)
