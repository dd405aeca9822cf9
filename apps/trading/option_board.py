"""Analyses the option chains, publishes them, and everyone's own Greeks. Synchronous; run in the engines' thread."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime

from apps.trading import bookkeeping, option_messages, option_positions, services, websocket_utils
from engines.market.data import MarketData
from engines.market.instruments import Instrument
from engines.market.quotes import Bar, QuoteTick
from engines.options.chain import RATE, ChainAnalysis, RealisedVolatility, analyse
from engines.options.quotes import ChainQuotes
from engines.options.volatility_index import IvRank, TermVariance, term_variance, volatility_index


class OptionBoard:
    """Every expiry that the feed lists, by underlying. What it found last is there for sentiment and for risk."""

    def __init__(self, market: MarketData) -> None:
        self._market = market
        self._contracts: dict[str, dict[date, list[Instrument]]] = {}
        self._volumes: dict[str, float] = {}
        self._realised: dict[str, RealisedVolatility] = {}
        self._ranks: dict[str, IvRank] = {}
        self._told: set[int] = set()
        self.watched: frozenset[int] = frozenset()
        """Users who look at their Greeks. Those of the others are not published."""
        self.atm_iv: dict[str, float | None] = {}
        self.pcr: dict[str, float | None] = {}
        self.volatility_index: dict[str, float | None] = {}
        self.deltas: dict[str, float] = {}

    def set_instruments(self, instruments: Iterable[Instrument]) -> None:
        """What is listed now; expiries that are gone are forgotten."""
        listed: defaultdict[str, defaultdict[date, list[Instrument]]] = defaultdict(lambda: defaultdict(list))
        for instrument in instruments:
            if instrument.kind == "option" and instrument.expiry is not None:
                listed[instrument.underlying][instrument.expiry].append(instrument)
        gone = [(u, e) for u, by_expiry in self._contracts.items() for e in by_expiry if e not in listed.get(u, {})]
        self._contracts = {underlying: dict(by_expiry) for underlying, by_expiry in listed.items()}
        known = {i.symbol for by_expiry in self._contracts.values() for of_one in by_expiry.values() for i in of_one}
        self._volumes = {symbol: volume for symbol, volume in self._volumes.items() if symbol in known}
        self.deltas = {symbol: delta for symbol, delta in self.deltas.items() if symbol in known}
        for underlying in self._contracts:
            if underlying not in self._ranks:
                self._ranks[underlying] = IvRank(bookkeeping.volatilities(underlying))
                self._realised.setdefault(underlying, RealisedVolatility(self._market.feed.bar_seconds))
        for underlying, expiry in gone:
            services.drop_chain(underlying, expiry)
            websocket_utils.forget_expiry(underlying, expiry)

    def add_bar(self, bar: Bar) -> None:
        """Realised volatility is that of the underlying's bars."""
        realised = self._realised.get(bar.symbol)
        if realised is not None:
            realised.add(bar)

    def add_quotes(self, quotes: Iterable[QuoteTick]) -> None:
        """A quote says what traded since the one before; a chain shows the day's."""
        volumes = self._volumes
        for quote in quotes:
            volumes[quote.symbol] = volumes.get(quote.symbol, 0.0) + quote.volume

    def publish(self, now: datetime) -> None:
        """Analyse every expiry at the latest quotes; send chain, Greeks and volatility, then everyone's own Greeks."""
        for underlying, by_expiry in self._contracts.items():
            spot = self._market.quotes.get(underlying)
            if spot is not None:
                self._publish_underlying(underlying, spot.last, by_expiry, now)
        self._publish_positions()

    def end_day(self, day: date) -> None:
        """Keep the day's volatility for the rank of the days to come, and begin to count volumes anew."""
        for underlying, atm_iv in self.atm_iv.items():
            if atm_iv is not None:
                self._ranks[underlying].add(day, atm_iv)
                bookkeeping.save_volatility(underlying, day, atm_iv)
        self._volumes.clear()

    def _publish_underlying(
        self, underlying: str, spot: float, by_expiry: Mapping[date, Sequence[Instrument]], now: datetime
    ) -> None:
        found, terms = [], []
        for expiry, instruments in sorted(by_expiry.items()):
            quotes = ChainQuotes.of(underlying, expiry, spot, self._market.quotes, instruments, volumes=self._volumes)
            analysis = analyse(quotes, now, RATE)
            terms.append(term_variance(quotes, analysis.years, RATE))
            found.append((quotes, analysis, instruments))
        self._note(underlying, [analysis for _, analysis, _ in found], terms)
        for quotes, analysis, instruments in found:
            labels = option_messages.Labels(
                symbols={(float(i.strike or 0), i.option_type or ""): i.symbol for i in instruments},
                modelled=self._market.feed.simulated,
                realised=self._realised[underlying].annualised,
                volatility_index=self.volatility_index[underlying],
                rank=self._ranks[underlying],
            )
            chain = option_messages.chain(quotes, analysis, labels)
            greeks = option_messages.greeks(analysis, labels)
            self.deltas.update(
                (o.symbol, o.delta) for o in greeks.options if isinstance(o.symbol, str) and o.delta is not None
            )
            services.save_chain(chain, greeks)
            websocket_utils.notify_option_chain_update(chain)
            websocket_utils.notify_greeks_update(greeks)
            websocket_utils.notify_volatility_update(option_messages.volatility(analysis, labels))

    def _note(self, underlying: str, analyses: Sequence[ChainAnalysis], terms: Sequence[TermVariance | None]) -> None:
        index = volatility_index(terms)
        self.volatility_index[underlying] = None if index is None else index.value
        near = analyses[0]
        self.atm_iv[underlying], self.pcr[underlying] = near.atm_iv, near.pcr_open_interest

    def _publish_positions(self) -> None:
        """What nobody sees is not kept, either: it would be old news for who comes next."""
        for user_id in self._told - self.watched:
            websocket_utils.forget_portfolio_greeks(user_id)
        if self.watched:
            held = option_positions.greeks_of_all()
            for user_id in self.watched:
                greeks = held.get(user_id) or option_positions.greeks_of(str(user_id))
                websocket_utils.notify_portfolio_greeks(user_id, greeks)
        self._told = set(self.watched)
