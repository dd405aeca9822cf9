"""A live market from Zerodha's Kite Connect (https://kite.trade/docs/connect/v3/websocket/); see `kite_protocol`.

One connection carries 3,000 instruments. It is made anew whenever it ends, falls silent (the vendor's server sends a
heartbeat every couple of seconds) or cannot be made, after a random pause between 0 and a limit that doubles with each
failure ("full jitter": M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015). A refused sign-in is
another matter: tokens live for a day, and asking again changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import date, datetime
from urllib.parse import quote, urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException

from engines.market.calendar import IST
from engines.market.feeds.base import Sleep
from engines.market.feeds.kite_protocol import (
    MODES,
    Level,
    Mode,
    Packet,
    ProtocolError,
    ServerError,
    parse_frame,
    parse_text,
    set_mode,
    subscribe,
)
from engines.market.instruments import Instrument
from engines.market.quotes import Bar, QuoteTick

KITE_URL = "wss://ws.kite.trade"
MAX_INSTRUMENTS = 3_000
SILENCE_SECONDS = 5.0
CONNECT_SECONDS = 10.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 60.0
REFUSED_PAUSE_SECONDS = 900.0
_REFUSALS = (401, 403)
_MAX_FRAME_BYTES = 2**20  # 3,000 full packets are 558,002 bytes
_VERSION = {"X-Kite-Version": "3"}

log = logging.getLogger(__name__)
# At DEBUG the library logs the request line, which holds the credentials. This one is not registered, because
# `logging.config` sets the levels of registered ones back.
_socket_log = logging.Logger(f"{__name__}.socket", logging.WARNING)  # noqa: LOG001 - see above
_socket_log.parent = log


class SignInRefused(ValueError):
    """The server refused the API key or the access token."""


class KiteCredentials:
    """An API key and the access token of the day. Neither is in `repr`. Raises `ValueError` for an empty one."""

    __slots__ = ("access_token", "api_key")

    def __init__(self, api_key: str, access_token: str) -> None:
        if not api_key or not access_token:
            raise ValueError("both an API key and an access token are needed")
        self.api_key, self.access_token = api_key, access_token

    def __repr__(self) -> str:
        return "KiteCredentials(hidden)"

    def hide_in(self, text: str) -> str:
        """The text without them."""
        for secret in (self.api_key, self.access_token):
            text = text.replace(secret, "***").replace(quote(secret, safe=""), "***")
        return text


class KiteFeed:
    """Implements `Feed` over one connection, until cancelled.

    `mode` is that of all instruments but those in `modes`, by symbol. `full` has the best bid and ask with sizes, open
    interest and the exchange's time; in the others, and for indices, bid and ask are the last price and sizes 0. A tick
    without the exchange's time is stamped by `now` (aware). `volume` is what the day's volume grew by since the tick
    before, also over a break of the connection; of the first tick it is 0. There is no warm-up.

    `uniform(a, b)` is a random number, for pauses. Raises `ValueError` for no or more than 3,000 instruments, one
    without a token, two with the same, an unknown mode or symbol, and a URL that is no WebSocket's.
    """

    description = "live market of Kite Connect"
    simulated = False
    is_live = True
    bar_seconds = 60
    listed = 0

    def __init__(
        self,
        instruments: Sequence[Instrument],
        credentials: KiteCredentials,
        *,
        sleep: Sleep,
        now: Callable[[], datetime],
        mode: Mode = "full",
        modes: Mapping[str, Mode] | None = None,
        url: str = KITE_URL,
        silence_seconds: float = SILENCE_SECONDS,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.instruments: Sequence[Instrument] = list(instruments)
        self.unusable: Counter[str] = Counter()
        """How many messages were left out, by reason: `frame` or `text` out of the protocol, `unknown_token`."""
        self._symbols = _symbols_by_token(self.instruments)
        self._tokens_by_mode = _tokens_by_mode(self.instruments, mode, modes or {})
        if urlsplit(url).scheme not in ("ws", "wss") or urlsplit(url).query:
            raise ValueError(
                f"url is {credentials.hide_in(url)!r}, it must begin with ws:// or wss:// and have no query"
            )
        self._credentials = credentials
        self._url = url
        self._sleep, self._now, self._uniform = sleep, now, uniform
        self._silence_seconds = silence_seconds
        self._day_volumes: dict[int, tuple[date, int]] = {}
        self._refused = False

    def resume(self, prices: Mapping[str, float], market_time: datetime) -> None:
        """Ignored: a live market is where it is."""

    def warmup(self) -> Sequence[Bar]:
        return []

    async def batches(self) -> AsyncIterator[Sequence[QuoteTick]]:
        """The quotes of one frame each. Raises `SignInRefused`; called again after that, it first waits 15 minutes, so
        that who restarts it does not hammer at the door."""
        if self._refused:
            await self._sleep(REFUSED_PAUSE_SECONDS)
        failures = 0
        while True:
            try:
                async with aclosing(self._quotes_of_a_connection()) as quotes:
                    async for batch in quotes:
                        failures = 0
                        if batch:
                            yield batch
            except InvalidStatus as error:
                status = error.response.status_code
                if status in _REFUSALS:
                    self._refused = True
                    raise SignInRefused(
                        f"Kite Connect refused the sign-in (HTTP {status}): the API key is wrong, or the access "
                        "token is wrong or of another day. Sign in anew and restart with the new token"
                    ) from None
                reason = f"HTTP {status}"
            except TimeoutError as error:  # of `connect` it says what for
                reason = str(error) or f"silence for {self._silence_seconds:g} s"
            except (OSError, WebSocketException) as error:
                reason = self._credentials.hide_in(f"{type(error).__name__}: {error}")
            limit = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(failures, 16))
            failures += 1
            pause_seconds = self._uniform(0.0, limit)
            log.warning("no connection to Kite Connect (%s); the next attempt is in %.1f s", reason, pause_seconds)
            await self._sleep(pause_seconds)

    async def _quotes_of_a_connection(self) -> AsyncGenerator[Sequence[QuoteTick], None]:
        """Connect, subscribe, and read until the connection ends, which raises. Heartbeats are empty batches."""
        async with connect(
            f"{self._url}?api_key={quote(self._credentials.api_key, safe='')}"
            f"&access_token={quote(self._credentials.access_token, safe='')}",
            additional_headers=_VERSION,
            open_timeout=CONNECT_SECONDS,
            close_timeout=1.0,
            max_size=_MAX_FRAME_BYTES,
            compression=None,
            logger=_socket_log,
        ) as socket:
            self._refused = False
            await self._subscribe(socket)
            log.info("connected to Kite Connect, %d instruments", len(self._symbols))
            while True:
                async with asyncio.timeout(self._silence_seconds):
                    message = await socket.recv()
                yield self._read(message)

    async def _subscribe(self, socket: ClientConnection) -> None:
        await socket.send(subscribe(self._symbols))
        for mode, tokens in self._tokens_by_mode.items():
            await socket.send(set_mode(mode, tokens))

    def _read(self, message: str | bytes) -> Sequence[QuoteTick]:
        """The quotes of a message. One that is out of the protocol is counted, and logged the first time."""
        try:
            if isinstance(message, bytes):
                return self._quotes(parse_frame(message))
            said = parse_text(message)
        except ProtocolError as error:
            kind = "frame" if isinstance(message, bytes) else "text"
            self._leave_out(kind, str(error))
            return ()
        if isinstance(said, ServerError):
            log.warning("Kite Connect says: %s", self._credentials.hide_in(said.text))
        return ()

    def _quotes(self, packets: Sequence[Packet]) -> list[QuoteTick]:
        quotes: list[QuoteTick] = []
        now = self._now()
        for packet in packets:
            symbol = self._symbols.get(packet.token)
            if symbol is None:
                self._leave_out("unknown_token", str(packet.token))
            else:
                quotes.append(self._quote(symbol, packet, now))
        return quotes

    def _quote(self, symbol: str, packet: Packet, now: datetime) -> QuoteTick:
        has_depth = bool(packet.bids or packet.asks)
        bid, ask = _best(packet.bids), _best(packet.asks)
        return QuoteTick(
            symbol,
            packet.exchange_time or now,
            packet.last_price,
            bid.price if has_depth else packet.last_price,
            ask.price if has_depth else packet.last_price,
            self._traded(packet, min(packet.exchange_time or now, now)),  # a stamp from the future is no new day
            bid.quantity,
            ask.quantity,
            packet.open_interest,
            packet.close,
        )

    def _traded(self, packet: Packet, time: datetime) -> float:
        """Since the tick before: the day's volume less what it was. Of a new day all of it, but nothing while the
        vendor repeats the old day's; nothing of a packet that is late."""
        if packet.mode == "ltp" or packet.is_index:
            return 0.0
        day = time.astimezone(IST).date()
        before_day, before = self._day_volumes.get(packet.token, (day, packet.volume))
        if day < before_day or (day == before_day and packet.volume < before):
            return 0.0
        traded = packet.volume - before if day == before_day else packet.volume if packet.volume != before else 0
        if day == before_day or packet.volume != before:
            self._day_volumes[packet.token] = day, packet.volume
        return float(traded)

    def _leave_out(self, reason: str, what: str) -> None:
        if not self.unusable[reason]:
            log.warning("Kite Connect sent what is of no use (%s): %s", reason, self._credentials.hide_in(what))
        self.unusable[reason] += 1


_NO_LEVEL = Level(0.0, 0, 0)


def _best(levels: Sequence[Level]) -> Level:
    return levels[0] if levels and levels[0].quantity else _NO_LEVEL


def _symbols_by_token(instruments: Sequence[Instrument]) -> dict[int, str]:
    if not 1 <= len(instruments) <= MAX_INSTRUMENTS:
        raise ValueError(f"there are {len(instruments):,} instruments, one connection carries 1 to {MAX_INSTRUMENTS:,}")
    symbols: dict[int, str] = {}
    for instrument in instruments:
        if instrument.token <= 0:
            raise ValueError(f"{instrument.symbol} has no instrument token, and Kite Connect knows it by nothing else")
        if instrument.token in symbols:
            raise ValueError(f"{instrument.symbol} and {symbols[instrument.token]} have the token {instrument.token}")
        symbols[instrument.token] = instrument.symbol
    return symbols


def _tokens_by_mode(
    instruments: Sequence[Instrument], mode: Mode, modes: Mapping[str, Mode]
) -> Mapping[Mode, Sequence[int]]:
    for name in (mode, *modes.values()):
        if name not in MODES:
            raise ValueError(f"mode is {name!r}, it must be one of {', '.join(MODES)}")
    unknown = modes.keys() - {instrument.symbol for instrument in instruments}
    if unknown:
        raise ValueError(f"modes has {min(unknown)}, which is none of the instruments")
    tokens: defaultdict[Mode, list[int]] = defaultdict(list)
    for instrument in instruments:
        tokens[modes.get(instrument.symbol, mode)].append(instrument.token)
    return tokens
