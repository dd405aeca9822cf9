"""The marketplace over HTTP, and in the admin."""

import json
from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone

from apps.accounts import tokens
from apps.ai_studio import marketplace, models
from tests.apps.ai_studio.test_marketplace import lease, listing, model, other_user, pay, quick_user, user

__all__ = ["lease", "listing", "model", "other_user", "user"]  # fixtures


class Api:
    _client = Client()

    def __init__(self, user):
        self._headers = {"Authorization": f"Bearer {tokens.log_in(user).access}"}

    def __call__(self, method, path, body=None):
        text = "" if body is None else json.dumps(body)
        answer = self._client.generic(
            method, f"/api/ai/{path}", text, content_type="application/json", headers=self._headers
        )
        return answer.status_code, json.loads(answer.content)


def test_from_listing_to_review_over_http(model, user, other_user):
    owner, lessee = Api(user), Api(other_user)
    assert owner("PUT", f"models/{model.pk}/listing/", {"title": "Momentum"})[1]["error_code"] == "terms"
    status, listing = owner("PUT", f"models/{model.pk}/listing/", {"title": "Momentum", "price_per_month": 300})
    assert (status, listing["price_per_month"], listing["rating"]) == (200, "300.00", None)
    assert lessee("GET", "listings/")[1]["items"] == [listing]
    assert lessee("GET", "listings/?mine=true")[1]["count"] == 0

    leases = f"listings/{listing['id']}/leases/"
    assert lessee("POST", leases, {"price_per_month": 299})[1]["error_code"] == "terms_changed"
    status, lease = lessee("POST", leases, {"months": 2, "price_per_month": "300"})
    assert (status, lease["price"], lease["model_id"]) == (201, "600.00", str(model.pk))
    assert lessee("POST", leases, {"price_per_month": 300})[0] == 409
    assert lessee("GET", "leases/")[1]["items"] == [lease] == owner("GET", "leases/?role=owner")[1]["items"]
    assert owner("GET", "leases/")[1]["count"] == 0

    month = timezone.localdate().isoformat()[:8] + "01"
    payment = {"period": timezone.localdate().isoformat(), "amount": 1, "reference": "UTR1"}
    payments = f"leases/{lease['id']}/payments/"
    status, recorded = owner("POST", payments, payment)
    assert (status, recorded["amount"], recorded["period"]) == (201, "1.00", month)
    assert owner("POST", payments, payment) == (200, recorded)
    assert owner("POST", payments, {**payment, "reference": "2"})[0] == 201, "a month may be paid in parts"
    assert owner("POST", payments, {**payment, "reference": "3", "amount": 600})[1]["error_code"] == "too_much"
    assert owner("POST", payments, {**payment, "reference": "3", "period": "9999-12-31"})[1]["error_code"] == "not_due"
    assert owner("GET", payments) == lessee("GET", payments)
    assert owner("GET", payments)[1]["count"] == 2
    seen = owner("GET", f"leases/{lease['id']}/")[1]
    assert seen == lessee("GET", f"leases/{lease['id']}/")[1] == {**lease, "periods": seen["periods"]}
    assert sum(Decimal(each["due"]) for each in seen["periods"]) == 600
    first = seen["periods"][-1]
    assert (first["period"], first["accrued"], first["paid"]) == (month, "0.00", "2.00")
    earned = owner("GET", "earnings/")[1]
    assert earned["periods"] == [{"period": month, "accrued": "0.00", "paid": "2.00"}]
    assert (earned["accrued"], earned["contracted"]) == ("0.00", "600.00")

    status, review = lessee("PUT", f"listings/{listing['id']}/review/", {"rating": 4, "text": "<i>good</i><script>"})
    assert (status, review["text"]) == (200, "<i>good</i>")
    third = Api(quick_user("chitra@example.com"))
    assert third("GET", f"listings/{listing['id']}/reviews/")[1]["items"] == [review]
    assert third("GET", f"listings/{listing['id']}/")[1]["rating"] == 4.0

    assert owner("DELETE", f"models/{model.pk}/listing/")[1]["withdrawn_at"]
    assert owner("DELETE", f"models/{model.pk}/listing/")[0] == 409
    assert third("GET", f"listings/{listing['id']}/")[0] == 404
    assert lessee("GET", f"listings/{listing['id']}/")[0] == 200, "who leased it still sees what"


def test_nobody_sees_or_does_what_is_anothers(listing, lease, other_user):
    third, lessee = Api(quick_user("chitra@example.com")), Api(other_user)
    offer = {"title": "Mine now", "price_per_month": 1}
    payment = {"period": "2026-01-01", "amount": 1, "reference": "UTR1"}
    for api in (third, lessee):
        assert api("PUT", f"models/{listing.model_id}/listing/", offer)[0] == 403
        assert api("DELETE", f"models/{listing.model_id}/listing/")[0] == 403
        assert api("POST", f"leases/{lease.pk}/payments/", payment)[0] == 403
    for path in (f"leases/{lease.pk}/", f"leases/{lease.pk}/payments/"):
        assert (third("GET", path)[0], lessee("GET", path)[0]) == (403, 200)
    assert third("GET", f"leases/{uuid4()}/")[0] == 404
    for path in ("leases/", "leases/?role=owner", "listings/?mine=true"):
        assert third("GET", path)[1]["count"] == 0
    assert third("GET", "earnings/")[1] == {
        "accrued": "0.00",
        "contracted": "0.00",
        "active_leases": 0,
        "periods": [],
    }
    assert Client().get("/api/ai/listings/").status_code == 401


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("leases/", {"price_per_month": 100, "months": 13}),
        ("leases/", {"profit_share_percent": 10, "capital": 1}),
        ("leases/", {}),
        ("leases/", {"price_per_month": 100, "profit_share_percent": 10}),
        ("review/", {"rating": 0}),
        ("review/", {"rating": 5, "text": "x" * 1_001}),
        ("review/", {"rating": 5, "text": "\x00"}),
    ],
)
def test_what_is_out_of_bounds_is_refused_before_anything_is_done(listing, lease, other_user, path, body):
    method = "POST" if path == "leases/" else "PUT"
    assert Api(other_user)(method, f"listings/{listing.pk}/{path}", body)[0] == 422


def test_pages(model, user):
    for number in range(3):
        other = models.Model.objects.create(owner=user, name=f"m{number}", version=1)
        marketplace.publish_listing(other, title=f"Offer {number}", price_per_month=1)
    models.Listing.objects.filter(title="Offer 0").update(published_at=timezone.now() + timedelta(days=1))
    page = Api(user)("GET", "listings/?limit=1")[1]
    assert (page["count"], [item["title"] for item in page["items"]]) == (3, ["Offer 0"])
    assert Api(user)("GET", "listings/?limit=0")[0] == Api(user)("GET", "leases/?role=friend")[0] == 422


# In the admin


@pytest.fixture
def admin(db):
    root = quick_user("root@example.com")
    root.is_staff = root.is_superuser = True
    root.save()
    client = Client()
    client.force_login(root)
    return client


def test_the_admin_shows_the_books_and_changes_none(admin, listing, lease, other_user):
    payment, _ = pay(lease)
    review = marketplace.review_model(other_user, str(listing.pk), 5, "good")
    job = models.TrainingJob.objects.get()
    for row in (lease, payment, review, job, models.Deployment.objects.get()):
        path = f"/admin/ai_studio/{row._meta.model_name}/{row.pk}/change/"
        assert admin.get(path).status_code == 200, path
        assert admin.post(path, {"status": "COMPLETED"}).status_code == 403, path
    page = admin.get(f"/admin/ai_studio/model/{listing.model_id}/change/").content.decode()
    for field in ("training", "symbols", "bar_seconds", "version"):
        assert f'name="{field}"' not in page
    page = admin.get(f"/admin/ai_studio/listing/{listing.pk}/change/").content.decode()
    assert 'name="title"' in page
    for field in ("price_per_month", "leases-0-price", "reviews-0-text"):
        assert f'name="{field}"' not in page


def test_a_listing_is_withdrawn_in_the_admin(admin, listing):
    body = {"action": "withdraw", "_selected_action": [str(listing.pk)]}
    assert admin.post("/admin/ai_studio/listing/", body).status_code == 302
    assert not marketplace.offered().exists()
