"""The other side of Kite Connect's protocol: packets to bytes. For tests only."""

import struct

from engines.market.feeds.kite_protocol import Level, price_divisor

NO_LEVEL = Level(0.0, 0, 0)


def frame(packets):
    return struct.pack(">H", len(packets)) + b"".join(struct.pack(">H", len(p)) + p for p in packets)


def encode(packet):
    """A packet's bytes, in its mode."""

    def price(rupees):
        return round(rupees * price_divisor(packet.token))

    data = struct.pack(">Ii", packet.token, price(packet.last_price))
    if packet.mode == "ltp":
        return data
    if packet.is_index:
        data += struct.pack(">4i", *map(price, (packet.high, packet.low, packet.open, packet.close)))
        data += struct.pack(">i", price(packet.change))
        return data + (struct.pack(">I", seconds(packet.exchange_time)) if packet.mode == "full" else b"")
    data += struct.pack(">IiI", packet.last_quantity, price(packet.average_price), packet.volume)
    data += struct.pack(">II", packet.buy_quantity, packet.sell_quantity)
    data += struct.pack(">4i", *map(price, (packet.open, packet.high, packet.low, packet.close)))
    if packet.mode == "quote":
        return data
    data += struct.pack(">I", seconds(packet.last_trade_time))
    data += struct.pack(">3I", packet.open_interest, packet.open_interest_high, packet.open_interest_low)
    data += struct.pack(">I", seconds(packet.exchange_time))
    for levels in (packet.bids, packet.asks):
        for level in (*levels, *[NO_LEVEL] * 5)[:5]:
            data += struct.pack(">IiHH", level.quantity, price(level.price), level.orders, 0)
    return data


def seconds(time):
    return int(time.timestamp()) if time else 0
