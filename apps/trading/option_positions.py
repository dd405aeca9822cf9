"""The Greeks of what users hold, from the chains as they were published."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from apps.trading import messages, models
from engines.options.positions import portfolio_greeks

GREEKS = ("delta", "gamma", "theta", "vega", "rho")
MEASURES = ("price", *GREEKS)


def greeks_of(user_id: str) -> messages.PortfolioGreeks:
    """The user's options together. What has no Greeks at the moment is counted as `unvalued`, and adds nothing."""
    held = _held(models.Position.objects.filter(account__user_id=user_id))
    return _together(held.get(int(user_id), {}), published())


def greeks_of_all() -> dict[int, messages.PortfolioGreeks]:
    """Everybody's who holds options, by user."""
    known = published()
    return {user_id: _together(held, known) for user_id, held in _held(models.Position.objects.all()).items()}


def published() -> dict[str, Mapping[str, Any]]:
    """Each option's latest published Greeks, by symbol."""
    rows = models.OptionChain.objects.values_list("data", flat=True)
    return {option["symbol"]: option for data in rows for option in data["greeks"]["options"]}


def _held(positions: Any) -> Mapping[int, Mapping[str, int]]:
    """By user: units by option."""
    options = models.Instrument.objects.filter(kind="option").values_list("symbol", flat=True)
    rows = positions.exclude(quantity=0).filter(symbol__in=options)
    found: defaultdict[int, dict[str, int]] = defaultdict(dict)
    for user_id, symbol, quantity, multiplier in rows.values_list(
        "account__user_id", "symbol", "quantity", "multiplier"
    ):
        found[user_id][symbol] = quantity * multiplier
    return found


def _together(held: Mapping[str, int], known: Mapping[str, Mapping[str, Any]]) -> messages.PortfolioGreeks:
    options = [known.get(symbol, {}) for symbol in held]
    sums = portfolio_greeks(list(held.values()), **{name: [o.get(name) for o in options] for name in MEASURES})
    return messages.PortfolioGreeks(
        **{name: round(getattr(sums, name), 4) for name in GREEKS},
        position_count=len(held),
        unvalued=sums.left_out,
    )
