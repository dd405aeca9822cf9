"""Access ends, and so do the connections it opened."""

from __future__ import annotations

import pytest
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from apps.accounts import tokens
from apps.ai_studio import marketplace, models
from apps.streaming import revocation, tickets
from tests.apps.ai_studio.test_streams import studio
from tests.apps.streaming.test_authentication import session_cookie

PATH = "trading/pnl/"


@pytest.fixture(autouse=True)
def quick_checks(monkeypatch):
    monkeypatch.setattr(revocation, "CHECK_SECONDS", 0.1)
    monkeypatch.setattr(revocation, "OBJECT_CHECKS_EVERY", 1)


def test_signing_out_closes_the_sessions_connections(server, user):
    with server.open(PATH, headers={"Cookie": session_cookie(user), "Origin": server.http}) as client:
        client.until("current_pnl")
        Session.objects.all().delete()
        assert client.close_code() == 4001


@pytest.mark.parametrize("way", ["token", "session", "ticket"])
def test_a_new_password_closes_what_the_old_one_opened(server, user, way):
    if way == "session":
        opened = server.open(PATH, headers={"Cookie": session_cookie(user), "Origin": server.http})
    elif way == "token":
        opened = server.open(PATH, user)
    else:
        access = tokens.log_in(user).access
        issued = Client().post("/api/realtime/ticket/", headers={"Authorization": f"Bearer {access}"}).json()
        opened = server.open(PATH, ticket=issued["ticket"])
    with opened as client:
        client.until("current_pnl")
        pair = tokens.log_in(user)
        user.set_password("another one")
        user.save()
        assert client.close_code() == 4001
    with pytest.raises(tokens.InvalidToken):
        tokens.refresh(pair.refresh)


def test_a_ticket_is_good_no_longer_than_what_it_was_bought_with(transactional_db, user):
    pair = tokens.log_in(user)
    expires_at = tokens.verify_access(pair.access).expires_at
    issued = Client().post("/api/realtime/ticket/", headers={"Authorization": f"Bearer {pair.access}"}).json()
    assert tickets.redeem(issued["ticket"]).expires_at == expires_at


def test_hundreds_of_tickets_at_once_are_all_good(transactional_db):
    holder = tickets.TicketHolder("7", None, None, timezone.now())
    issued = [tickets.issue(holder) for _ in range(1_000)]
    assert all(tickets.redeem(ticket) == holder for ticket in issued)


def test_staff_that_is_staff_no_more_loses_the_detail(server, user):
    user.is_staff = True
    user.save()
    with server.open("ai-studio/system/", user) as client:
        client.until("worker_status_update")
        user.is_staff = False
        user.save()
        assert client.close_code() == 4001
    with server.open("ai-studio/system/", user) as client:
        assert client.next()["subscriptions"][0]["topic"] == "ai.system"


def test_a_lease_that_is_ended_early_closes_the_predictions_with_4003(server, user, other_user):
    model_id = studio(user)["ai-studio.predictions"]
    listing = marketplace.publish_listing(models.Model.objects.get(), title="Momentum", price_per_month=100)
    lease = marketplace.lease_model(other_user, str(listing.pk))
    with (
        server.open(f"ai-studio/predictions/{model_id}/", other_user) as lessee,
        server.open(f"ai-studio/predictions/{model_id}/", user) as owner,
    ):
        lessee.until("recent_predictions")
        owner.until("recent_predictions")
        lease.ends_at = timezone.now()
        lease.save()
        assert lessee.close_code() == 4003
        assert owner.answer("ping")["type"] == "pong"


def test_another_spelling_of_an_id_is_the_same_object(server, user):
    from apps.ai_studio.websocket_utils import notify_model_update

    model_id = studio(user)["ai-studio.monitoring"]
    update = {"model_id": model_id, "outcomes": 0, "accuracy": None, "log_loss": None}
    for spelling in (model_id.upper(), model_id.replace("-", "")):
        with server.open(f"ai-studio/monitoring/{spelling}/", user) as client:
            client.until("model_status")
            notify_model_update(model_id, update)
            assert client.until("model_update")["topic"] == f"ai.monitoring.{model_id}"


def test_an_alias_of_a_topic_in_since_is_refused(server, user):
    with server.open("trading/signals/", user, since="trading.signals.symbol.NIFT_59:abc:0") as client:
        assert len(client.next()["subscriptions"]) == 1
        assert client.next()["error_code"] == "access_denied"


def test_a_malformed_origin_is_only_another_wrong_one(server, user):
    with server.open(PATH, headers={"Cookie": session_cookie(user), "Origin": "http://[x"}) as client:
        assert client.close_code() == 4001


def test_there_is_one_login_and_the_admin_leads_to_it(client, transactional_db):
    assert client.get("/admin/", follow=True).redirect_chain[-1][0] == "/"
    assert client.post("/admin/login/", {"username": "x", "password": "y"}).status_code in {302, 405}


def test_odd_close_codes_make_no_series_of_their_own(server, user):
    from apps.streaming.metrics import exposition

    for code in (4777, 4778):
        with server.open(PATH, user) as client:
            client.until("current_pnl")
            client._socket.close(code)
    assert b'code="4777"' not in exposition()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("last_word", ["nothing", "a close frame", "rubbish"])
def test_a_peer_that_stalls_is_let_go(server, user, monkeypatch, last_word):
    """Its TCP connection stays alive, its buffer stays full: the ping tells, or what it says last."""
    from apps.streaming.runtime import runtime
    from apps.trading.websocket_utils import notify_new_signal
    from realtime.transports import uvicorn as raw
    from tests.apps.streaming.test_transports import lazy_client, signal
    from tests.conftest import LiveServer, wait_until

    monkeypatch.setattr(raw, "CLOSE_GRACE_SECONDS", 0.5)
    pings = {"ws_ping_interval": 0.3, "ws_ping_timeout": 0.3} if last_word == "nothing" else {}
    quick = LiveServer(**pings)
    lazy = lazy_client(quick, "trading/signals/", user)
    lazy.until("recent_signals")
    for number in range(600):
        notify_new_signal(user.pk, signal(number))
    if last_word != "nothing":
        frame = b"\x88\x80\x00\x00\x00\x00" if last_word == "a close frame" else b"\xff\xff\xff\xff"
        lazy._socket.socket.sendall(frame)
    try:
        wait_until(lambda: str(user.pk) not in runtime()._hub.user_ids, "the connection was never released", 30)
        wait_until(lambda: not quick._server.server_state.connections, "the socket was never closed", 30)
    finally:
        quick.stop()
        runtime().draining = False
        runtime()._hub = None
