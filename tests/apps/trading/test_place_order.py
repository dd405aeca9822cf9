"""`manage.py place_order`."""

import threading

import pytest
from django.core.management import CommandError, call_command

from apps.trading import models
from tests.apps.trading.desk_market import DeskMarket

pytestmark = pytest.mark.django_db(transaction=True)


def test_an_order_from_the_terminal(user, monkeypatch, capsys):
    market = DeskMarket(monkeypatch)
    market.quote("RELIANCE", 1_400.0)
    polled = threading.Event()

    def engine(_seconds):  # acts while the command waits
        polled.set()
        market.take_requests()

    monkeypatch.setattr("apps.trading.management.commands.place_order.time.sleep", engine)
    call_command("place_order", "reliance", "buy", "10", "--user-email", user.email)
    shown = capsys.readouterr().out
    assert "BUY 10 RELIANCE MARKET: FILLED" in shown
    assert polled.is_set()
    call_command(
        "place_order", "RELIANCE", "SELL", "10", "--limit", "1500", "--user-email", user.email, "--wait", "0.05"
    )
    assert models.Order.objects.filter(status="NEW", order_type="LIMIT").count() == 1
    with pytest.raises(CommandError, match="rejected: NIFTY is an index"):
        call_command("place_order", "NIFTY", "BUY", "1", "--user-email", user.email)
    with pytest.raises(CommandError, match="Unknown symbol 'NIFTTY'"):
        call_command("place_order", "NIFTTY", "BUY", "1", "--user-email", user.email)
    with pytest.raises(CommandError, match="quantity must be above 0"):
        call_command("place_order", "ITC", "BUY", "-1", "--user-email", user.email)
    with pytest.raises(CommandError, match="no user nobody"):
        call_command("place_order", "ITC", "BUY", "1", "--user-email", "nobody@example.com")


def test_without_engines_the_order_waits_and_that_is_said(user, instruments):
    with pytest.raises(CommandError, match="are the engines running"):
        call_command("place_order", "ITC", "BUY", "1", "--user-email", user.email, "--wait", "0.05")
    assert models.Order.objects.get().status == "PENDING_NEW"
