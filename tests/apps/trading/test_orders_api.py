"""`/api/trading/`: orders, positions, limits, the kill switch, headlines; nobody sees another's."""

import json
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from apps.accounts import tokens
from apps.trading import models
from tests.apps.trading.desk_market import DeskMarket

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def market(transactional_db, monkeypatch):
    market = DeskMarket(monkeypatch)
    market.quote("RELIANCE", 1_400.0)
    return market


class Api:
    def __init__(self, user):
        self._headers = {"Authorization": f"Bearer {tokens.log_in(user).access}"}
        self._client = Client()

    def __call__(self, method, path, body=None):
        answer = self._client.generic(
            method,
            f"/api/trading/{path}",
            json.dumps(body) if body is not None else "",
            content_type="application/json",
            headers=self._headers,
        )
        return answer.status_code, json.loads(answer.content)


BUY = {"symbol": "RELIANCE", "side": "BUY", "quantity": 10}


def test_an_order_waits_until_the_engine_takes_it_and_is_filled(market, user):
    api = Api(user)
    status, order = api("POST", "orders/", BUY)
    assert (status, order["status"], order["product"], order["leaves_quantity"]) == (201, "PENDING_NEW", "DELIVERY", 10)
    market.take_requests()
    status, order = api("GET", f"orders/{order['id']}/")
    assert (order["status"], order["filled_quantity"], order["leaves_quantity"]) == ("FILLED", 10, 0)
    assert order["average_price"] >= 1_400.05
    _, positions = api("GET", "positions/")
    assert [(p["symbol"], p["quantity"], p["last_price"]) for p in positions] == [("RELIANCE", 10, 1_400.0)]
    _, listed = api("GET", "orders/?status=FILLED&limit=5")
    assert (listed["count"], listed["items"][0]["id"]) == (1, order["id"])


def test_a_client_order_id_is_placed_once(market, user, other_user):
    api = Api(user)
    first = api("POST", "orders/", {**BUY, "client_order_id": "mine-1"})
    again = api("POST", "orders/", {**BUY, "client_order_id": "mine-1"})
    assert (first[0], again[0]) == (201, 200)
    assert first[1]["id"] == again[1]["id"]
    status, problem = api("POST", "orders/", {**BUY, "quantity": 11, "client_order_id": "mine-1"})
    assert (status, "of another quantity" in problem["error"]) == (409, True)
    assert Api(other_user)("POST", "orders/", {**BUY, "client_order_id": "mine-1"})[0] == 201
    market.take_requests()
    assert models.Order.objects.filter(status="FILLED").count() == 2
    assert api("GET", "orders/mine-1/")[1]["status"] == "FILLED"


def test_cancelling(market, user, other_user):
    api = Api(user)
    _, order = api("POST", "orders/", {**BUY, "order_type": "LIMIT", "limit_price": 1_300})
    market.take_requests()
    assert api("GET", "orders/?status=OPEN")[1]["count"] == 1
    assert Api(other_user)("DELETE", f"orders/{order['id']}/")[0] == 404
    assert Api(other_user)("GET", f"orders/{order['id']}/")[0] == 404
    assert api("DELETE", f"orders/{order['id']}/")[0] == 202
    market.take_requests()
    _, cancelled = api("GET", f"orders/{order['id']}/")
    assert (cancelled["status"], cancelled["leaves_quantity"]) == ("CANCELED", 10)
    status, problem = api("DELETE", f"orders/{order['id']}/")
    assert (status, problem["error"]) == (409, "The order is CANCELED already")
    assert api("DELETE", "orders/nothing/")[0] == 404


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"symbol": "NIFTTY"}, "Unknown symbol 'NIFTTY'"),
        ({"quantity": 0}, "greater than 0"),
        ({"quantity": 1.5}, "integer"),
        ({"side": "HOLD"}, "'BUY' or 'SELL'"),
        ({"limit_price": "NaN", "order_type": "LIMIT"}, "finite"),
        ({"limit_price": -1, "order_type": "LIMIT"}, "greater than 0"),
        ({"limit_price": 1e12, "order_type": "LIMIT"}, "digits"),
        ({"client_order_id": "x" * 65}, "64"),
    ],
)
def test_bad_orders_are_refused_with_what_is_allowed(market, user, change, said):
    status, problem = Api(user)("POST", "orders/", {**BUY, **change})
    assert status == 422
    assert said in json.dumps(problem)
    assert not models.Order.objects.exists()


def test_what_the_engine_refuses_is_said_on_the_order(market, user):
    api = Api(user)
    _, order = api("POST", "orders/", {**BUY, "quantity": 1_000_000})
    market.take_requests()
    _, order = api("GET", f"orders/{order['id']}/")
    assert order["status"] == "REJECTED"
    assert order["reason"]
    failed = market.of(f"trading.executions.{user.pk}", "trade_failed")
    assert failed[0]["error"] == order["reason"]


def test_limits_and_the_kill_switch(market, user):
    api = Api(user)
    assert api("GET", "risk-limits/")[1]["daily_loss"] == 0.02
    status, problem = api("PATCH", "risk-limits/", {"concentration": 1.5})
    assert (status, "concentration is 1.5" in problem["error"]) == (422, True)
    assert api("PATCH", "risk-limits/", {"concentration": 0.01, "daily_loss": None})[1]["daily_loss"] is None
    market.take_requests()
    _, order = api("POST", "orders/", BUY)
    market.take_requests()
    assert api("GET", f"orders/{order['id']}/")[1]["reason_code"] == "concentration"
    api("PATCH", "risk-limits/", {"concentration": None})
    assert api("PUT", "kill-switch/", {"engaged": True, "reason": "going on holiday"})[1]["engaged"]
    market.take_requests()
    _, order = api("POST", "orders/", BUY)
    market.take_requests()
    assert api("GET", f"orders/{order['id']}/")[1]["reason_code"] == "kill_switch"
    api("PUT", "kill-switch/", {"engaged": False})
    _, order = api("POST", "orders/", BUY)
    market.take_requests()
    assert api("GET", f"orders/{order['id']}/")[1]["status"] == "FILLED"


def test_headlines_are_taken_from_staff_once(market, user):
    body = {"headlines": [{"title": "Reliance beats estimates"}, {"title": "RELIANCE BEATS ESTIMATES"}]}
    assert Api(user)("POST", "headlines/", body)[0] == 403
    user.is_staff = True
    user.save()
    api = Api(user)
    assert api("POST", "headlines/", body)[1] == {"taken": 1, "known_already": 1}
    tomorrow = (timezone.now() + timedelta(days=1)).isoformat()
    status, problem = api("POST", "headlines/", {"headlines": [{"title": "Old news", "published_at": tomorrow}]})
    assert (status, "future" in problem["error"]) == (422, True)
