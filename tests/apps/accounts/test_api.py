import pytest
from django.test import Client

from apps.accounts import throttle
from tests.conftest import PASSWORD

pytestmark = pytest.mark.django_db(transaction=True)


def post(path, body, **headers):
    return Client().post(path, body, content_type="application/json", headers=headers)


def test_signing_in_by_e_mail_in_any_case(user):
    response = post("/api/token/", {"email": "Asha@Example.com", "password": PASSWORD})
    assert response.status_code == 200
    assert set(response.json()) == {"access", "refresh"}
    refreshed = post("/api/token/refresh/", {"refresh": response.json()["refresh"]})
    assert refreshed.status_code == 200
    assert post("/api/token/refresh/", {"refresh": response.json()["refresh"]}).status_code == 401


def test_a_wrong_password_and_an_unknown_user_get_the_same_answer(user):
    wrong = post("/api/token/", {"email": user.email, "password": "x"})
    unknown = post("/api/token/", {"email": "nobody@example.com", "password": "x"})
    assert (wrong.status_code, wrong.json()) == (unknown.status_code, unknown.json())
    assert wrong.status_code == 401


def test_repeated_wrong_passwords_are_slowed_down(user, monkeypatch):
    now = 1_000.0
    monkeypatch.setattr(throttle.time, "time", lambda: now)
    for _ in range(throttle.FREE_ATTEMPTS):
        assert post("/api/token/", {"email": user.email, "password": "x"}).status_code == 401
    blocked = post("/api/token/", {"email": user.email, "password": PASSWORD})
    assert blocked.status_code == 429
    assert blocked["Retry-After"] == "1"
    now += 1.1
    assert post("/api/token/", {"email": user.email, "password": "x"}).status_code == 401
    assert post("/api/token/", {"email": user.email, "password": PASSWORD})["Retry-After"] == "2"
    now += 2.1
    assert post("/api/token/", {"email": user.email, "password": PASSWORD}).status_code == 200
    assert post("/api/token/", {"email": user.email, "password": "x"}).status_code == 401


def test_tickets_need_a_user(user):
    assert post("/api/realtime/ticket/", {}).status_code == 401
    access = post("/api/token/", {"email": user.email, "password": PASSWORD}).json()["access"]
    response = post("/api/realtime/ticket/", {}, Authorization=f"Bearer {access}")
    assert response.json()["expires_in"] == 30


def test_logging_out_ends_the_login_and_no_other(user):
    mine, others = (post("/api/token/", {"email": user.email, "password": PASSWORD}).json() for _ in range(2))
    assert post("/api/token/logout/", {"refresh": mine["refresh"]}).status_code == 204
    assert post("/api/token/logout/", {"refresh": mine["refresh"]}).status_code == 204
    assert post("/api/token/refresh/", {"refresh": mine["refresh"]}).status_code == 401
    assert post("/api/realtime/ticket/", {}, Authorization=f"Bearer {mine['access']}").status_code == 401
    assert post("/api/realtime/ticket/", {}, Authorization=f"Bearer {others['access']}").status_code == 200
    assert post("/api/token/logout/", {"refresh": others["access"]}).status_code == 401
