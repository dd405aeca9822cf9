"""The REST API of both apps: content, access, refusals."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.test import Client

from apps.accounts import tokens
from apps.ai_studio import models
from tests.conftest import make_user


@pytest.fixture
def api(user, instruments):
    return caller(user)


def caller(user):
    headers = {"Authorization": f"Bearer {tokens.log_in(user).access}"}

    def call(method, path, body=None):
        response = getattr(Client(headers=headers), method)(f"/api{path}", body, content_type="application/json")
        return response.status_code, response.json()

    return call


def test_the_watchlist(api):
    assert api("get", "/trading/watchlist/") == (200, {"symbols": []})
    assert api("put", "/trading/watchlist/", {"symbols": ["TCS", "M&M", "TCS"]}) == (200, {"symbols": ["M&M", "TCS"]})
    assert api("put", "/trading/watchlist/", {"symbols": ["TCS", "NOPE"]}) == (422, {"error": "unknown symbols: NOPE"})
    assert api("get", "/trading/watchlist/")[1] == {"symbols": ["M&M", "TCS"]}
    assert {i["symbol"] for i in api("get", "/trading/instruments/")[1]} >= {"NIFTY", "M&M"}


def test_nothing_without_signing_in(transactional_db):
    for path in ("/trading/watchlist/", "/ai/models/", "/ai/training-jobs/"):
        assert Client().get(f"/api{path}").status_code == 401


def test_jobs_are_started_by_the_owner_once(api, user):
    model = models.Model.objects.create(owner=user, name="m")
    status, job = api("post", f"/ai/models/{model.pk}/training-jobs/")
    assert (status, job["status"]) == (201, "PENDING")
    assert api("post", f"/ai/models/{model.pk}/training-jobs/")[0] == 409
    assert api("post", f"/ai/models/{model.pk}/backtests/")[0] == 201
    assert api("get", "/ai/training-jobs/")[1][0]["id"] == job["id"]
    other = caller(make_user("bala@example.com"))
    assert other("post", f"/ai/models/{model.pk}/training-jobs/")[0] == 403
    assert other("get", "/ai/models/")[1] == []
    for missing in (uuid4(), "x"):
        assert api("post", f"/ai/models/{missing}/backtests/")[0] == 404


def test_the_marketplace(api, user):
    model = models.Model.objects.create(owner=user, name="m")
    offer = {"title": "Mine", "price_per_month": "99.50"}
    status, listing = api("put", f"/ai/models/{model.pk}/listing/", offer)
    assert (status, listing["price_per_month"]) == (200, "99.50")
    assert api("put", f"/ai/models/{model.pk}/listing/", {**offer, "price_per_month": "-1"})[0] == 422
    lessee = caller(make_user("bala@example.com"))
    assert lessee("put", f"/ai/listings/{listing['id']}/review/", {"rating": 5})[0] == 409
    assert lessee("post", f"/ai/listings/{listing['id']}/leases/")[1]["price"] == "99.50"
    assert lessee("post", f"/ai/listings/{listing['id']}/leases/")[0] == 409
    assert api("post", f"/ai/listings/{listing['id']}/leases/")[0] == 409
    assert lessee("put", f"/ai/listings/{listing['id']}/review/", {"rating": 5, "text": "good"})[0] == 200
    assert lessee("put", f"/ai/listings/{listing['id']}/review/", {"rating": 6})[0] == 422


def test_the_openapi_page_and_the_admin_open(client, transactional_db):
    assert client.get("/api/openapi.json").json()["info"]["title"] == "ShareWise"
    client.force_login(make_user("root@example.com", is_staff=True, is_superuser=True))
    from django.contrib import admin

    for model in admin.site._registry:
        url = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        assert client.get(url).status_code == 200, url
        assert client.get(url + "add/").status_code in {200, 403}, url
