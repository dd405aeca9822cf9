"""The five ways to authenticate, their order, and 4001 that reaches the client."""

import jwt
import pytest
from django.conf import settings
from django.test import Client

from apps.accounts import tokens
from apps.accounts.models import TokenFamily
from tests.conftest import PASSWORD

PATH = "trading/pnl/"


def assert_welcome(client, user):
    message = client.next()
    assert (message["type"], message["user_id"]) == ("welcome", str(user.pk))


def session_cookie(user):
    browser = Client()
    assert browser.post("/sign-in/", {"email": user.email, "password": PASSWORD}).status_code == 302
    return f"sessionid={browser.cookies['sessionid'].value}"


def test_bearer_header(server, user):
    with server.open(PATH, user) as client:
        assert_welcome(client, user)


def test_token_in_the_query(server, user):
    with server.open(PATH, token=tokens.log_in(user).access) as client:
        assert_welcome(client, user)


def test_a_ticket_works_once(server, user):
    access = tokens.log_in(user).access
    issued = Client().post("/api/realtime/ticket/", headers={"Authorization": f"Bearer {access}"}).json()
    with server.open(PATH, ticket=issued["ticket"]) as client:
        assert_welcome(client, user)
    with server.open(PATH, ticket=issued["ticket"]) as client:
        assert client.next()["error_code"] == "not_authenticated"
        assert client.close_code() == 4001


def test_subprotocol(server, user):
    access = tokens.log_in(user).access
    with server.open(PATH, subprotocols=["sharewise.v1", f"bearer.{access}"]) as client:
        assert client.subprotocol == "sharewise.v1"
        assert_welcome(client, user)


def test_session_cookie_from_an_allowed_origin(server, user):
    headers = {"Cookie": session_cookie(user), "Origin": server.http}
    with server.open(PATH, headers=headers) as client:
        assert_welcome(client, user)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", None])
def test_session_cookie_from_another_origin_is_refused(server, user, origin):
    headers = {"Cookie": session_cookie(user), **({"Origin": origin} if origin else {})}
    with server.open(PATH, headers=headers) as client:
        assert "origin" in client.next()["error"]
        assert client.close_code() == 4001


def test_the_first_that_is_present_decides(server, user, other_user):
    good, others = tokens.log_in(user).access, tokens.log_in(other_user).access
    with server.open(PATH, headers={"Authorization": f"Bearer {good}"}, token=others) as client:
        assert_welcome(client, user)
    with server.open(PATH, headers={"Authorization": "Bearer rubbish"}, token=good) as client:
        assert client.close_code() == 4001
    with server.open(PATH, token="rubbish", ticket="x", headers={"Cookie": session_cookie(user)}) as client:
        assert client.close_code() == 4001


@pytest.mark.parametrize("how", ["nothing", "garbage", "expired", "revoked", "refresh token", "inactive"])
def test_whoever_is_not_authenticated_is_told_and_gets_4001(server, user, how):
    pair = tokens.log_in(user)
    query = {"token": pair.access}
    if how == "nothing":
        query = {}
    elif how == "garbage":
        query = {"token": "garbage"}
    elif how == "expired":
        claims = jwt.decode(pair.access, settings.SECRET_KEY, ["HS256"])
        query = {"token": jwt.encode({**claims, "exp": 1}, settings.SECRET_KEY, "HS256")}
    elif how == "revoked":
        TokenFamily.objects.update(revoked_at="2026-01-01T00:00Z")
    elif how == "refresh token":
        query = {"token": pair.refresh}
    else:
        user.is_active = False
        user.save()
    with server.open(PATH, **query) as client:
        message = client.next()
        assert (message["type"], message["error_code"]) == ("error", "not_authenticated")
        assert client.close_code() == 4001


def test_renewing_in_band(server, user, other_user):
    with server.open(PATH, user) as client:
        answer = client.answer("authenticate", token=tokens.log_in(user).access)
        assert answer["type"] == "authenticated"
        assert client.answer("authenticate", token="rubbish")["error_code"] == "not_authenticated"
        assert client.answer("authenticate", token=tokens.log_in(other_user).access)["error_code"] == "access_denied"
        assert client.answer("ping")["type"] == "pong"


@pytest.mark.parametrize("what", ["deactivated", "revoked"])
def test_a_deactivated_users_or_revoked_logins_open_connection_closes_within_five_seconds(server, user, what):
    with server.open(PATH, user) as client:
        client.until("current_pnl")
        if what == "deactivated":
            user.is_active = False
            user.save()
        else:
            TokenFamily.objects.update(revoked_at="2026-01-01T00:00Z")
        assert client.close_code(timeout=5) == 4001


def test_credentials_reach_no_log(server, user, caplog):
    from apps.streaming.redact import redact

    caplog.set_level("INFO")
    access = tokens.log_in(user).access
    with server.open(PATH, token=access) as client:
        client.next()
    assert access not in caplog.text
    assert redact(f'"WebSocket /ws/?token={access}&since=a:b:1" [accepted]') == (
        '"WebSocket /ws/?token=[hidden]&since=a:b:1" [accepted]'
    )
    assert "secret" not in redact("/ws/?ticket=secret Authorization: Bearer secret bearer.secret")
