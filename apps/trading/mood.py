"""Sentiment: news, breadth, momentum and options put together, for the market and for each symbol."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from django.conf import settings

from apps.trading import bookkeeping, headlines
from apps.trading.news import NewsReader
from engines.market.data import MarketData
from engines.market.instruments import Instrument
from engines.trading.sentiment.board import HeadlineBoard
from engines.trading.sentiment.model import SentimentModel
from engines.trading.sentiment.tagging import SymbolTagger

READ_SECONDS = 10.0


class Mood:
    """What the market feels like. `now` is real time: news have no other."""

    def __init__(self, market: MarketData) -> None:
        self._market = market
        self._seen: datetime | None = None
        self._read_at: datetime | None = None
        path = settings.ENV.headlines_path
        self._reader = NewsReader(Path(path)) if path else None
        self.follow(())

    def follow(self, instruments: tuple[Instrument, ...]) -> None:
        """Look at these shares and indices."""
        self._symbols = frozenset(instrument.symbol for instrument in instruments)
        self._board = HeadlineBoard(SymbolTagger(instruments))
        self._model = SentimentModel(instruments, self._board)
        self._seen = None  # all that is kept is read again, and tagged with the symbols of now

    def publish(self, pcr: Mapping[str, float | None], vix: Mapping[str, float | None], now: datetime) -> None:
        """Take in what is new, and tell everybody."""
        self._read(now)
        found = headlines.since(self._seen)
        if found:
            self._seen = max(created_at for created_at, _ in found)
            self._board.add([headline for _, headline in found], now)
        last = {symbol: self._market.quotes[symbol].last for symbol in self._symbols & self._market.quotes.keys()}
        previous = {symbol: close for symbol, close in self._market.previous_close.items() if symbol in last}
        bookkeeping.save_sentiments(self._model.assess(now, previous_close=previous, last=last, pcr=pcr, vix=vix))

    def _read(self, now: datetime) -> None:
        due = self._read_at is None or (now - self._read_at).total_seconds() >= READ_SECONDS
        if self._reader is None or not due:
            return
        self._read_at = now
        headlines.store(self._reader.read())
