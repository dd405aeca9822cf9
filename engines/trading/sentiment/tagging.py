"""Which instruments a title is about, by their names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from engines.market.instruments import Instrument
from engines.trading.sentiment.words import words_of

# How headlines call those whose symbol or name they do not spell out.
ALIASES: Mapping[str, tuple[str, ...]] = {
    "NIFTY": ("Nifty", "Nifty50"),
    "BANKNIFTY": ("Bank Nifty", "Nifty Bank"),
    "RELIANCE": ("Reliance", "RIL"),
    "SBIN": ("SBI", "State Bank"),
    "INFY": ("Infosys",),
    "HINDUNILVR": ("HUL", "Hindustan Unilever"),
    "LT": ("L&T", "Larsen", "Larsen and Toubro"),
    "M&M": ("Mahindra and Mahindra",),
    "BHARTIARTL": ("Airtel",),
}
# Other companies whose names begin with one of those.
OTHERS: tuple[str, ...] = (
    "Reliance Power", "Reliance Infra", "Reliance Infrastructure", "Reliance Capital", "Reliance Communications",
    "Reliance Home Finance", "SBI Card", "SBI Cards", "SBI Life", "State Bank of Pakistan", "ITC Hotels", "L&T Finance",
    "L&T Technology", "M&M Financial", "Mahindra & Mahindra Financial", "Bharti Airtel Africa", "Airtel Africa",
    "Nifty Next 50", "Nifty IT", "Nifty Midcap", "Nifty Smallcap", "Nifty Pharma", "Nifty Auto", "Gift Nifty",
)  # fmt: skip
_LEGAL_FORMS = ("limited", "ltd", "inc", "plc")
_TAGGED_KINDS = ("equity", "index")


class _Name(msgspec.Struct, frozen=True):
    """`symbol` is empty for what is none of ours. `in_capitals`: only where the title writes it all in capitals."""

    symbol: str
    in_capitals: bool


class SymbolTagger:
    """Finds shares and indices in titles by symbol, name and alias. The longest wins: "Bank Nifty" is not "Nifty".

    A name counts where it is written with a capital ("reliance on imports" is no company), a symbol and an abbreviation
    of up to three letters where it is written in capitals; symbols do not count in a title that is all in capitals.
    """

    def __init__(self, instruments: Iterable[Instrument], aliases: Mapping[str, Sequence[str]] = ALIASES) -> None:
        tagged = [instrument for instrument in instruments if instrument.kind in _TAGGED_KINDS]
        self.symbols = frozenset(instrument.symbol for instrument in tagged)
        self._names: dict[tuple[str, ...], _Name] = {}
        for other in OTHERS:
            self._know(other, "")
        for instrument in tagged:
            self._know(instrument.symbol, instrument.symbol, in_capitals=True)
        for instrument in tagged:
            self._know(instrument.name, instrument.symbol)
            for alias in aliases.get(instrument.symbol, ()):
                self._know(alias, instrument.symbol)
        lengths: defaultdict[str, set[int]] = defaultdict(set)
        for name in self._names:
            lengths[name[0]].add(len(name))
        self._lengths = {first: sorted(of_first, reverse=True) for first, of_first in lengths.items()}

    def tag(self, title: str) -> tuple[str, ...]:
        """The symbols of a title, in its order."""
        words = words_of(title)
        folded = [_folded(word) for word in words]
        shouted = title.upper() == title
        found: dict[str, None] = {}
        at = 0
        while at < len(words):
            step = 1
            for length in self._lengths.get(folded[at], ()):
                name = self._names.get(tuple(folded[at : at + length]))
                if name is not None and _counts(name, words[at : at + length], shouted=shouted):
                    step = length
                    if name.symbol:
                        found[name.symbol] = None
                    break
            at += step
        return tuple(found)

    def _know(self, name: str, symbol: str, *, in_capitals: bool = False) -> None:
        words = tuple(_folded(word) for word in words_of(name))
        while len(words) > 1 and words[-1] in _LEGAL_FORMS:
            words = words[:-1]
        if words:
            short = len(words) == 1 and len(words[0]) <= 3
            self._names[words] = _Name(symbol, in_capitals or short)


def _folded(word: str) -> str:
    """Infosys' and Infosys's are Infosys."""
    return word.casefold().removesuffix("'s")


def _counts(name: _Name, written: Sequence[str], *, shouted: bool) -> bool:
    if not name.symbol:
        return True
    if name.in_capitals:
        return not shouted and all(word.removesuffix("'s").isupper() for word in written)
    return written[0][0].isupper() or written[0][0].isdigit()
