"""What rules, blocks and their ends are called in words. No text here is longer than 300 characters."""

from __future__ import annotations

from typing import Literal

from engines.trading.risk.numbers import WORTHLESS, Reading, RuleName

Lasting = Literal["while_breached", "day", "reset"]
UNKNOWN = "_unknown"

BLOCKS: dict[RuleName, Lasting] = {
    "daily_loss": "day",
    "drawdown": "reset",
    "margin_used": "while_breached",
    "var_95": "while_breached",
    "var_99": "while_breached",
    "cvar_95": "while_breached",
    "cvar_99": "while_breached",
    "mtm_target": "day",
    "mtm_stop": "day",
}
"""How long a breach blocks orders that open. The rules that are not here block no order by themselves: `check_order`
refuses each one that would take them further."""

_NOUNS: dict[RuleName, str] = {
    "daily_loss": "the day's loss",
    "drawdown": "the fall below the account's peak",
    "concentration": "the position's share",
    "gross_exposure": "the gross exposure",
    "margin_used": "the margin used",
    "var_95": "the one-day value at risk at 95 %",
    "var_99": "the one-day value at risk at 99 %",
    "cvar_95": "the one-day expected shortfall at 95 %",
    "cvar_99": "the one-day expected shortfall at 99 %",
    "mtm_target": "the day's profit",
    "mtm_stop": "the day's loss in rupees",
}

_ENDS: dict[Lasting, str] = {
    "while_breached": "until it is well below again",
    "day": "until the next market day",
    "reset": "until that is reset by hand",
}


def quantity(rule: RuleName, value: float) -> str:
    """A rule's value or limit with its unit."""
    if rule in ("mtm_target", "mtm_stop"):
        return f"{value:,.2f} rupees"
    if value >= WORTHLESS:
        return "more than the account is worth"
    return f"{value:.2f} times the account" if rule == "gross_exposure" else f"{100 * value:.2f} % of the account"


def level_reached(reading: Reading, value: float, *, breach: bool) -> str:
    """A rule's warning or breach."""
    now, limit = quantity(reading.rule, value), quantity(reading.rule, reading.limit)
    text = f"{_subject(reading)} is {now}, the limit is {limit}"
    if not breach:
        return _sentence(text)
    lasting = BLOCKS.get(reading.rule)
    if lasting is None:
        return _sentence(f"{text}; orders that add to it are refused")
    return _sentence(f"{text}; orders that open a position are refused {_ENDS[lasting]}")


def number_unknown(reading: Reading) -> str:
    """A rule whose number is NaN or infinite."""
    return _sentence(f"{_subject(reading)} is unknown; orders that open a position are refused until it is known")


def figure_missing(reading: Reading) -> str:
    """A rule whose figure cannot be computed yet."""
    return _sentence(
        f"{_NOUNS[reading.rule]} cannot be computed, there is too little history; its limit is not watched"
    )


def block_reason(block: str) -> str:
    """Why an order is refused; `block` as in `RiskMonitor.blocked_by`."""
    if block == "kill_switch":
        return "The kill switch is engaged until it is reset by hand"
    if block.endswith(UNKNOWN):
        return _sentence(f"{_NOUNS[block.removesuffix(UNKNOWN)]} is unknown")  # type: ignore[index]
    return _sentence(f"{_NOUNS[block]} reached its limit, {_ENDS[BLOCKS[block]]}")  # type: ignore[index]


def block_lifted(block: str, why: str) -> str:
    """The end of a block."""
    name = _NOUNS[block.removesuffix(UNKNOWN)]  # type: ignore[index]
    return _sentence(f"{name} no longer blocks orders: {why}")


def _subject(reading: Reading) -> str:
    return f"{reading.symbol}: {_NOUNS[reading.rule]}" if reading.symbol else _NOUNS[reading.rule]


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]
