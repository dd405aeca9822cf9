"""Keeps bad quotes from everyone who computes on them, and counts what it kept away, by reason.

Reasons, in the order they are looked for:

- `not_a_number`: a price, the volume or the previous close is NaN or infinite.
- `non_positive`: the last price is not above 0, or a bid, an ask or the previous close is negative. A bid or ask of 0
  is an empty side.
- `negative_quantity`: volume, a size or the open interest is negative.
- `crossed`: both sides are there, and the bid is above the ask. Equal is good (a locked market, or a feed with one
  price).
- `stale`: more than 60 s older than the newest good market time of any symbol.
- `off_market`: see below.

**Off-market, of all but options**: more than 20 % from the last good price of the same day; before the first of a day,
from the previous close, where the feed says one. NSE's own price bands are at most 20 %. On a new day without a
previous close from the feed there is nothing to measure by (a split halves a price over night), and the first quote is
taken. So that a true new level does not lock a symbol out, it is taken once it persists: `CONFIRMING_QUOTES` in a row
off the old level and within 5 % of the first of them, over at least `CONFIRMING_SECONDS` of market time.

**Off-market, of options**: an option may lose or win most of its price between two ticks, so that its move alone says
nothing. Its last price must not be above what no-arbitrage allows (a call is never worth more than its underlying, a
put never more than its strike; 20 % above that is still let pass). And a last price more than 20 % off the last good
one of the day, or off the previous close, must lie within 20 % of the quoted bid and ask, where both are there: a
trade happens between them. The same persistence lets it in. The width of an option's bid and ask says nothing.

A stamp from the future would make every later quote stale. When `REBASING_QUOTES` stale ones came with no good one
between them, the newest market time is taken to be the wrong one, and time goes on from theirs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from engines.market.calendar import IST
from engines.market.instruments import Instrument
from engines.market.quotes import QuoteTick

Reason = Literal["not_a_number", "non_positive", "negative_quantity", "crossed", "stale", "off_market"]

MAX_AGE = timedelta(seconds=60)
MAX_MOVE = 0.20
CONFIRMING_QUOTES = 5
CONFIRMING_SECONDS = 10.0
CONFIRMING_BAND = 0.05
REBASING_QUOTES = 200
_INFINITY = float("inf")
_LOW, _HIGH = 1.0 - MAX_MOVE, 1.0 + MAX_MOVE


class _Candidate(msgspec.Struct):
    """A price off the old level that may be a new one."""

    price: float
    since: datetime
    quotes: int


class QuoteFilter:
    """Passes good quotes. `instrument_of` is asked once per symbol, at its first quote; None counts as no option.

    `latest` holds the newest good quote of each symbol, `market_time` the newest good time, `rejected` the counts by
    reason, `rebased` how often a stamp from the future had to be undone. A symbol's quote that is older than its
    `latest`, but not stale, is good; it does not replace it.
    """

    def __init__(self, instrument_of: Callable[[str], Instrument | None] = lambda _: None) -> None:
        self.latest: dict[str, QuoteTick] = {}
        self.market_time: datetime | None = None
        self.rejected: Counter[str] = Counter()
        self.rebased = 0
        self._instrument_of = instrument_of
        self._options: dict[str, Instrument | None] = {}
        self._candidates: dict[str, _Candidate] = {}
        self._stale_in_a_row = 0
        self._fresh_time: datetime | None = None  # the last one that was found not stale

    def admit(self, quote: QuoteTick) -> bool:
        """Whether the quote is good. If not, it is counted."""
        reason = self.check(quote)
        if reason is not None:
            self.rejected[reason] += 1
            return False
        return True

    def check(self, quote: QuoteTick) -> Reason | None:
        """Take the quote, or say what is wrong with it."""
        price, bid, ask = quote.last, quote.bid, quote.ask
        if not (0.0 < price < _INFINITY and 0.0 <= bid < _INFINITY and 0.0 <= ask < _INFINITY):
            return _what_is_wrong_with_prices(quote)
        if not (0.0 <= quote.volume < _INFINITY and 0.0 <= quote.previous_close < _INFINITY):
            return _what_is_wrong_with_prices(quote)
        if quote.bid_size < 0 or quote.ask_size < 0 or quote.open_interest < 0:
            return "negative_quantity"
        if bid > ask > 0.0:
            return "crossed"
        time = quote.time
        if time is not self._fresh_time and self._is_stale(time):
            return "stale"
        symbol = quote.symbol
        before = self.latest.get(symbol)
        if before is None or not before.last * _LOW <= price <= before.last * _HIGH or symbol in self._candidates:
            if self._is_off_market(quote, before):
                return "off_market"
            self._candidates.pop(symbol, None)
        if before is None or time >= before.time:
            self.latest[symbol] = quote
        if time is not self.market_time and (self.market_time is None or time > self.market_time):
            self.market_time = time
        return None

    def forget(self, symbols: Iterable[str]) -> None:
        """Drop what is kept of symbols that are quoted no more."""
        for symbol in symbols:
            self.latest.pop(symbol, None)
            self._options.pop(symbol, None)
            self._candidates.pop(symbol, None)

    def _is_stale(self, time: datetime) -> bool:
        if self.market_time is not None and self.market_time - time > MAX_AGE:
            self._stale_in_a_row += 1
            if self._stale_in_a_row < REBASING_QUOTES:
                return True
            self.market_time = time
            self.rebased += 1
            for symbol in [symbol for symbol, quote in self.latest.items() if quote.time > time]:
                del self.latest[symbol]
        self._stale_in_a_row = 0
        self._fresh_time = time
        return False

    def _is_off_market(self, quote: QuoteTick, before: QuoteTick | None) -> bool:
        symbol, price = quote.symbol, quote.last
        if symbol not in self._options:
            instrument = self._instrument_of(symbol)
            self._options[symbol] = instrument if instrument is not None and instrument.kind == "option" else None
        option = self._options[symbol]
        reference = before.last if before is not None and _same_day(before, quote) else quote.previous_close
        if option is not None:
            if price > self._most_that_is_possible(option) * _HIGH:
                return True
            moved = reference > 0.0 and not reference * _LOW <= price <= reference * _HIGH
            two_sided = quote.bid > 0.0 and quote.ask > 0.0
            off = moved and two_sided and not quote.bid * _LOW <= price <= quote.ask * _HIGH
        else:
            off = reference > 0.0 and not reference * _LOW <= price <= reference * _HIGH
        return off and not self._persists(quote)

    def _most_that_is_possible(self, option: Instrument) -> float:
        if option.option_type == "PE":
            return _INFINITY if option.strike is None else float(option.strike)
        underlying = self.latest.get(option.underlying)
        return _INFINITY if underlying is None else underlying.last

    def _persists(self, quote: QuoteTick) -> bool:
        candidate = self._candidates.get(quote.symbol)
        if candidate is None or abs(quote.last / candidate.price - 1.0) > CONFIRMING_BAND:
            self._candidates[quote.symbol] = _Candidate(quote.last, quote.time, 1)
            return False
        candidate.quotes += 1
        seconds = (quote.time - candidate.since).total_seconds()
        return candidate.quotes >= CONFIRMING_QUOTES and seconds >= CONFIRMING_SECONDS


def _same_day(before: QuoteTick, quote: QuoteTick) -> bool:
    """The same Indian day, and measured by the same previous close: a feed may correct that within a day."""
    if before.previous_close != quote.previous_close and quote.previous_close > 0.0:
        return False
    return before.time.astimezone(IST).date() == quote.time.astimezone(IST).date()


def _what_is_wrong_with_prices(quote: QuoteTick) -> Reason:
    numbers = (quote.last, quote.bid, quote.ask, quote.volume, quote.previous_close)
    if any(number != number or abs(number) == _INFINITY for number in numbers):  # noqa: PLR0124 - NaN is not itself
        return "not_a_number"
    return "negative_quantity" if quote.volume < 0.0 else "non_positive"
