"""Listings, leases, payments and reviews: what is refused, what is said, and who sees what."""

import threading
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from importlib import import_module
from uuid import uuid4

import pytest
from django.apps import apps
from django.db import IntegrityError, connection, transaction
from django.db.models import ProtectedError
from django.utils import timezone

from apps.accounts.models import User
from apps.ai_studio import access, marketplace, models, services
from apps.ai_studio.review_text import sanitised
from engines.market.calendar import IST
from realtime.errors import AccessDenied, CommandFailed, NotFound
from tests.apps.ai_studio.test_streams import studio


def quick_user(email):
    """A user without a password: hashing one takes longer than a test here."""
    return User.objects.create_user(email)


@pytest.fixture
def user(db):
    return quick_user("asha@example.com")


@pytest.fixture
def other_user(db):
    return quick_user("bala@example.com")


@pytest.fixture
def model(user):
    studio(user)
    return models.Model.objects.get()


@pytest.fixture
def listing(model):
    return marketplace.publish_listing(model, title="Momentum", price_per_month="100.00")


@pytest.fixture
def lease(listing, other_user):
    return marketplace.lease_model(other_user, str(listing.pk), months=2)


@pytest.fixture
def told(monkeypatch):
    """What was published: the function's name, and to whom."""
    calls = []
    for name in ("notify_listing_published", "notify_model_leased", "notify_earnings_update", "notify_model_review"):
        monkeypatch.setattr(
            marketplace.websocket_utils,
            name,
            lambda *args, name=name: calls.append((name.removeprefix("notify_"), *args)),
        )
    return calls


class refused:  # noqa: N801 - reads as `raises`
    """The block raises `CommandFailed` with this code."""

    def __init__(self, code):
        self._code = code

    def __enter__(self):
        pass

    def __exit__(self, kind, error, _):
        assert kind is CommandFailed, error
        assert error.error_code == self._code, error
        return True


# Listings


@pytest.mark.parametrize(
    "terms",
    [
        {},
        {"price_per_month": 100, "profit_share_percent": 10},
        {"price_per_month": -1},
        {"price_per_month": "1.005"},
        {"price_per_month": "NaN"},
        {"price_per_month": "10000000.01"},
        {"profit_share_percent": 0},
        {"profit_share_percent": 51},
    ],
)
def test_an_offer_has_one_of_two_terms(model, terms):
    with refused("terms"):
        marketplace.publish_listing(model, title="Momentum", **terms)
    assert not models.Listing.objects.exists()


def test_an_untrained_model_cannot_be_offered(model):
    models.Model.objects.update(version=0)
    with refused("not_trained"):
        marketplace.publish_listing(model, title="Momentum", price_per_month=1)


def test_a_changed_offer_is_told_and_leases_that_run_keep_their_terms(listing, lease, told):
    again = marketplace.publish_listing(listing.model, title="Momentum", price_per_month=100)
    assert (again.pk, told) == (listing.pk, []), "nothing is new"
    models.Listing.objects.update(announced_at=timezone.now() - marketplace.ANNOUNCED_EVERY)
    changed = marketplace.publish_listing(listing.model, title="Momentum", profit_share_percent=10)
    assert (changed.pk, changed.price_per_month) == (listing.pk, None)
    assert [name for name, *_ in told] == ["listing_published"]
    lease.refresh_from_db()
    assert (lease.price, lease.profit_share_percent) == (Decimal(200), None)


def test_changes_of_an_offer_are_told_once_a_minute_and_its_withdrawal_at_once(model, told):
    for price in (1, 2, 3):
        listing = marketplace.publish_listing(model, title="Momentum", price_per_month=price)
    assert [payload.price_per_month for _, payload in told] == [1.0]
    assert models.Listing.objects.get().price_per_month == 3, "what is not told is offered all the same"
    marketplace.withdraw_listing(model)
    assert told[-1][1].withdrawn_at is not None
    marketplace.publish_listing(model, title="Momentum", price_per_month=3)
    assert (len(told), told[-1][1].id, told[-1][1].withdrawn_at) == (3, str(listing.pk), None)


def test_a_withdrawn_listing_takes_no_leases_and_those_that_run_go_on(listing, lease, user, other_user):
    marketplace.withdraw_listing(listing.model)
    with refused("not_listed"):
        marketplace.withdraw_listing(listing.model)
    with refused("withdrawn"):
        marketplace.lease_model(quick_user("chitra@example.com"), str(listing.pk))
    model_id, now = str(listing.model_id), timezone.now()
    assert access.reading_ends_at(str(other_user.pk), model_id, now) == lease.ends_at
    assert access.readable_model(str(other_user.pk), model_id) == listing.model
    with pytest.raises(AccessDenied):
        access.readable_model(str(other_user.pk), model_id, lease.ends_at)
    assert not marketplace.listed(str(user.pk)).exists()
    assert marketplace.listed(str(user.pk), mine=True).get() == listing
    anew = marketplace.publish_listing(listing.model, title="Momentum", price_per_month=100)
    assert (anew.withdrawn_at, anew.published_at > listing.published_at) == (None, True)


# Leases


@pytest.mark.parametrize(
    ("start", "months", "end"),
    [
        ((2026, 1, 31, 10), 1, (2026, 2, 28, 10)),
        ((2024, 1, 31, 10), 1, (2024, 2, 29, 10)),
        ((2026, 11, 15, 23, 59), 2, (2027, 1, 15, 23, 59)),
        ((2026, 12, 1), 12, (2027, 12, 1)),
    ],
)
def test_a_month_is_one_of_the_calendar(start, months, end):
    moment = datetime(*start, tzinfo=IST)
    assert marketplace.months_later(moment, months) == datetime(*end, tzinfo=IST)
    assert marketplace.months_later(moment.astimezone(UTC), months) == datetime(*end, tzinfo=IST)


def test_a_lease_tells_the_owner(listing, user, other_user, told):
    lease = marketplace.lease_model(other_user, str(listing.pk), months=3)
    assert (lease.price, lease.capital) == (Decimal(300), None)
    (leased, to, payload), (earned, owner_id, earnings) = told
    assert (leased, to, payload.price) == ("model_leased", user.pk, 300.0)
    assert (earned, owner_id, earnings.contracted, earnings.active_leases) == ("earnings_update", user.pk, 300.0, 1)


def test_leases_that_make_no_sense_are_refused(listing, user, other_user):
    listing_id = str(listing.pk)
    with refused("own_model"):
        marketplace.lease_model(user, listing_id)
    for months in (0, 13):
        with refused("months"):
            marketplace.lease_model(other_user, listing_id, months=months)
    with refused("capital"):
        marketplace.lease_model(other_user, listing_id, capital=100_000)
    marketplace.lease_model(other_user, listing_id)
    with refused("already_leased"):
        marketplace.lease_model(other_user, listing_id)
    for missing in (str(uuid4()), "nothing"):
        with pytest.raises(NotFound):
            marketplace.lease_model(other_user, missing)
    models.Lease.objects.update(ends_at=timezone.now())
    assert marketplace.lease_model(other_user, listing_id), "one that has ended stands in nobody's way"


def test_only_what_predicts_is_leased(listing, other_user):
    models.Deployment.objects.update(ended_at=timezone.now())
    with refused("not_deployed"):
        marketplace.lease_model(other_user, str(listing.pk))
    models.Model.objects.update(version=0)
    with refused("not_trained"):
        marketplace.lease_model(other_user, str(listing.pk))


def test_nobody_is_bound_to_terms_that_they_did_not_see(listing, other_user):
    seen = {"price_per_month": "100"}
    marketplace.publish_listing(listing.model, title="Momentum", price_per_month=500)
    for terms in (seen, {"profit_share_percent": 10}, {**seen, "profit_share_percent": 10}):
        with pytest.raises(CommandFailed, match=r"500\.00 rupees per month") as error:
            marketplace.lease_model(other_user, str(listing.pk), **terms)
        assert error.value.error_code == "terms_changed"
    marketplace.publish_listing(listing.model, title="Momentum", profit_share_percent="12.50")
    with pytest.raises(CommandFailed, match=r"12\.50 percent"):
        marketplace.lease_model(other_user, str(listing.pk), price_per_month=500, capital=50_000)
    assert not models.Lease.objects.exists()
    assert marketplace.lease_model(other_user, str(listing.pk), profit_share_percent="12.5", capital=50_000)


@pytest.mark.parametrize(
    "terms",
    [
        {},
        {"price": -1},
        {"price": 1, "capital": 1},
        {"price": 1, "profit_share_percent": 1, "capital": 1},
        {"profit_share_percent": 1},
        {"profit_share_percent": 1, "capital": 0},
    ],
)
def test_a_lease_without_one_of_two_terms_cannot_be(listing, other_user, terms):
    now = timezone.now()
    with pytest.raises(IntegrityError), transaction.atomic():
        listing.leases.create(lessee=other_user, starts_at=now, ends_at=now + timedelta(days=1), **terms)


def test_what_was_leased_outlives_model_and_lessee(lease, user, other_user):
    model = lease.listing.model
    pay(lease)
    for when in (timezone.now(), lease.ends_at):
        models.Lease.objects.update(ends_at=when)
        with refused("has_leases"):
            services.delete_model(model)
        for owned in (model, user, lease):
            with pytest.raises(ProtectedError):
                owned.delete()
    other_user.delete()
    lease.refresh_from_db()
    assert (lease.lessee, lease.payments.count()) == (None, 1)
    assert marketplace.marketplace_snapshot(str(user.pk))[0][0].id == str(lease.pk)


def test_a_model_that_nobody_leased_goes_with_its_listing(listing):
    models.TrainingJob.objects.update(status="COMPLETED")
    services.delete_model(listing.model)
    assert not models.Listing.objects.exists()


def test_a_profit_share_needs_capital(model, other_user):
    listing = marketplace.publish_listing(model, title="Momentum", profit_share_percent="12.50")
    for capital in (None, 9_999, 1_000_000_001, "1.001"):
        with refused("capital"):
            marketplace.lease_model(other_user, str(listing.pk), capital=capital)
    lease = marketplace.lease_model(other_user, str(listing.pk), capital=50_000)
    assert (lease.price, lease.profit_share_percent, lease.capital) == (None, Decimal("12.50"), Decimal(50_000))


def test_of_leases_at_once_one_is_made(transactional_db, listing, other_user):
    barrier, outcomes = threading.Barrier(4), []

    def lease():
        barrier.wait(5)
        try:
            outcomes.append(marketplace.lease_model(other_user, str(listing.pk)))
        except CommandFailed as error:
            outcomes.append(error.error_code)
        finally:
            connection.close()

    threads = [threading.Thread(target=lease) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(str(outcome) for outcome in outcomes if isinstance(outcome, str)) == ["already_leased"] * 3
    assert models.Lease.objects.count() == 1


# Payments


def pay(lease, **changes):
    terms = {"period": lease.starts_at.astimezone(IST).date(), "amount": "10.00", "reference": "UTR1", **changes}
    return marketplace.record_payment(str(lease.listing.model.owner_id), str(lease.pk), **terms)


def test_a_payment_is_recorded_once(lease, told):
    payment, is_new = pay(lease)
    assert (payment.amount, payment.period.day, is_new) == (Decimal(10), 1, True)
    assert [name for name, *_ in told] == ["earnings_update"]
    assert told[0][2].periods[-1].paid == 10.0
    assert pay(lease, amount=10, reference=" UTR1 ") == (payment, False), "the same again is the same"
    assert len(told) == 1
    with refused("reference_taken"):
        pay(lease, amount=11)
    assert models.Payment.objects.get() == payment


def test_a_month_is_paid_in_parts_until_nothing_is_left(lease):
    lease.starts_at, lease.ends_at = datetime(2026, 1, 1, tzinfo=IST), datetime(2026, 2, 1, tzinfo=IST)
    lease.save()
    pay(lease, amount=150)
    with refused("too_much"):
        pay(lease, amount="50.01", reference="UTR2")
    pay(lease, amount=50, reference="UTR2")
    with refused("already_paid"):
        pay(lease, amount="0.01", reference="UTR3")
    assert pay(lease, amount=50, reference="UTR2")[1] is False


def test_no_more_is_paid_than_is_due(lease):
    lease.starts_at = datetime(2026, 1, 16, tzinfo=IST)
    lease.ends_at = datetime(2026, 3, 1, tzinfo=IST)
    lease.price = Decimal("440.00")  # ten a day
    lease.save()
    with refused("too_much"):
        pay(lease, period=date(2026, 1, 20), amount="160.01")
    for month in (date(2025, 12, 1), date(2026, 3, 1), date.min, date.max):
        with refused("not_due"):
            pay(lease, period=month)
    for amount in (0, -1, "0.001", "x"):
        with refused("amount"):
            pay(lease, amount=amount)
    with refused("reference"):
        pay(lease, reference="  ")
    assert pay(lease, period=date(2026, 1, 20), amount=160)[0].period == date(2026, 1, 1)
    assert pay(lease, period=date(2026, 2, 28), amount=280, reference="UTR2")[1]


def test_payments_are_recorded_by_the_owner_for_whole_months(lease, other_user):
    terms = {"period": date(2026, 1, 1), "amount": 1, "reference": "UTR1"}
    for user_id in (str(other_user.pk), "999"):
        with pytest.raises(AccessDenied):
            marketplace.record_payment(user_id, str(lease.pk), **terms)
    with pytest.raises(AccessDenied):
        marketplace.payments_of("999", str(lease.pk))
    with pytest.raises(IntegrityError), transaction.atomic():
        lease.payments.create(period=date(2026, 1, 2), amount=1, reference="by hand")
    with pytest.raises(NotFound):
        marketplace.record_payment("1", str(uuid4()), **terms)


# Reviews


def test_an_upgrade_sanitises_old_reviews_and_withdraws_what_predicts_nothing(listing, other_user, monkeypatch):
    upgrade = import_module("apps.ai_studio.migrations.0004_mended_rows")
    long = "<b>" * 3 + "<i>" * 3 + "<p>" * 90
    reviewers = [other_user, quick_user("chitra@example.com")]
    for reviewer, text in zip(reviewers, ("<script>alert(1)</script><b onclick=x>good</b>", long), strict=True):
        models.Review.objects.create(listing=listing, author=reviewer, rating=1, text=text)
    monkeypatch.setattr(upgrade, "MAX_SANITISED", 100)
    upgrade.sanitise_reviews(apps, None)
    assert set(models.Review.objects.values_list("text", flat=True)) == {"<b>good</b>", ""}
    upgrade.withdraw_what_predicts_nothing(apps, None)
    assert marketplace.offered().count() == 1
    models.Model.objects.update(version=0)
    upgrade.withdraw_what_predicts_nothing(apps, None)
    assert marketplace.offered().count() == 0


def test_lessees_review_once_and_nobody_else(listing, lease, user, other_user, told):
    listing_id = str(listing.pk)
    with refused("own_model"):
        marketplace.review_model(user, listing_id, 5, "great")
    with refused("not_leased"):
        marketplace.review_model(quick_user("chitra@example.com"), listing_id, 1, "bad")
    with refused("rating"):
        marketplace.review_model(other_user, listing_id, 6)
    first = marketplace.review_model(other_user, listing_id, 4, "good")
    models.Lease.objects.update(ends_at=timezone.now())
    second = marketplace.review_model(other_user, listing_id, 2, "<b>bad</b>")
    assert (second.pk, second.rating) == (first.pk, 2), "who leased it once may change their mind"
    assert models.Review.objects.get().text == "<b>bad</b>"
    assert [(name, to, payload.rating) for name, to, payload in told] == [
        ("model_review", user.pk, 4),
        ("model_review", user.pk, 2),
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<script>alert(1)</script>fine", "fine"),
        ('<img src=x onerror="alert(1)">', ""),
        ('<b onclick="alert(1)" style="x">bold</b>', "<b>bold</b>"),
        ('<a href="javascript:alert(1)">here</a>', "here"),
        ('<a href="https://example.com">buy</a>', "buy"),
        ("<svg/onload=alert(1)>", ""),
        ("<!-- hidden -->seen", "seen"),
        ("<math><mtext><style><b title='</style><img src onerror=alert(1)>'>", ""),
        ("<noscript><p title='</noscript><img src=x onerror=alert(1)>'>", "&lt;p title=''&gt;"),
        ("<iframe srcdoc='<script>alert(1)</script>'></iframe>", ""),
        ("<scr<script>ipt>alert(1)</script>", "ipt&gt;alert(1)"),
        ("<ul><li>one</ul>", "<ul><li>one</li></ul>"),
        ("profit > loss & a < b", "profit &gt; loss &amp; a &lt; b"),
        ("nul\x00l", "null"),
        ("", ""),
    ],
)
def test_what_is_shown_of_a_review_runs_nothing(text, shown):
    assert sanitised(text) == shown


def test_a_long_review_is_refused_however_it_gets_long(listing):
    for text in ("x" * 1_001, "&" * 1_000):
        with refused("text"):
            sanitised(text)
    assert len(sanitised("&" * 800)) == 4_000
