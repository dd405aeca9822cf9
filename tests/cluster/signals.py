"""What the publishers of these tests publish: signals whose id says by whom, and the how manyth."""

from __future__ import annotations


def signal_of(name: str, symbol: str, number: int) -> dict[str, object]:
    return {
        "id": f"{name}:{number}",
        "symbol": symbol,
        "signal_type": "BUY",
        "confidence_score": 0.5,
        "entry_price": 100.0 + number,
    }
