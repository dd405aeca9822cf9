"""A connection's life over a real socket."""

import asyncio
import json
import threading
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from django.db import IntegrityError
from websockets.sync.client import connect

from apps.accounts import tokens
from apps.streaming.runtime import runtime
from apps.trading.websocket_utils import broadcast_signal, notify_new_signal, notify_pnl_update
from tests.conftest import make_user, wait_until

SIGNAL = {"id": "s-1", "symbol": "NIFTY", "signal_type": "BUY", "confidence_score": 0.85, "entry_price": 18500.0}


def signal(number, symbol="NIFTY"):
    return {**SIGNAL, "id": f"s-{number}", "symbol": symbol}


def since(client):
    """Where the client stands, as `?since=`."""
    positions = {}
    for message in client.received:
        for s in message.get("subscriptions", ()):
            if s["kind"] == "log" and not s["recovered"]:
                positions[s["topic"]] = [s["epoch"], s["offset"]]
            elif s["kind"] == "log":
                positions.setdefault(s["topic"], [s["epoch"], s["offset"]])
        if "offset" in message:
            positions[message["topic"]][1] = message["offset"]
    return ",".join(f"{topic}:{epoch}:{offset}" for topic, (epoch, offset) in positions.items())


def test_welcome_snapshot_live(server, user):
    with server.open("trading/signals/", user) as client:
        welcome = client.next()
        assert welcome["type"] == "welcome"
        assert welcome["protocol"] == 1
        assert welcome["heartbeat_seconds"] == 20
        assert [s["topic"] for s in welcome["subscriptions"]] == [f"trading.signals.user.{user.pk}"]
        assert client.next()["type"] == "recent_signals"
        notify_new_signal(str(user.pk), SIGNAL)
        live = client.next()
        assert live["signal"] == SIGNAL
        assert live["topic"] == f"trading.signals.user.{user.pk}"
        assert live["offset"] == 1


def test_a_signal_for_one_user_reaches_nobody_else(server, user, other_user):
    with server.open("trading/signals/", user) as mine, server.open("trading/signals/", other_user) as others:
        mine.until("recent_signals")
        others.until("recent_signals")
        notify_new_signal(user.pk, SIGNAL)
        assert mine.next()["type"] == "new_signal"
        assert others.answer("ping")["type"] == "pong"
        assert [m["type"] for m in others.received] == ["welcome", "recent_signals", "pong"]


def test_two_tabs_get_the_same(server, user):
    with server.open("trading/signals/", user) as one, server.open("trading/signals/", user) as two:
        for tab in (one, two):
            tab.until("recent_signals")
        notify_new_signal(user.pk, SIGNAL)
        assert one.next() == two.next()


def test_resuming_replays_what_was_missed_and_sends_no_snapshot(server, user):
    with server.open("trading/signals/", user) as client:
        client.answer("subscribe_symbol", symbol="NIFTY")
        notify_new_signal(user.pk, signal(1))
        client.until("new_signal")
    notify_new_signal(user.pk, signal(2))
    broadcast_signal(signal(3))
    with server.open("trading/signals/", user, since=since(client)) as again:
        welcome = again.next()
        assert {s["recovered"] for s in welcome["subscriptions"]} == {True}
        assert sorted(again.next()["signal"]["id"] for _ in range(2)) == ["s-2", "s-3"]
        notify_new_signal(user.pk, signal(4))
        assert again.next()["signal"]["id"] == "s-4"


def test_a_since_from_another_life_gets_the_snapshot(server, user):
    with server.open("trading/signals/", user, since=f"trading.signals.user.{user.pk}:dead:5") as client:
        assert client.next()["subscriptions"][0]["recovered"] is False
        assert client.next()["type"] == "recent_signals"


def test_a_since_for_anothers_topic_is_refused_and_the_rest_goes_on(server, user, other_user):
    foreign = f"trading.signals.user.{other_user.pk}"
    text = f"{foreign}:abc:0,trading.signals.symbol.NOPE:abc:0,rubbish,trading.signals.symbol.NIFTY:abc:0"
    with server.open("trading/signals/", user, since=text) as client:
        welcome = client.next()
        assert [s["topic"] for s in welcome["subscriptions"]] == [
            f"trading.signals.user.{user.pk}",
            "trading.signals.symbol.NIFTY",
        ]
        errors = [client.next() for _ in range(3)]
        assert sorted(e["error_code"] for e in errors) == ["access_denied", "access_denied", "invalid_since"]
        assert client.next()["type"] == "recent_signals"


def test_state_values_come_on_connecting(server, user):
    pnl = {"total_pnl": 1.5, "realised_pnl": 1.0, "unrealised_pnl": 0.5, "daily_pnl": 0.25}
    notify_pnl_update(user.pk, pnl)
    with server.open("trading/pnl/", user) as client:
        assert [client.next()["type"] for _ in range(2)] == ["welcome", "current_pnl"]
        current = client.next()
        assert current["pnl"] == pnl
        assert "offset" not in current


@pytest.mark.parametrize(
    "garbage",
    [
        "nonsense",
        '{"type":"ping","x":' + "[" * 30_000,
        '{"type":"subscribe_symbol","symbol":' + "9" * 9_000 + "}",
        '{"type":["ping"]}',
        "\x00",
        b"\xff\xfe binary",
        '{"type":"subscribe_symbol","symbol":"' + "A" * 70_000 + '"}',
    ],
)
def test_garbage_gets_an_error_and_changes_nothing(server, user, garbage):
    with server.open("trading/signals/", user) as client:
        client.until("recent_signals")
        client.send_text(garbage)
        assert client.next()["type"] == "error"
        notify_new_signal(user.pk, SIGNAL)
        assert client.next()["type"] == "new_signal"


def test_ten_megabytes_of_garbage_close_with_1009_and_hurt_nobody(server, user, other_user):
    with server.open("trading/signals/", user) as bad, server.open("trading/signals/", other_user) as good:
        bad.until("recent_signals")
        threading.Thread(target=lambda: _ignore_errors(bad.send_text, "x" * 10_000_000)).start()
        assert bad.close_code() == 1009
        assert good.answer("ping")["type"] == "pong"


def _ignore_errors(call, *args):
    try:
        call(*args)
    except Exception:  # noqa: BLE001 - the server hangs up while we still send
        return


def test_abuse_closes_with_its_code(server, user):
    with server.open("trading/signals/", user) as client:
        for _ in range(15):
            _ignore_errors(client.send_text, "x")
        assert client.close_code() == 4400
    with server.open("trading/signals/", user) as client:
        for _ in range(60):
            _ignore_errors(client.send, "ping")
        assert client.close_code() == 4029


def test_too_many_connections_of_one_user(server, user, other_user):
    clients = [server.open("trading/pnl/", user) for _ in range(20)]
    for client in clients:
        client.until("current_pnl")
    with server.open("trading/pnl/", user) as one_more:
        assert one_more.next()["error_code"] == "too_many_connections"
        assert one_more.close_code() == 4005
    with server.open("trading/pnl/", other_user) as other:
        assert other.next()["type"] == "welcome"
    for client in clients:
        client.close()


def test_an_unknown_endpoint_is_4004(server, user):
    with server.open("trading/nothing/", user) as client:
        assert "asyncapi" in client.next()["error"]
        assert client.close_code() == 4004


def test_a_killed_client_is_forgotten(server, user):
    client = server.open("trading/pnl/", user)
    client.until("current_pnl")
    client._socket.socket.close()
    wait_until(lambda: str(user.pk) not in runtime()._hub.user_ids, "the connection was never released")


def test_a_failing_stream_closes_with_1011_and_the_log_says_why(server, user, monkeypatch, caplog):
    from apps.trading import accounts

    def fail(user_id):
        raise ZeroDivisionError("boom")

    monkeypatch.setattr(accounts, "pnl", fail)
    with server.open("trading/pnl/", user) as client:
        assert client.close_code() == 1011
    with server.open("trading/signals/", user) as other:
        assert other.next()["type"] == "welcome"


@pytest.mark.parametrize("how", [{"batch": "1"}, {"subprotocols": ["sharewise.v1.batch"]}])
@pytest.mark.parametrize("compression", ["deflate", None])
def test_batch_mode_sends_arrays_of_messages(either_server, user, how, compression):
    query = dict(how)
    subprotocols = query.pop("subprotocols", None)
    url = either_server.url("trading/signals/", token=tokens.log_in(user).access, **query)
    with connect(url, subprotocols=subprotocols, compression=compression) as client:
        assert client.subprotocol == (subprotocols[0] if subprotocols else None)
        messages = _messages(client)
        assert next(messages)["type"] == "welcome"
        client.send(json.dumps({"type": "subscribe_symbol", "symbol": "NIFTY"}))
        _until(messages, "subscription_confirmed")
        client.send("garbage")
        _until(messages, "error")
        for number in range(50):
            broadcast_signal({**signal(number), "metadata": {"padding": "x" * 8_000}})
        assert [_until(messages, "new_signal")["signal"]["id"] for _ in range(50)] == [f"s-{n}" for n in range(50)]


def test_who_is_refused_in_batch_mode_is_told_so_in_an_array(either_server):
    for path in ("trading/pnl/", "no/such/stream/"):
        with connect(either_server.url(path, batch="1")) as client:
            assert [message["type"] for message in json.loads(client.recv(10))] == ["error"]


@pytest.mark.parametrize("subprotocols", [[], ["sharewise.v1.batch"]])
def test_another_value_of_batch_is_refused_and_ignored(either_server, user, subprotocols):
    url = either_server.url("trading/pnl/", token=tokens.log_in(user).access, batch="yes")
    with connect(url, subprotocols=subprotocols or None) as client:
        received = [json.loads(client.recv(10)) for _ in range(3)]
    assert {isinstance(message, list) for message in received} == {bool(subprotocols)}
    _, error, snapshot = [message for (message,) in received] if subprotocols else received
    assert error["error_code"] == "invalid_batch"
    assert error["error"] == "batch: got 'yes', allowed are 0 and 1; it is ignored"
    assert snapshot["type"] == "current_pnl"


def _messages(client):
    while True:
        yield from json.loads(client.recv(10))


def _until(messages, type_):
    return next(message for message in messages if message["type"] == type_)


class Session:
    """In place of a real one: ends at once, or does not begin."""

    fails = False

    def __init__(self, *_):
        assert not self.fails
        self.connection = SimpleNamespace(ended=lambda code: None)

    async def open(self): ...

    async def listen(self, receive):
        return 1000

    async def leave(self): ...


@pytest.mark.parametrize("fails", [False, True])
async def test_no_task_outlives_its_connection(monkeypatch, fails):
    from apps.streaming import consumer
    from apps.trading.consumers import LivePnLConsumer

    async def receive_or_send(*_): ...

    monkeypatch.setattr(Session, "fails", fails)
    monkeypatch.setattr(consumer, "_Session", Session)
    before = asyncio.all_tasks()
    with pytest.raises(AssertionError) if fails else nullcontext():
        await LivePnLConsumer()({"principal": None}, receive_or_send, receive_or_send)
    assert asyncio.all_tasks() == before


def test_metrics_and_health_count_connections(server, user):
    import urllib.request

    with server.open("trading/pnl/", user) as client:
        client.until("current_pnl")
        health = json.load(urllib.request.urlopen(server.http + "/health/"))
        assert health["status"] == "ok"
        assert health["connections"]["trading.pnl"] >= 1
        assert health["channel_layer"] == "ok"
        assert health["redis"] == "not configured"
        text = urllib.request.urlopen(server.http + "/metrics/").read().decode()
        assert 'sharewise_connections{stream="trading.pnl"}' in text


def test_users_made_with_the_same_address_are_one(server):
    make_user("x@example.com")
    with pytest.raises(IntegrityError):
        make_user("X@example.com")
