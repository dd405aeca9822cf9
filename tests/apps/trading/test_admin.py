"""The admin shows what the engine writes, and changes only what is the operator's."""

import pytest
from django.test import Client
from django.utils import timezone

from apps.trading import models

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def admin(user):
    user.is_staff = user.is_superuser = True
    user.save()
    client = Client()
    client.force_login(user)
    return client


def test_orders_are_to_be_read(admin, user):
    account = models.Account.objects.create(user=user)
    now = timezone.now()
    row = models.Order.objects.create(
        account=account, symbol="TCS", side="BUY", quantity=1, status="FILLED", created_at=now, updated_at=now
    )
    page = f"/admin/trading/order/{row.pk}/change/"
    assert admin.get(page).status_code == 200
    assert admin.post(page, {"status": "NEW"}).status_code == 403
    assert admin.post(f"/admin/trading/order/{row.pk}/delete/", {"post": "yes"}).status_code == 403
    assert admin.get("/admin/trading/order/add/").status_code == 403
    row.refresh_from_db()
    assert row.status == "FILLED"


FORMS = {f"{name}-{count}_FORMS": 0 for name in ("risk_limits", "positions") for count in ("TOTAL", "INITIAL")}


def test_an_account_is_made_with_its_cash_and_its_books_stay(admin, user, other_user):
    made = admin.post(
        "/admin/trading/account/add/",
        {"user": other_user.pk, "opening_cash": "5000000", "brokerage_plan": "ZERO", **FORMS},
    )
    assert made.status_code == 302, made.context and made.context["errors"]
    account = models.Account.objects.get(user=other_user)
    assert (account.cash, account.peak_value, account.controls_changed) == (5_000_000, 5_000_000, True)
    models.Account.objects.update(cash=4_000_000)
    changed = admin.post(
        f"/admin/trading/account/{account.pk}/change/",
        {"opening_cash": "1", "cash": "1", "brokerage_plan": "DISCOUNT", "kill_switch": "on", **FORMS},
    )
    assert changed.status_code == 302
    account.refresh_from_db()
    assert (account.opening_cash, account.cash) == (5_000_000, 4_000_000)
    assert (account.brokerage_plan, account.kill_switch) == ("DISCOUNT", True)


def test_limits_that_make_no_sense_are_refused(admin, user):
    account = models.Account.objects.create(user=user)
    answer = admin.post(
        f"/admin/trading/account/{account.pk}/change/",
        {
            "brokerage_plan": "ZERO",
            **FORMS,
            "risk_limits-TOTAL_FORMS": 1,
            "risk_limits-0-account": account.pk,
            "risk_limits-0-daily_loss": "5",
        },
    )
    assert b"daily_loss is 5.0" in answer.content
    assert not models.RiskLimits.objects.exists()
