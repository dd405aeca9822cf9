"""Watches one account's rules: tells each level once, and says what blocks orders that open a position.

A rule warns at `WARNING_AT` of its limit and is in breach at the limit. A level that was told is told again only after
the value fell below `REARM_AT` of that level, so a value that trembles at a limit does not flood. `mtm_target` has one
level, its limit: reaching it is no danger, but it does block.

What a breach blocks, and until when:

    daily_loss, mtm_target, mtm_stop   the next market day (`start_day`), even when the value recovers, or limits change
    drawdown, the kill switch          a reset by hand
    margin_used, VaR, CVaR             the value is below 90 % of the limit again; an INFO event tells
    concentration, gross_exposure      nothing here: `check_order` refuses each order that would take them further

A number that is NaN or infinite is a breach of its own kind: told once, blocking at once, whatever the rule, and until
the number was known for `KNOWN_FOR` on end. It neither raises nor re-arms the rule's levels. A figure that is `None`
(too little history) is told once a day as INFO, blocks nothing, and lifts nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import Any, Literal

import msgspec

from engines.trading.risk import wording
from engines.trading.risk.limits import RiskLimits
from engines.trading.risk.numbers import AccountRisk, Reading, RuleName, readings

WARNING_AT = 0.8
REARM_AT = 0.9
KNOWN_FOR = timedelta(seconds=60)
KILL_SWITCH = "kill_switch"
BY_HAND = (KILL_SWITCH, "drawdown")
LONGEST_REASON = 200

Severity = Literal["INFO", "WARNING", "CRITICAL"]
_DAILY: frozenset[RuleName] = frozenset({"daily_loss", "mtm_target", "mtm_stop"})


class RiskEvent(msgspec.Struct, frozen=True):
    """Something to tell of a rule, or of the kill switch (`rule` is then "kill_switch").

    `value` and `limit` are in the rule's unit: a share or multiple of the account, rupees for `mtm_…`; `limit` is the
    limit itself, also in a warning. `None`: there is no such number (an unknown one, the kill switch, a block that was
    lifted otherwise than by a value). `blocks`: from now, orders that open a position are refused because of this.
    """

    rule: str
    symbol: str
    severity: Severity
    message: str
    value: float | None = None
    limit: float | None = None
    blocks: bool = False


class _State(msgspec.Struct, forbid_unknown_fields=True):
    """All that a monitor remembers, as it is stored."""

    day: date | None = None
    raised: set[tuple[RuleName, str, Severity]] = msgspec.field(default_factory=set)
    unknown: list[tuple[RuleName, str, datetime | None]] = msgspec.field(default_factory=list)
    latched: set[RuleName] = msgspec.field(default_factory=set)
    killed_at: datetime | None = None
    kill_reason: str = ""


class RiskMonitor:
    """One account's. `state` and `restore` carry it over a restart: that tells nothing twice, and unblocks nothing."""

    def __init__(self) -> None:
        self._state = _State()
        self._unknown: dict[tuple[RuleName, str], datetime | None] = {}  # known since; None: it is still unknown

    # What holds now

    @property
    def blocked_by(self) -> tuple[str, ...]:
        """What blocks orders that open: "kill_switch", rule names, rule names + "_unknown"; `wording.block_reason` puts
        each in words. Empty: nothing does."""
        found = [KILL_SWITCH] if self._state.killed_at is not None else []
        for rule, lasting in wording.BLOCKS.items():
            if rule in self._state.latched or (
                lasting == "while_breached" and (rule, "", "CRITICAL") in self._state.raised
            ):
                found.append(rule)
        found += sorted({rule + wording.UNKNOWN for rule, _ in self._unknown})
        return tuple(found)

    @property
    def watching(self) -> bool:
        """Whether it must be checked at every mark: something is raised or unknown, and waits to be re-armed."""
        return bool(self._unknown) or any(severity != "INFO" for _, _, severity in self._state.raised)

    @property
    def kill_switch(self) -> str | None:
        """Why the kill switch is engaged; `None` when it is not."""
        return self._state.kill_reason if self._state.killed_at is not None else None

    @property
    def state(self) -> dict[str, Any]:
        """All it remembers, as JSON values; equal for equal states."""
        self._state.unknown = [(rule, symbol, since) for (rule, symbol), since in self._unknown.items()]
        stored: dict[str, Any] = msgspec.to_builtins(self._state, order="deterministic")
        return stored

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`; an empty one is a fresh start. Raises `ValueError` for anything else, and changes
        nothing."""
        try:
            restored = msgspec.convert(dict(state), _State)
        except msgspec.ValidationError as error:
            raise ValueError(f"this is no state of a risk monitor: {error}") from None
        self._state = restored
        self._unknown = {(rule, symbol): since for rule, symbol, since in restored.unknown}

    # What happens

    def check(self, limits: RiskLimits, numbers: AccountRisk, now: datetime) -> list[RiskEvent]:
        """What is new with these numbers. A rule that is off forgets what it had told, but a block for the day, or
        until a reset, stays. Raises `ValueError` for a `now` without a time zone."""
        if now.tzinfo is None:
            raise ValueError(f"now is {now}: it needs a time zone")
        before = self.blocked_by
        read = readings(limits, numbers)
        read += self._gone(limits, numbers, read)
        events = []
        for reading in read:
            events += self._take(reading, now)
        after = set(self.blocked_by)
        of_rule = {reading.rule: reading for reading in read if not reading.symbol}
        return events + [_lifted(block, limits, of_rule) for block in before if block not in after]

    def start_day(self, day: date) -> list[RiskEvent]:
        """Begin a market day: what was blocked for the day is free again, and told. Nothing on the day that it already
        is, so call it after a restart, too."""
        if day == self._state.day:
            return []
        self._state.day = day
        self._state.raised = {key for key in self._state.raised if key[0] not in _DAILY and key[2] != "INFO"}
        ended = [rule for rule in wording.BLOCKS if rule in self._state.latched and rule in _DAILY]
        self._state.latched -= _DAILY
        return [_info(rule, wording.block_lifted(rule, "a new market day began")) for rule in ended]

    def engage(self, reason: str, now: datetime) -> list[RiskEvent]:
        """Engage the kill switch; nothing when it is engaged. `reason` is cut to 200 characters."""
        if self._state.killed_at is not None:
            return []
        self._state.killed_at, self._state.kill_reason = now, reason[:LONGEST_REASON]
        why = f" ({self._state.kill_reason})" if reason else ""
        message = f"The kill switch is engaged{why}; orders that open a position are refused until it is reset"
        return [RiskEvent(KILL_SWITCH, "", "CRITICAL", message, blocks=True)]

    def reset(self, by: str, now: datetime, blocks: Iterable[str] = BY_HAND) -> list[RiskEvent]:
        """Lift by hand: the kill switch, the block of the drawdown, or (by default) both; nothing where neither blocks.

        After that a drawdown blocks again only when it fell below 90 % of its limit first, or when the caller lets the
        peak begin anew at today's value. Raises `ValueError` for a block that cannot be lifted by hand.
        """
        wanted = set(blocks)
        if wanted - set(BY_HAND):
            raise ValueError(f"cannot reset {', '.join(sorted(wanted - set(BY_HAND)))}: only {' and '.join(BY_HAND)}")
        who = f"{by[:100]} reset it at {now:%H:%M:%S}"
        events = []
        if KILL_SWITCH in wanted and self._state.killed_at is not None:
            self._state.killed_at, self._state.kill_reason = None, ""
            events.append(_info(KILL_SWITCH, f"The kill switch no longer blocks orders: {who}"))
        if "drawdown" in wanted and "drawdown" in self._state.latched:
            self._state.latched.discard("drawdown")
            events.append(_info("drawdown", wording.block_lifted("drawdown", who)))
        return events

    def _take(self, reading: Reading, now: datetime) -> list[RiskEvent]:
        """Note one number; what is new with it."""
        rule, symbol, value, limit = reading
        if value is None:
            told = self._raise(reading, "INFO")
            return [RiskEvent(rule, symbol, "INFO", wording.figure_missing(reading), None, limit)] if told else []
        if not math.isfinite(value):
            told = (rule, symbol) not in self._unknown
            self._unknown[rule, symbol] = None
            text = wording.number_unknown(reading)
            return [RiskEvent(rule, symbol, "CRITICAL", text, None, limit, blocks=True)] if told else []
        self._note_known((rule, symbol), now)
        events = []
        for severity, share in _levels(rule):
            level = limit * share
            if value >= level:
                if self._raise(reading, severity):
                    breach = share == 1
                    blocks = breach and rule in wording.BLOCKS
                    if blocks and wording.BLOCKS[rule] != "while_breached":
                        self._state.latched.add(rule)
                    text = wording.level_reached(reading, value, breach=breach)
                    events.append(RiskEvent(rule, symbol, severity, text, round(value, 6), limit, blocks))
            elif value < level * REARM_AT:
                self._state.raised.discard((rule, symbol, severity))
        return events

    def _raise(self, reading: Reading, severity: Severity) -> bool:
        """Whether this level was not raised before; now it is."""
        key = (reading.rule, reading.symbol, severity)
        if key in self._state.raised:
            return False
        self._state.raised.add(key)
        return True

    def _note_known(self, key: tuple[RuleName, str], now: datetime) -> None:
        if key not in self._unknown:
            return
        since = self._unknown[key]
        if since is None or now < since:
            self._unknown[key] = now
        elif now - since >= KNOWN_FOR:
            del self._unknown[key]

    def _gone(self, limits: RiskLimits, numbers: AccountRisk, read: Iterable[Reading]) -> list[Reading]:
        """Readings of 0 for positions that are no longer there. Forgets the rules that are off."""
        present = {(reading.rule, reading.symbol) for reading in read}
        known = {(rule, symbol) for rule, symbol, _ in self._state.raised} | set(self._unknown)
        gone = []
        for rule, symbol in sorted(known - present):
            limit = getattr(limits, rule)
            if limit is None:
                self._state.raised = {key for key in self._state.raised if key[:2] != (rule, symbol)}
                self._unknown.pop((rule, symbol), None)
            elif math.isfinite(numbers.total_value):
                gone.append(Reading(rule, symbol, 0.0, float(limit)))
        return gone


def _lifted(block: str, limits: RiskLimits, read: Mapping[RuleName, Reading]) -> RiskEvent:
    rule: RuleName = block.removesuffix(wording.UNKNOWN)  # type: ignore[assignment]
    reading = read.get(rule)
    if getattr(limits, rule) is None:
        return _info(rule, wording.block_lifted(block, "the rule was switched off"))
    if reading is None or reading.value is None:
        return _info(rule, wording.block_lifted(block, "it is known again"))
    why = f"it is {wording.quantity(rule, reading.value)}, the limit is {wording.quantity(rule, reading.limit)}"
    message = wording.block_lifted(block, why)
    return RiskEvent(rule, "", "INFO", message, round(reading.value, 6), reading.limit)


def _levels(rule: RuleName) -> tuple[tuple[Severity, float], ...]:
    if rule == "mtm_target":
        return (("WARNING", 1.0),)
    return ("WARNING", WARNING_AT), ("CRITICAL", 1.0)


def _info(rule: str, message: str) -> RiskEvent:
    return RiskEvent(rule, "", "INFO", message)
