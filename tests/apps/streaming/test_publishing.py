"""`notify_*` from everywhere, and what they refuse."""

import asyncio
import threading
from datetime import UTC, datetime
from decimal import Decimal
from uuid import uuid4

import numpy as np
import pytest
from django.db import transaction

from apps.ai_studio.websocket_utils import notify_training_progress
from apps.streaming.publishing import notifications
from apps.streaming.runtime import runtime
from apps.trading import messages, websocket_utils
from apps.trading.websocket_utils import broadcast_signal, notify_new_signal, notify_position_update
from realtime.errors import InvalidMessage
from realtime.messages import type_of
from realtime.publication import Position

SIGNAL = {"id": "s-1", "symbol": "NIFTY", "signal_type": "BUY", "confidence_score": 0.85, "entry_price": 18500.0}


def test_there_is_one_function_per_server_message():
    import apps.ai_studio.streams as studio
    import apps.trading.streams as trading
    from apps.streaming.registry import streams

    published = {
        type_of(message) for stream in streams() for message in stream.messages if "topic" in message.__struct_fields__
    }
    assert trading
    assert studio
    names = set(notifications())
    special = {
        "training_update": "notify_training_progress",
        "system_status_update": "notify_system_status",
        "worker_status_update": "notify_worker_status",
    }
    missing = {m for m in published if special.get(m, f"notify_{m}") not in names}
    assert missing == set()
    assert "broadcast_signal" in names


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"signal_type": "HODL"}, r"signal.signal_type: got 'HODL'.*allowed are BUY, SELL, HOLD"),
        ({"confidence_score": 1.2}, r"signal.confidence_score: got 1.2"),
        ({"confidence_score": float("nan")}, r"signal.confidence_score: got nan"),
        ({"entry_price": float("inf")}, r"signal.entry_price: got inf"),
        ({"entry_price": "18500"}, r"signal.entry_price: got '18500'.*float"),
        ({"symbol": "nifty 50"}, r"signal.symbol: got 'nifty 50'"),
        ({"colour": "red"}, r"signal.colour: no such field; allowed are id, symbol"),
        ({"created_at": "yesterday"}, r"signal.created_at: got 'yesterday'"),
        ({"id": ""}, r"signal.id: got ''"),
        ({"rationale": "\ud800"}, r"signal: .*surrogates"),
        ({"metadata": {"x": object()}}, r"signal: .*object"),
    ],
)
def test_a_wrong_field_is_named_with_what_came_and_what_is_allowed(transactional_db, change, says):
    with pytest.raises(InvalidMessage, match=says):
        notify_new_signal("7", {**SIGNAL, **change})


def test_a_missing_field_is_named(transactional_db):
    with pytest.raises(InvalidMessage, match="`entry_price`"):
        notify_new_signal("7", {k: v for k, v in SIGNAL.items() if k != "entry_price"})
    with pytest.raises(InvalidMessage, match="signal: got"):
        notify_new_signal("7", [SIGNAL])


def test_a_user_id_that_cannot_be_in_a_topic_is_refused(transactional_db):
    with pytest.raises(InvalidMessage, match=r"notify_new_signal.*bad user"):
        notify_new_signal("bad user!", SIGNAL)


@pytest.mark.parametrize("user_id", [None, True, 1.5, ["7"]])
def test_a_target_of_the_wrong_type_is_refused_and_not_made_a_topic(transactional_db, user_id):
    with pytest.raises(InvalidMessage, match="user_id: got"):
        notify_new_signal(user_id, SIGNAL)


def test_invalid_message_is_a_value_error():
    assert issubclass(InvalidMessage, ValueError)


def test_what_django_and_numpy_code_has_at_hand_is_taken(server, user):
    with server.open("trading/signals/", user) as client:
        client.until("recent_signals")
        notify_new_signal(
            user.pk,
            {
                "id": uuid4(),
                "symbol": "M&M",
                "signal_type": "SELL",
                "confidence_score": np.float32(0.5),
                "entry_price": Decimal("18500.05"),
                "created_at": datetime(2026, 1, 5, 9, 15),  # noqa: DTZ001 - naive counts as UTC
                "metadata": {"n": np.int64(3)},
            },
        )
        signal = client.next()["signal"]
        assert signal["entry_price"] == 18500.05
        assert signal["created_at"] == "2026-01-05T09:15:00Z"
        assert signal["metadata"] == {"n": 3}
        notify_new_signal(user.pk, messages.Signal(**SIGNAL, created_at=datetime(2026, 1, 5, tzinfo=UTC)))
        assert client.next()["signal"]["id"] == "s-1"


def test_a_struct_made_with_wrong_values_is_refused_too(transactional_db):
    with pytest.raises(InvalidMessage, match="confidence_score"):
        notify_new_signal("7", messages.Signal(**{**SIGNAL, "confidence_score": 7}))


def test_the_training_example_of_the_manual(server, user):
    from apps.ai_studio.models import Model, TrainingJob

    job = TrainingJob.objects.create(model=Model.objects.create(owner=user, name="m"))
    with server.open(f"ai-studio/training/{job.id}/", user) as client:
        client.until("training_progress")
        progress = {"progress_percentage": 65.0, "current_step": "Feature engineering", "total_steps": 10}
        notify_training_progress(job.id, progress)
        assert client.next()["progress"] == progress


def test_publishing_from_a_thread_a_loop_and_a_transaction(server, user):
    with server.open("trading/signals/", user) as client:
        client.until("recent_signals")
        thread = threading.Thread(target=notify_new_signal, args=(user.pk, {**SIGNAL, "id": "thread"}))
        thread.start()
        thread.join()

        async def in_a_loop():
            notify_new_signal(user.pk, {**SIGNAL, "id": "loop"})

        asyncio.run(in_a_loop())
        with transaction.atomic():
            notify_new_signal(user.pk, {**SIGNAL, "id": "committed"})
            assert client.answer("ping")["type"] == "pong"
        with transaction.atomic():
            notify_new_signal(user.pk, {**SIGNAL, "id": "rolled back"})
            transaction.set_rollback(True)
        notify_new_signal(user.pk, {**SIGNAL, "id": "last"})
        client.until("new_signal")
        while client.received[-1]["signal"]["id"] != "last":
            client.next()
        ids = [m["signal"]["id"] for m in client.received if m["type"] == "new_signal"]
        assert ids == ["thread", "loop", "committed", "last"]


def test_idempotency(transactional_db):
    for _ in range(3):
        notify_new_signal("90001", SIGNAL, idempotency_key="same")
    history = asyncio.run(runtime().broker.read(_user_signals("90001")))
    assert history.position.offset == 1


def _user_signals(user_id):
    from apps.trading.topics import user_signals

    return user_signals(user_id)


def test_a_broadcast_goes_to_the_symbols_topic_and_to_no_users(transactional_db):
    broadcast_signal({**SIGNAL, "symbol": "M&M"})
    from apps.trading import topics

    topic = topics.symbol_signals("M&M")
    assert topic.name == "trading.signals.symbol.M_26M"
    assert topics.symbol_of(topic.name) == "M&M"
    epoch = asyncio.run(runtime().broker.read(topic)).position.epoch
    history = asyncio.run(runtime().broker.read(topic, Position(epoch, 0)))
    assert b"M&M" in history.publications[-1].body


def test_positions_are_keyed_by_symbol(transactional_db):
    position = {
        "symbol": "INFY",
        "quantity": 1,
        "average_price": 1.0,
        "last_price": 1.0,
        "market_value": 1.0,
        "unrealised_pnl": 0.0,
        "realised_pnl": 0.0,
    }
    for symbol in ("INFY", "TCS", "INFY"):
        notify_position_update("90002", {**position, "symbol": symbol})
    from apps.trading.topics import portfolio

    assert len(asyncio.run(runtime().broker.read(portfolio("90002"))).publications) == 2


def test_every_function_says_what_it_does():
    assert all(function.__doc__ for function in notifications().values())
    assert websocket_utils.__doc__


PNL = {"total_pnl": 1.0, "realised_pnl": 0.0, "unrealised_pnl": 1.0, "daily_pnl": 1.0}


def test_many_users_get_theirs_in_one_pass(server, user, other_user, monkeypatch):
    passes = []
    hand_over = runtime().broker.publish_many_soon
    monkeypatch.setattr(runtime().broker, "publish_many_soon", lambda d: passes.append(len(d)) or hand_over(d))
    with server.open("trading/pnl/", user) as one, server.open("trading/pnl/", other_user) as two:
        for client in (one, two):
            client.until("current_pnl")
        with transaction.atomic():
            websocket_utils.notify_pnl_updates(
                {user.pk: PNL, str(other_user.pk): {**PNL, "total_pnl": 2.0}, uuid4(): PNL}
            )
            assert passes == []
        assert one.until("pnl_update")["pnl"]["total_pnl"] == 1.0
        assert two.until("pnl_update")["pnl"]["total_pnl"] == 2.0
    assert passes == [3]


@pytest.mark.parametrize(
    ("payloads", "says"),
    [
        ({7: PNL, 8: {**PNL, "total_pnl": "much"}}, r"for 8: pnl.total_pnl: got 'much'"),
        ({7: PNL, "no good id": PNL}, r"for 'no good id': "),
    ],
)
def test_one_bad_payload_among_many_sends_none(payloads, says, monkeypatch):
    monkeypatch.setattr(runtime().broker, "publish_many_soon", lambda drafts: pytest.fail("something was sent"))
    with pytest.raises(InvalidMessage, match=says):
        websocket_utils.notify_pnl_updates(payloads)


def test_nobody_to_publish_to_is_fine(monkeypatch):
    monkeypatch.setattr(runtime().broker, "publish_many_soon", lambda drafts: pytest.fail("something was sent"))
    websocket_utils.notify_pnl_updates({})


async def test_an_engine_publishes_to_many_from_its_event_loop(monkeypatch):
    """Where `on_commit` would ask for a database connection, which an event loop may not."""
    sent = []
    monkeypatch.setattr(runtime().broker, "publish_many_soon", lambda drafts: sent.extend(drafts) or len(drafts))
    websocket_utils.notify_pnl_updates({7: PNL, 8: PNL})
    assert len(sent) == 2
