"""`POST /api/realtime/publish/`"""

import msgspec
import pytest
from django.conf import settings
from django.test import Client

from apps.streaming.api import service_token
from tests.apps.streaming.test_publishing import SIGNAL

KEY = "k" * 40


@pytest.fixture(autouse=True)
def service_key(monkeypatch):
    monkeypatch.setattr(settings, "ENV", msgspec.structs.replace(settings.ENV, service_keys=(KEY,)))


def publish(items, key=KEY):
    return Client().post(
        "/api/realtime/publish/",
        {"items": items},
        content_type="application/json",
        headers={"Authorization": f"Bearer {key}"},
    )


def item(**changes):
    return {"notify": "notify_new_signal", "arguments": {"user_id": "7", "signal": SIGNAL}, **changes}


def test_items_are_published_each_on_its_own(server, user):
    with server.open("trading/signals/", user) as client:
        client.until("recent_signals")
        good = {"user_id": str(user.pk), "signal": SIGNAL}
        response = publish(
            [
                item(arguments=good),
                item(arguments={**good, "signal": {**SIGNAL, "signal_type": "HODL"}}),
                item(notify="notify_everything"),
                item(arguments={"user": "7"}),
                item(arguments=good, idempotency_key="x"),
                item(arguments=good, idempotency_key="x"),
            ]
        ).json()
        assert [result["ok"] for result in response["results"]] == [True, False, False, False, True, True]
        assert (response["published"], response["failed"]) == (3, 3)
        assert "signal.signal_type: got 'HODL'" in response["results"][1]["error"]
        assert "notify_new_signal" in response["results"][2]["error"]
        assert "user_id" in response["results"][3]["error"]
        assert [client.next()["offset"] for _ in range(2)] == [1, 2]
        assert client.answer("ping")["type"] == "pong"


@pytest.mark.parametrize("key", ["", "wrong", "x" * 40])
def test_a_key_is_needed(transactional_db, key):
    assert publish([item()], key).status_code == 401


def test_our_own_processes_need_no_key(transactional_db):
    assert publish([item()], service_token()).status_code == 200


@pytest.mark.parametrize("count", [0, 1_001])
def test_a_batch_has_between_one_and_a_thousand_items(transactional_db, count):
    assert publish([item()] * count).status_code == 422


def test_a_thousand_items_go(transactional_db):
    assert publish([item()] * 1_000).json()["published"] == 1_000


@pytest.mark.parametrize(
    "arguments",
    [
        {"user_id": "7", "signal": SIGNAL, "idempotency_key": ["x"]},
        {"idempotency_key": 5},
        {"user_id": None, "signal": None},
        {"user_id": [], "signal": {}},
    ],
)
def test_wrong_types_are_an_error_of_the_item(transactional_db, arguments):
    response = publish([item(arguments=arguments)])
    assert response.status_code == 200
    assert response.json()["failed"] == 1
