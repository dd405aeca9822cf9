"""A small market for the tests of the paper broker."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import count

from engines.market.calendar import IST, is_open
from engines.market.instruments import Instrument
from engines.market.quotes import QuoteTick
from engines.trading.orders import Order, OrderFilled
from engines.trading.paper_broker import Funds, PaperBroker

D = Decimal
NOW = datetime(2026, 11, 16, 10, 0, tzinfo=IST)
EXPIRY = date(2026, 11, 17)
INSTRUMENTS = {
    instrument.symbol: instrument
    for instrument in (
        Instrument("NIFTY", "NIFTY 50", "index"),
        Instrument("SBIN", "State Bank of India", "equity"),
        Instrument("ITC", "ITC", "equity"),
        Instrument("FUT", "", "future", lot_size=65, underlying="NIFTY", expiry=EXPIRY),
        Instrument(
            "CALL",
            "",
            "option",
            lot_size=65,
            underlying="NIFTY",
            expiry=EXPIRY,
            strike=D(25_000),
            option_type="CE",
        ),
    )
}
RICH = D(10**9)
CLOSE = D(100)


def quote(bid=99.95, ask=100.05, *, last=None, sizes=(0, 0), symbol="SBIN", after=0):
    """By default without sizes, at the last price in the middle. `after`: seconds later."""
    middle = round((bid + ask) / 2, 2) if last is None else last
    when = NOW + timedelta(seconds=after)
    return QuoteTick(symbol, when, middle, bid, ask, bid_size=sizes[0], ask_size=sizes[1])


class Desk:
    """A broker, and orders with less to type."""

    def __init__(self, **options):
        self.broker = PaperBroker(INSTRUMENTS, is_open=options.pop("is_open", is_open), **options)
        self._numbers = count(1)

    def order(self, side="BUY", quantity=100, **fields):
        if "limit" in fields:
            fields |= {"order_type": "LIMIT", "limit_price": D(str(fields.pop("limit")))}
        if "stop" in fields:
            kind = "STOP_LIMIT" if "limit_price" in fields else "STOP"
            fields |= {"order_type": kind, "stop_price": D(str(fields.pop("stop")))}
        symbol = fields.get("symbol", "SBIN")
        product = "NORMAL" if INSTRUMENTS.get(symbol, INSTRUMENTS["ITC"]).kind in ("future", "option") else "DELIVERY"
        defaults = {"order_id": str(next(self._numbers)), "account_id": 1, "symbol": symbol, "product": product}
        return Order(**{**defaults, "side": side, "quantity": quantity, "created_at": NOW, "updated_at": NOW, **fields})

    def submit(self, order, quote=None, *, available=RICH, held=None, close=CLOSE, now=NOW):
        return self.broker.submit(order, Funds(available, held or {}), quote, close, now)

    def send(self, *args, market=None, **fields):
        return self.submit(self.order(*args, **fields), market)

    def quotes(self, *quotes, now=NOW):
        return self.broker.on_quotes(quotes, now)


def kinds(events):
    return [type(event).__name__.removeprefix("Order") for event in events]


def fills(events):
    return [
        (event.order.order_id, event.quantity, float(event.price)) for event in events if isinstance(event, OrderFilled)
    ]
