"""The wire format of Kite Connect's WebSocket, version 3: bytes and text in, typed values out. No I/O.

Source: https://kite.trade/docs/connect/v3/websocket/ and the vendor's own client (`pykiteconnect`), which agree. All
numbers are big-endian. A binary message of one byte is a heartbeat; any other is a count of packets (2 bytes), and per
packet its length (2 bytes) and the packet. The length says what it is:

| bytes | what | mode |
|---|---|---|
| 8 | anything | ltp |
| 28, 32 | an index | quote, full |
| 44, 184 | what trades | quote, full (184 with five levels of depth each side, open interest and times) |

Prices are whole numbers: hundredths of a rupee, for currencies 1e-7 (NSE) and 1e-4 (BSE). The segment is the token's
lowest byte. Prices and changes are read as signed, all else as unsigned. A time of 0 is no time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from struct import Struct
from typing import Any, Literal, get_args

import msgspec

Mode = Literal["ltp", "quote", "full"]
MODES: tuple[Mode, ...] = get_args(Mode)
MAX_TOKEN = 2**32 - 1
NSE_CURRENCY, BSE_CURRENCY, INDICES = 3, 6, 9  # segments
_DIVISORS = {NSE_CURRENCY: 1e7, BSE_CURRENCY: 1e4}
_DEPTH_LEVELS = 5
_SHOWN = 60

_COUNT = Struct(">H")
_LTP = Struct(">Ii")
_INDEX = Struct(">I6i")
_QUOTE = Struct(">IiIiIIIiiii")
_FULL = Struct(">IIIII")  # what follows a quote, before the depth
_TIME = Struct(">I")
_LEVEL = Struct(">IiH2x")


class ProtocolError(ValueError):
    """What came is not of the protocol; the message says what it was."""


class Level(msgspec.Struct, frozen=True):
    """One level of depth. Of an empty one price and quantity are 0."""

    price: float
    quantity: int
    orders: int


class Packet(msgspec.Struct, frozen=True):
    """What one packet says of one instrument, in rupees and units; what its mode does not carry is 0, None or empty.

    `close` is that of the session before, `volume` the day's so far, `change` an index's since the close. Best levels
    of depth come first.
    """

    token: int
    mode: Mode
    last_price: float
    is_index: bool = False
    last_quantity: int = 0
    average_price: float = 0.0
    volume: int = 0
    buy_quantity: int = 0
    sell_quantity: int = 0
    open: float = 0.0
    high: float = 0.0
    low: float = 0.0
    close: float = 0.0
    change: float = 0.0
    last_trade_time: datetime | None = None
    open_interest: int = 0
    open_interest_high: int = 0
    open_interest_low: int = 0
    exchange_time: datetime | None = None
    bids: tuple[Level, ...] = ()
    asks: tuple[Level, ...] = ()


class OrderUpdate(msgspec.Struct, frozen=True):
    """An order of the account changed ("postback"): the vendor's fields, as they came."""

    fields: Mapping[str, Any]


class ServerError(msgspec.Struct, frozen=True):
    """The server complains, in words."""

    text: str


class Notice(msgspec.Struct, frozen=True):
    """Any other text message: its type, and what it carries."""

    kind: str
    content: Any


TextMessage = OrderUpdate | ServerError | Notice


def parse_frame(frame: bytes) -> list[Packet]:
    """The packets of a binary message; of a heartbeat, none. Raises `ProtocolError`: half a frame is not used."""
    if len(frame) == 1:
        return []
    if len(frame) < _COUNT.size:
        raise ProtocolError("an empty frame; one has at least 1 byte")
    (count,) = _COUNT.unpack_from(frame)
    at, packets = _COUNT.size, []
    for number in range(1, count + 1):
        if at + _COUNT.size > len(frame):
            raise ProtocolError(f"a frame of {len(frame)} bytes ends before packet {number} of {count}")
        (length,) = _COUNT.unpack_from(frame, at)
        at += _COUNT.size
        if at + length > len(frame):
            raise ProtocolError(
                f"packet {number} of {count} has {length} bytes, but only {len(frame) - at} are left of {len(frame)}"
            )
        packets.append(_parse_packet(frame[at : at + length], number))
        at += length
    if at != len(frame):
        raise ProtocolError(f"{len(frame) - at} bytes follow the last of {count} packets")
    return packets


def parse_text(text: str) -> TextMessage:
    """A text message. Raises `ProtocolError` for what is not a JSON object with a `type`."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        raise ProtocolError(f"text that is no JSON: {_shown(text)}") from None
    kind = message.get("type") if isinstance(message, dict) else None
    if not isinstance(kind, str):
        raise ProtocolError(f"text that is no object with a type: {_shown(text)}")
    content = message.get("data")
    if kind == "order":
        if not isinstance(content, dict):
            raise ProtocolError(f"an order update whose data is no object: {_shown(text)}")
        return OrderUpdate(content)
    if kind == "error":
        return ServerError(content if isinstance(content, str) else json.dumps(content))
    return Notice(kind, content)


def subscribe(tokens: Iterable[int]) -> str:
    """The command that begins quotes of these tokens, in mode `quote`. Raises `ValueError` for what is no token."""
    return _command("subscribe", _checked(tokens))


def unsubscribe(tokens: Iterable[int]) -> str:
    """The command that ends them. Raises `ValueError`."""
    return _command("unsubscribe", _checked(tokens))


def set_mode(mode: Mode, tokens: Iterable[int]) -> str:
    """The command that sets the mode of tokens that are subscribed to. Raises `ValueError`."""
    if mode not in MODES:
        raise ValueError(f"mode is {mode!r}, it must be one of {', '.join(MODES)}")
    return _command("mode", [mode, _checked(tokens)])


def price_divisor(token: int) -> float:
    """What the token's prices are to be divided by."""
    return _DIVISORS.get(token & 0xFF, 100.0)


def _parse_packet(packet: bytes, number: int) -> Packet:
    parser = _PARSERS.get(len(packet))
    if parser is None:
        raise ProtocolError(
            f"packet {number} has {len(packet)} bytes, it must have one of {', '.join(map(str, sorted(_PARSERS)))}: "
            f"{packet[:16].hex(' ')}"
        )
    return parser(packet)


def _ltp(packet: bytes) -> Packet:
    token, price = _LTP.unpack(packet)
    return Packet(token, "ltp", price / price_divisor(token), is_index=token & 0xFF == INDICES)


def _index(packet: bytes) -> Packet:
    token, *prices = _INDEX.unpack_from(packet)
    last, high, low, opened, close, change = (price / price_divisor(token) for price in prices)
    is_full = len(packet) > _INDEX.size
    return Packet(
        token,
        "full" if is_full else "quote",
        last,
        is_index=True,
        open=opened,
        high=high,
        low=low,
        close=close,
        change=change,
        exchange_time=_time(_TIME.unpack_from(packet, _INDEX.size)[0]) if is_full else None,
    )


def _quote(packet: bytes) -> Packet:
    token, last, quantity, average, volume, buy, sell, opened, high, low, close = _QUOTE.unpack_from(packet)
    divisor = price_divisor(token)
    quote = Packet(
        token,
        "quote",
        last / divisor,
        last_quantity=quantity,
        average_price=average / divisor,
        volume=volume,
        buy_quantity=buy,
        sell_quantity=sell,
        open=opened / divisor,
        high=high / divisor,
        low=low / divisor,
        close=close / divisor,
    )
    if len(packet) == _QUOTE.size:
        return quote
    traded_at, interest, interest_high, interest_low, exchange_time = _FULL.unpack_from(packet, _QUOTE.size)
    levels = [
        Level(price / divisor, quantity, orders)
        for quantity, price, orders in _LEVEL.iter_unpack(packet[_QUOTE.size + _FULL.size :])
    ]
    return msgspec.structs.replace(
        quote,
        mode="full",
        last_trade_time=_time(traded_at),
        open_interest=interest,
        open_interest_high=interest_high,
        open_interest_low=interest_low,
        exchange_time=_time(exchange_time),
        bids=tuple(levels[:_DEPTH_LEVELS]),
        asks=tuple(levels[_DEPTH_LEVELS:]),
    )


_PARSERS = {
    _LTP.size: _ltp,
    _INDEX.size: _index,
    _INDEX.size + _TIME.size: _index,
    _QUOTE.size: _quote,
    _QUOTE.size + _FULL.size + 2 * _DEPTH_LEVELS * _LEVEL.size: _quote,
}


def _time(seconds: int) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None


def _checked(tokens: Iterable[int]) -> list[int]:
    checked = list(tokens)
    for token in checked:
        if not (isinstance(token, int) and 0 < token <= MAX_TOKEN):
            raise ValueError(f"{token!r} is no instrument token, a whole number from 1 to {MAX_TOKEN}")
    return checked


def _command(action: str, value: list[Any]) -> str:
    return json.dumps({"a": action, "v": value}, separators=(",", ":"))


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")
