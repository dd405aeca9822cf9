"""The REST API of both apps: content, access, refusals."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone

from apps.accounts import tokens
from apps.ai_studio import deployments, models
from tests.conftest import make_user


@pytest.fixture
def api(user, instruments):
    return caller(user)


def headers_of(user):
    return {"Authorization": f"Bearer {tokens.log_in(user).access}"}


def caller(user):
    headers = headers_of(user)

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


MODEL = {"name": "m", "data_source": "shipped", "bar_seconds": 86_400, "symbols": ["IBM"]}


def test_models_are_defined_and_changed_by_their_owner(api, user):
    status, made = api("post", "/ai/models/", {**MODEL, "training": {"folds": 3}})
    assert (status, made["version"], made["deployed_version"]) == (201, 0, None)
    path = f"/ai/models/{made['id']}/"
    assert api("patch", path, {"symbols": ["MSFT"]})[1]["symbols"] == ["MSFT"]
    assert api("get", path)[1]["training"] == {"folds": 3}
    assert api("post", "/ai/models/", MODEL)[1]["error_code"] == "name_taken"
    for wrong, names in (
        ({"training": {"folds": 99}}, "folds"),
        ({"training": {"features": ["nonsense"]}}, "nonsense"),
        ({"bar_seconds": 60}, "bar_seconds"),
        ({"symbols": ["IBM", "IBM"]}, "IBM"),
    ):
        status, answer = api("patch", path, wrong)
        assert (status, answer["error_code"]) == (409, "invalid_model")
        assert names in answer["error"]
    assert api("patch", path, {"bar_seconds": 7})[0] == 422
    assert api("get", path)[1]["symbols"] == ["MSFT"], "what was refused changed nothing"
    other = caller(make_user("bala@example.com"))
    for method in ("get", "patch", "delete"):
        assert other(method, path, {} if method == "patch" else None)[0] == 403
    assert other("get", "/ai/models/")[1] == {"items": [], "count": 0}
    assert Client().delete("/api" + path).status_code == 401
    assert api("get", f"/ai/models/{uuid4()}/")[0] == 404


def test_a_model_that_is_busy_or_deployed(api, user):
    model = api("post", "/ai/models/", MODEL)[1]["id"]
    assert api("put", f"/ai/models/{model}/deployment/", {})[1]["error_code"] == "no_such_version"
    assert api("delete", f"/ai/models/{model}/deployment/")[1]["error_code"] == "not_deployed"
    job = api("post", f"/ai/models/{model}/training-jobs/", {"seed": 7})[1]
    assert (job["status"], job["spec"]["seed"]) == ("PENDING", 7)
    assert api("delete", f"/ai/models/{model}/")[1]["error_code"] == "busy"
    assert api("post", f"/ai/training-jobs/{job['id']}/cancel/")[1]["status"] == "CANCELLED"
    assert api("post", f"/ai/training-jobs/{job['id']}/cancel/")[1]["error_code"] == "not_running"
    row = models.Model.objects.get(pk=model)
    artifact_of(row, 1)
    artifact_of(row, 2)
    models.Model.objects.update(version=2)
    assert api("put", f"/ai/models/{model}/deployment/", {"version": 1})[1]["version"] == 1
    assert api("put", f"/ai/models/{model}/deployment/", {"version": 3})[0] == 409
    assert api("put", f"/ai/models/{model}/deployment/", {})[1]["version"] == 2
    assert api("get", f"/ai/models/{model}/")[1]["deployed_version"] == 2
    assert [each["version"] for each in api("get", f"/ai/models/{model}/versions/")[1]["items"]] == [2, 1]
    assert api("get", "/ai/deployments/")[1]["count"] == 2
    assert api("get", "/ai/deployments/?running=true")[1]["items"][0]["version"] == 2
    assert api("get", f"/ai/models/{model}/predictions/")[1] == {"items": [], "count": 0}
    assert api("delete", f"/ai/models/{model}/deployment/")[1]["ended_at"]
    assert Client(headers=headers_of(user)).delete(f"/api/ai/models/{model}/").status_code == 204
    assert not models.Artifact.objects.exists()


def artifact_of(model, version):
    now = timezone.now()
    models.Artifact.objects.create(
        model=model,
        version=version,
        digest="0" * 64,
        content=b"",
        metrics={},
        baseline={},
        rows=1,
        data_from=now,
        data_until=now,
    )


def test_jobs_are_started_by_the_owner_once(api, user):
    model = models.Model.objects.create(owner=user, name="m")
    status, job = api("post", f"/ai/models/{model.pk}/training-jobs/")
    assert (status, job["status"]) == (201, "PENDING")
    assert api("post", f"/ai/models/{model.pk}/training-jobs/")[0] == 409
    path = f"/ai/models/{model.pk}/backtests/"
    assert api("post", path)[1]["error_code"] == "not_trained"
    for wrong in ({"strategy": "nonsense"}, {"position_share": 2}, {"start": "2013-01-02", "end": "2013-01-01"}):
        assert api("post", path, wrong)[1]["error_code"] == "invalid_backtest"
    status, backtest = api("post", f"/ai/models/{model.pk}/backtests/", {"strategy": "trend"})
    assert (status, backtest["spec"]["strategy"]) == (201, "trend")
    assert api("get", "/ai/training-jobs/")[1]["items"][0]["id"] == job["id"]
    assert api("get", f"/ai/backtests/?model_id={model.pk}")[1]["items"][0]["id"] == backtest["id"]
    assert api("get", f"/ai/backtests/{backtest['id']}/")[1]["result"] is None
    other = caller(make_user("bala@example.com"))
    assert other("post", f"/ai/models/{model.pk}/training-jobs/")[0] == 403
    assert other("get", f"/ai/training-jobs/{job['id']}/")[0] == 403
    assert other("post", f"/ai/backtests/{backtest['id']}/cancel/")[0] == 403
    assert other("get", f"/ai/backtests/?model_id={model.pk}")[0] == 403
    assert api("post", f"/ai/backtests/{backtest['id']}/cancel/")[1]["status"] == "CANCELLED"
    for missing in (uuid4(), "x"):
        assert api("post", f"/ai/models/{missing}/backtests/")[0] == 404
    assert "rsi_14" in {feature["name"] for feature in api("get", "/ai/features/")[1]}


def test_the_marketplace(api, user):
    model = models.Model.objects.create(owner=user, name="m", version=1)
    artifact_of(model, 1)
    deployments.deploy(model)
    offer = {"title": "Mine", "price_per_month": "99.50"}
    status, listing = api("put", f"/ai/models/{model.pk}/listing/", offer)
    assert (status, listing["price_per_month"]) == (200, "99.50")
    assert api("put", f"/ai/models/{model.pk}/listing/", {**offer, "price_per_month": "-1"})[0] == 422
    lessee = caller(make_user("bala@example.com"))
    assert lessee("put", f"/ai/listings/{listing['id']}/review/", {"rating": 5})[0] == 409
    terms = {"price_per_month": "99.50"}
    path = f"/ai/listings/{listing['id']}/leases/"
    assert lessee("post", path, {})[0] == 422, "one agrees to terms that one has seen"
    assert lessee("post", path, {"price_per_month": "9.50"})[1]["error_code"] == "terms_changed"
    assert lessee("post", path, terms)[1]["price"] == "99.50"
    assert lessee("post", path, terms)[0] == 409
    assert api("post", path, terms)[0] == 409
    assert api("delete", f"/ai/models/{model.pk}/")[1]["error_code"] == "has_leases"
    assert lessee("put", f"/ai/listings/{listing['id']}/review/", {"rating": 5, "text": "good"})[0] == 200
    assert lessee("put", f"/ai/listings/{listing['id']}/review/", {"rating": 6})[0] == 422


def test_the_training_of_a_model_is_described_field_by_field(client, transactional_db):
    schemas = client.get("/api/openapi.json").json()["components"]["schemas"]
    training = schemas["ModelIn"]["properties"]["training"]
    assert training["properties"]["boosting"]["properties"]["learning_rate"]["maximum"] == 1


def test_the_openapi_page_and_the_admin_open(client, transactional_db):
    assert client.get("/api/openapi.json").json()["info"]["title"] == "ShareWise"
    client.force_login(make_user("root@example.com", is_staff=True, is_superuser=True))
    from django.contrib import admin

    for model in admin.site._registry:
        url = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        assert client.get(url).status_code == 200, url
        assert client.get(url + "add/").status_code in {200, 403}, url
