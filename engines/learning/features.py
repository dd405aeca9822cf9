"""Features of a bar, from it and the bars before it alone; and the label: whether the next bar closes higher."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from engines.market.quotes import Bar

Array = NDArray[np.float64]

FEATURES = ("return_1", "return_5", "return_10", "volatility_10", "distance_20")
LOOKBACK_BARS = 21


def features_of(closes: Sequence[float]) -> Array | None:
    """The features at the last of these closes; None when there are fewer than `LOOKBACK_BARS`."""
    if len(closes) < LOOKBACK_BARS:
        return None
    window = np.asarray(closes[-LOOKBACK_BARS:], dtype=np.float64)
    returns = np.diff(np.log(window))
    return np.array(
        [
            returns[-1],
            returns[-5:].sum(),
            returns[-10:].sum(),
            returns[-10:].std(),
            np.log(window[-1] / window[-20:].mean()),
        ]
    )


def dataset(bars: Iterable[Bar]) -> tuple[Array, Array]:
    """Features and labels (1.0: the next bar closed higher) of all symbols, in order of time."""
    closes: defaultdict[str, list[float]] = defaultdict(list)
    pending: dict[str, Array] = {}
    rows: list[Array] = []
    labels: list[float] = []
    for bar in bars:
        history = closes[bar.symbol]
        before = pending.pop(bar.symbol, None)
        if before is not None and history:
            rows.append(before)
            labels.append(1.0 if bar.close > history[-1] else 0.0)
        history.append(bar.close)
        del history[:-LOOKBACK_BARS]
        current = features_of(history)
        if current is not None:
            pending[bar.symbol] = current
    return np.array(rows).reshape(-1, len(FEATURES)), np.array(labels)
