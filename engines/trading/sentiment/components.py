"""What prices and options say about the mood, each from -1 (bearish) to 1 (bullish), or None where it is not known."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TypeGuard

MOMENTUM_SCALE = 0.01  # a move of one per cent is tanh(1) = 0.76
RATIO_SCALE = math.log(1.5)  # half as much again as is normal is tanh(1)
NEUTRAL_PUT_CALL_RATIO = 1.0
NORMAL_VIX = 15.0  # per cent a year; our choice, near the middle of what India VIX has been


def moves_since(previous_close: Mapping[str, float], last: Mapping[str, float]) -> dict[str, float]:
    """Each symbol's move as a fraction; without those that lack one of the two prices, or have one that is not a
    finite number above 0."""
    moves = {}
    for symbol, price in last.items():
        before = previous_close.get(symbol)
        if _is_positive(before) and _is_positive(price):
            move = price / before - 1
            if math.isfinite(move):
                moves[symbol] = move
    return moves


def breadth(moves: Iterable[float]) -> float | None:
    """(advancing - declining) / all."""
    signs = [(move > 0) - (move < 0) for move in moves]
    return sum(signs) / len(signs) if signs else None


def momentum(moves: Iterable[float]) -> float | None:
    """tanh of the mean move, one per cent being 0.76."""
    known = list(moves)
    return math.tanh(sum(known) / len(known) / MOMENTUM_SCALE) if known else None


def put_call(ratio: float | None, *, contrarian: bool = False) -> float | None:
    """-tanh(ln(ratio) / ln 1.5), `ratio` in puts per call: many puts are fear, and bearish; with `contrarian` the other
    way round. The logarithm, so that two puts to a call are as far from neutral as two calls to a put."""
    fear = _tanh_of_ratio(ratio, NEUTRAL_PUT_CALL_RATIO)
    return None if fear is None else fear if contrarian else -fear


def volatility_index(vix: float | None) -> float | None:
    """-tanh(ln(vix / 15) / ln 1.5), `vix` in per cent a year: much expected movement is fear."""
    fear = _tanh_of_ratio(vix, NORMAL_VIX)
    return None if fear is None else -fear


def _tanh_of_ratio(value: float | None, normal: float) -> float | None:
    return math.tanh((math.log(value) - math.log(normal)) / RATIO_SCALE) if _is_positive(value) else None


def _is_positive(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value) and value > 0
