import json
import struct
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engines.market.feeds.kite_protocol import (
    MODES,
    Level,
    Notice,
    OrderUpdate,
    Packet,
    ProtocolError,
    ServerError,
    parse_frame,
    parse_text,
    price_divisor,
    set_mode,
    subscribe,
    unsubscribe,
)
from tests.engines.market.kite_encoder import encode, frame

PRICES = st.integers(-(2**31), 2**31 - 1)
COUNTS = st.integers(0, 2**32 - 1)
TIMES = st.none() | st.integers(1, 2**32 - 1).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


@st.composite
def packets(draw):
    mode = draw(st.sampled_from(MODES))
    is_index = draw(st.booleans())
    segment = 9 if is_index else draw(st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8]))
    token = draw(st.integers(0, 2**24 - 1)) << 8 | segment
    divisor = price_divisor(token)
    price = PRICES.map(lambda number: number / divisor)
    if mode == "ltp":
        return Packet(token, mode, draw(price), is_index=is_index)
    times = {"exchange_time": draw(TIMES)} if mode == "full" else {}
    levels = st.lists(st.builds(Level, price, COUNTS, st.integers(0, 65_535)), min_size=5, max_size=5).map(tuple)
    if is_index:
        names = ("open", "high", "low", "close", "change")
        return Packet(token, mode, draw(price), is_index=True, **{name: draw(price) for name in names}, **times)
    if mode == "full":
        times |= {"last_trade_time": draw(TIMES), "bids": draw(levels), "asks": draw(levels)}
        times |= {f"open_interest{part}": draw(COUNTS) for part in ("", "_high", "_low")}
    prices = {name: draw(price) for name in ("average_price", "open", "high", "low", "close")}
    counts = {name: draw(COUNTS) for name in ("last_quantity", "volume", "buy_quantity", "sell_quantity")}
    return Packet(token, mode, draw(price), **prices, **counts, **times)


@given(st.lists(packets(), max_size=6))
def test_what_is_encoded_is_parsed_to_the_same(sent):
    assert parse_frame(frame([encode(packet) for packet in sent])) == sent


def test_a_frame_by_hand():
    """The layout as the vendor's documentation gives it, byte by byte."""
    infy, nifty = 408_065, 256_265
    assert (infy & 0xFF, nifty & 0xFF) == (1, 9)
    depth = b"".join(struct.pack(">iihh", 10 * n, 150_000 - 5 * n, n, 0) for n in range(1, 6))
    depth += b"".join(struct.pack(">iihh", 20 * n, 150_000 + 5 * n, n, 0) for n in range(1, 6))
    full = struct.pack(">11i", infy, 150_005, 7, 149_950, 1_000, 300, 400, 149_000, 151_000, 148_000, 149_500)
    full += struct.pack(">5i", 1_784_000_000, 11, 22, 3, 1_784_000_001) + depth
    index = struct.pack(">8i", nifty, 2_500_050, 2_510_000, 2_490_000, 2_495_000, 2_505_000, -4_950, 1_784_000_002)
    assert (len(full), len(index)) == (184, 32)
    stock, of_index = parse_frame(b"\x00\x02" + b"\x00\xb8" + full + b"\x00\x20" + index)
    assert (stock.mode, stock.last_price, stock.volume, stock.close) == ("full", 1_500.05, 1_000, 1_495.0)
    assert (stock.open, stock.high, stock.low) == (1_490.0, 1_510.0, 1_480.0)
    assert (stock.open_interest, stock.open_interest_high, stock.open_interest_low) == (11, 22, 3)
    assert stock.bids[0] == Level(1_499.95, 10, 1)
    assert stock.asks[4] == Level(1_500.25, 100, 5)
    assert stock.last_trade_time == datetime.fromtimestamp(1_784_000_000, UTC)
    assert stock.exchange_time == datetime.fromtimestamp(1_784_000_001, UTC)
    assert (of_index.is_index, of_index.high, of_index.low, of_index.open) == (True, 25_100.0, 24_900.0, 24_950.0)
    assert (of_index.close, of_index.change) == (25_050.0, -49.5)
    assert of_index.exchange_time == datetime.fromtimestamp(1_784_000_002, UTC)


@pytest.mark.parametrize(("segment", "price"), [(1, 8_350_000.0), (3, 83.5), (6, 83_500.0), (9, 8_350_000.0)])
def test_the_segment_decides_what_a_price_is_divided_by(segment, price):
    (packet,) = parse_frame(frame([struct.pack(">Ii", 5 << 8 | segment, 835_000_000)]))
    assert packet.last_price == price
    assert packet.is_index == (segment == 9)


def test_a_byte_is_a_heartbeat():
    assert parse_frame(b"\x00") == parse_frame(b"\x07") == []
    assert parse_frame(b"\x00\x00") == []


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b"\x00\x01", "ends before packet 1 of 1"),
        (b"\x00\x01\x00", "ends before packet 1 of 1"),
        (b"\x00\x01\x00\x08\x01\x02", "packet 1 of 1 has 8 bytes, but only 2 are left of 6"),
        (b"\x00\x01\x00\x03\x01\x02\x03", "packet 1 has 3 bytes.*01 02 03"),
        (b"\x00\x01\x00\x00", "packet 1 has 0 bytes"),
        (b"\x00\x00\x01", "1 bytes follow"),
        (frame([bytes(8), bytes(164)]), "packet 2 has 164 bytes"),
    ],
)
def test_what_is_no_frame_is_refused_with_what_came(data, says):
    with pytest.raises(ProtocolError, match=says):
        parse_frame(data)


@given(st.lists(packets(), min_size=1, max_size=3), st.data())
def test_a_frame_that_is_cut_off_is_refused(sent, data):
    whole = frame([encode(packet) for packet in sent])
    with pytest.raises(ProtocolError):
        parse_frame(whole[: data.draw(st.integers(2, len(whole) - 1))])


@given(st.binary(max_size=400) | st.lists(st.binary(max_size=200), max_size=3).map(frame))
def test_garbage_raises_nothing_else(data):
    with suppress(ProtocolError):
        assert all(isinstance(packet, Packet) for packet in parse_frame(data))


def test_text_messages():
    assert parse_text('{"type":"order","data":{"order_id":"1","status":"COMPLETE"}}') == OrderUpdate(
        {"order_id": "1", "status": "COMPLETE"}
    )
    assert parse_text('{"type":"error","data":"Invalid subscription"}') == ServerError("Invalid subscription")
    assert parse_text('{"type":"error","data":{"code":1}}') == ServerError('{"code": 1}')
    assert parse_text('{"type":"message","data":"Closing early"}') == Notice("message", "Closing early")
    assert parse_text('{"type":"instruments_meta"}') == Notice("instruments_meta", None)


@pytest.mark.parametrize("text", ["", "no", "[]", "1", '{"type":1}', "{}", '{"type":"order","data":[]}', "[" * 100_000])
def test_text_that_is_no_message_is_refused(text):
    with pytest.raises(ProtocolError):
        parse_text(text)


@given(st.text(max_size=80) | st.recursive(st.none() | st.text(), st.lists, max_leaves=5).map(json.dumps))
@example('{"type": "error", "data": NaN}')
def test_any_text_raises_nothing_else(text):
    with suppress(ProtocolError):
        parse_text(text)


def test_commands():
    assert subscribe([408_065, 884_737]) == '{"a":"subscribe","v":[408065,884737]}'
    assert unsubscribe([408_065]) == '{"a":"unsubscribe","v":[408065]}'
    assert set_mode("full", [408_065]) == '{"a":"mode","v":["full",[408065]]}'


def test_commands_refuse_what_the_server_would():
    for token in (0, -1, 2**32, "408065", 1.5):
        with pytest.raises(ValueError, match="no instrument token"):
            subscribe([token])
    with pytest.raises(ValueError, match="ltp, quote, full"):
        set_mode("depth", [1])
