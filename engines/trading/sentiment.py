"""Market sentiment from prices: breadth and momentum since the previous close."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import msgspec

Label = Literal["BEARISH", "NEUTRAL", "BULLISH"]
NEUTRAL_BAND = 0.2
MOMENTUM_SCALE = 0.01  # a move of one per cent is tanh(1) = 0.76
MARKET_SCOPE = "MARKET"


class Sentiment(msgspec.Struct, frozen=True):
    """`score` from -1 to 1, and the components that it is the mean of."""

    scope: str
    score: float
    label: Label
    components: Mapping[str, float]


def label_of(score: float) -> Label:
    """The word for a score."""
    return "BULLISH" if score > NEUTRAL_BAND else "BEARISH" if score < -NEUTRAL_BAND else "NEUTRAL"


def sentiments(reference: Mapping[str, float], last: Mapping[str, float]) -> list[Sentiment]:
    """The market's sentiment, then each symbol's, from prices at the previous close and now."""
    moves = {
        symbol: price / reference[symbol] - 1
        for symbol, price in last.items()
        if reference.get(symbol, 0) > 0 and math.isfinite(price)
    }
    if not moves:
        return []
    advancing = sum(move > 0 for move in moves.values())
    declining = sum(move < 0 for move in moves.values())
    market = {
        "breadth": (advancing - declining) / len(moves),
        "momentum": math.tanh(sum(moves.values()) / len(moves) / MOMENTUM_SCALE),
    }
    return [
        _sentiment(MARKET_SCOPE, market),
        *(_sentiment(symbol, {"momentum": math.tanh(move / MOMENTUM_SCALE)}) for symbol, move in moves.items()),
    ]


def _sentiment(scope: str, components: Mapping[str, float]) -> Sentiment:
    score = sum(components.values()) / len(components)
    rounded = {name: round(value, 4) for name, value in components.items()}
    return Sentiment(scope, round(score, 4), label_of(score), rounded)
