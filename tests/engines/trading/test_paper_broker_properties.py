"""Whatever is sent to the paper broker, in any order: what must hold after each step."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from engines.trading.orders import (
    TRANSITIONS,
    CancelRejected,
    OrderAccepted,
    OrderFilled,
    OrderRejected,
    OrderTriggered,
)
from engines.trading.paper_broker import Funds, PaperBroker
from tests.engines.trading.broker_desk import INSTRUMENTS, NOW, Desk, quote

D = Decimal
LOTS = {"SBIN": 1, "FUT": 65}

prices = st.integers(1_900, 2_100).map(lambda ticks: D(ticks) * D("0.05"))
symbols = st.sampled_from(["SBIN", "FUT"])
submits = st.fixed_dictionaries(
    {
        "do": st.just("submit"),
        "account_id": st.sampled_from([1, 2]),
        "symbol": symbols,
        "side": st.sampled_from(["BUY", "SELL"]),
        "lots": st.sampled_from([1, 2, 3, 5, 8, 8, 13, 0]),
        "order_type": st.sampled_from(["LIMIT", "LIMIT", "LIMIT", "MARKET", "STOP", "STOP_LIMIT"]),
        "prices": st.tuples(prices, prices),
        "time_in_force": st.sampled_from(["DAY", "DAY", "DAY", "DAY", "IOC"]),
        "product": st.sampled_from(["INTRADAY", "INTRADAY", "DELIVERY"]),
        "client_order_id": st.sampled_from(["", "", "", "a", "b"]),
        "with_quote": st.booleans(),
    }
)
quotes = st.fixed_dictionaries(
    {
        "do": st.just("quote"),
        "symbol": symbols,
        "bid": prices,
        "spread": st.sampled_from([0, 1, 1, 2, 6, -1]),
        "last": prices,
        "sizes": st.tuples(st.sampled_from([0, 3, 70, 200, 1_000]), st.sampled_from([0, 3, 70, 200, 1_000])),
        "again": st.booleans(),
    }
)
cancels = st.fixed_dictionaries({"do": st.just("cancel"), "which": st.integers(0, 30)})
ends = st.just({"do": "end"})
restarts = st.just({"do": "restart"})
steps = st.integers(0, 19).flatmap(
    lambda die: submits if die < 9 else quotes if die < 16 else cancels if die < 18 else ends if die < 19 else restarts
)
histories = st.one_of(st.lists(steps, max_size=8), st.lists(steps, min_size=25, max_size=60))


@dataclass
class World:
    """Drives a broker, and follows only what its events say."""

    cash: Decimal
    broker: PaperBroker = field(default_factory=lambda: Desk().broker)
    orders: dict = field(default_factory=dict)  # by id, in the order of acceptance
    refused: list = field(default_factory=list)
    held: dict = field(default_factory=lambda: defaultdict(Counter))
    latest: dict = field(default_factory=dict)
    taken: Counter = field(default_factory=Counter)
    sent: int = 0
    seconds: int = 0

    def step(self, step):
        self.seconds += 1
        now = NOW + timedelta(seconds=self.seconds)
        if step["do"] == "submit":
            return self.submit(step, now)
        if step["do"] == "quote":
            market = self.latest.get(step["symbol"]) if step["again"] else None
            if market is None:
                bid = float(step["bid"])
                ask, last = round(bid + step["spread"] * 0.05, 2), float(step["last"])
                market = quote(bid, ask, last=last, sizes=step["sizes"], symbol=step["symbol"], after=self.seconds)
                self.see(market)
            return self.broker.on_quotes([market], now)
        if step["do"] == "cancel":
            return self.broker.cancel(str(step["which"]), now)
        return self.broker.end_of_session(now) if step["do"] == "end" else []

    def see(self, market):
        self.latest[market.symbol] = market
        self.taken = Counter({key: units for key, units in self.taken.items() if key[0] != market.symbol})

    def submit(self, step, now):
        kind, (first, second) = step["order_type"], step["prices"]
        order = Desk().order(
            step["side"],
            step["lots"] * LOTS[step["symbol"]],
            order_id=str(self.sent),
            order_type=kind,
            limit_price=first if kind in ("LIMIT", "STOP_LIMIT") else None,
            stop_price=second if kind in ("STOP", "STOP_LIMIT") else None,
            **{name: step[name] for name in ("account_id", "symbol", "time_in_force", "client_order_id")},
            **({"product": step["product"]} if step["symbol"] == "SBIN" else {}),
        )
        self.sent += 1
        funds = Funds(self.cash, dict(self.held[order.account_id]))
        market = self.latest.get(order.symbol) if step["with_quote"] else None
        return self.broker.submit(order, funds, market, D(100), now)

    def follow(self, event):
        """Everything that one event may and may not say."""
        if isinstance(event, CancelRejected):
            assert event.order_id not in self.open_ids()
            return
        order = event.order
        assert order.quantity == order.filled_quantity + order.leaves_quantity
        if isinstance(event, OrderRejected):
            assert order.order_id not in self.orders
            assert order.filled_quantity == 0
            assert event.reason
            return
        before = self.orders.get(order.order_id)
        if isinstance(event, OrderAccepted):
            assert before in (None, order)
        else:
            assert order.status in TRANSITIONS[before.status]
            assert order.same_content(before)
        if isinstance(event, OrderFilled):
            self.check_fill(event, before)
        elif before is not None:
            assert order.filled_quantity == before.filled_quantity
        if isinstance(event, OrderTriggered):
            assert not before.triggered
        assert order.is_open or not order.blocked
        self.orders[order.order_id] = order

    def check_fill(self, event, before):
        order, market = event.order, self.latest[event.order.symbol]
        assert event.quantity > 0
        assert event.quantity % LOTS[order.symbol] == 0
        assert order.filled_quantity == before.filled_quantity + event.quantity
        assert order.filled_value == before.filled_value + event.quantity * event.price
        assert order.brokerage == before.brokerage + event.charges.brokerage
        assert 0 < market.bid <= market.ask
        touch, size = (market.ask, market.ask_size) if order.side == "BUY" else (market.bid, market.bid_size)
        assert order.signed(1) * (event.price - D(str(touch))) >= 0  # never better than the quote
        assert order.limit_price is None or order.signed(1) * (order.limit_price - event.price) >= 0
        assert not order.is_stop or before.triggered
        self.taken[order.symbol, order.side] += event.quantity
        assert not size or self.taken[order.symbol, order.side] <= size
        self.held[order.account_id][order.symbol] += order.signed(event.quantity)

    def open_ids(self):
        return [order_id for order_id, order in self.orders.items() if order.is_open]

    def check_memory(self):
        """The broker has the open orders and nothing else."""
        broker, still = self.broker, [self.orders[order_id] for order_id in self.open_ids()]
        assert broker._orders == {order.order_id: order for order in still}
        assert broker._arrivals.keys() == broker._orders.keys()
        assert set(broker._by_client_id.values()) <= broker._orders.keys()
        assert broker._queues.keys() == {order.symbol for order in still}
        assert sum(len(queue.order_ids()) for queue in broker._queues.values()) == len(still)
        for account_id in (1, 2):
            mine = [order for order in still if order.account_id == account_id]
            assert broker.open_orders(account_id) == mine
            assert broker.blocked(account_id) == sum(order.blocked for order in mine)
            assert (account_id in broker._by_account) == bool(mine)
        assert not any(order.time_in_force == "IOC" for order in still)


@given(histories, st.sampled_from([D(10**8), D(300_000), D(0)]))
def test_what_must_always_hold(steps, cash):
    world = World(cash)
    for step in steps:
        events = world.step(step)
        for event in events:
            world.follow(event)
        world.check_memory()
        if cash == 0:
            assert not any(isinstance(event, OrderFilled) for event in events)


@given(histories, st.sampled_from([D(10**8), D(300_000)]))
def test_a_restart_changes_nothing(steps, cash):
    """Restored from its open orders, as often as one likes, it says what the other one says that never stopped."""
    steady, restarted = World(cash), World(cash)
    for step in steps:
        if step["do"] == "restart":
            restarted.broker = PaperBroker(INSTRUMENTS, is_open=lambda _: True)
            restarted.broker.restore([restarted.orders[order_id] for order_id in restarted.open_ids()])
            steady.latest, restarted.latest = {}, {}  # it goes on with new quotes
        events = steady.step(step)
        assert restarted.step(step) == events
        for event in events:
            steady.follow(event)
            restarted.follow(event)
        steady.check_memory()
        restarted.check_memory()


@given(histories)
def test_the_same_steps_give_the_same_events(steps):
    one, two = World(D(10**6)), World(D(10**6))
    for step in steps:
        assert one.step(step) == two.step(step)
