"""What leases earn: to the paisa, by month, and told to who watches."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.ai_studio import earnings, models, payloads
from tests.apps.ai_studio.test_marketplace import quick_user
from tests.apps.ai_studio.test_streams import studio

MOMENTS = st.datetimes(datetime(2024, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - zones follow
PRICES = st.decimals(0, 10_000_000, places=2)
LENGTHS = st.timedeltas(timedelta(microseconds=1), timedelta(days=370))


def ist(*moment):
    return datetime(*moment, tzinfo=earnings.IST)


def priced(price, starts_at, ends_at):
    return models.Lease(price=Decimal(price), starts_at=starts_at, ends_at=ends_at)


@given(PRICES, MOMENTS, LENGTHS, st.timedeltas(timedelta(0), timedelta(days=400)))
@settings(max_examples=25, deadline=None)
def test_the_parts_of_a_lease_sum_to_its_price(price, start, length, later):
    lease = priced(price, start, start + length)
    parts = earnings.parts(lease, start + length + later)
    assert sum(parts.values()) == price
    assert all(part >= 0 for part in parts.values())
    assert all(start < earnings.month_starts(earnings.month_after(period)) for period in parts)
    assert all(earnings.month_starts(period) < lease.ends_at for period in parts)


@given(PRICES, MOMENTS, LENGTHS, st.lists(st.timedeltas(timedelta(-5), timedelta(days=400)), min_size=2, max_size=6))
@settings(max_examples=25, deadline=None)
def test_what_has_accrued_never_shrinks_and_is_the_sum_of_its_parts(price, start, length, offsets):
    lease = priced(price, start, start + length)
    accrued = [earnings.accrued(lease, start + offset) for offset in sorted(offsets)]
    assert accrued == sorted(accrued)
    assert 0 <= accrued[0] <= accrued[-1] <= price
    at = start + max(offsets)
    assert sum(earnings.parts(lease, at).values()) == accrued[-1]


def test_a_price_is_split_by_the_months_of_india():
    # 30 days from 20 June 12:00 IST: ten and a half days in June, nineteen and a half in July.
    lease = priced("1000", ist(2026, 6, 20, 12), ist(2026, 7, 20, 12))
    assert earnings.parts(lease, ist(2026, 6, 21, 12)) == {date(2026, 6, 1): Decimal("33.33")}
    assert earnings.parts(lease, ist(2027, 1, 1)) == {
        date(2026, 6, 1): Decimal("350.00"),
        date(2026, 7, 1): Decimal("650.00"),
    }
    # A lease that begins on 30 June 20:00 UTC begins in July there.
    lease = priced("1", datetime(2026, 6, 30, 20, tzinfo=UTC), datetime(2026, 7, 30, 20, tzinfo=UTC))
    assert list(earnings.parts(lease, lease.ends_at)) == [date(2026, 7, 1)]


def test_a_lease_that_ends_with_a_month_has_no_part_in_the_next():
    lease = priced("99.99", ist(2026, 1, 1), ist(2026, 3, 1))
    assert list(earnings.parts(lease, ist(2026, 6, 1))) == [date(2026, 1, 1), date(2026, 2, 1)]
    assert earnings.due(lease, date(2026, 3, 1), ist(2026, 1, 2)) == 0
    assert earnings.due(lease, date(2026, 2, 1), ist(2026, 1, 2)) > 0, "it may be paid ahead"


# With a database


@pytest.fixture
def user(db):
    return quick_user("asha@example.com")


@pytest.fixture
def other_user(db):
    return quick_user("bala@example.com")


@pytest.fixture
def listing(user):
    studio(user)
    return models.Listing.objects.create(model=models.Model.objects.get(), title="Momentum", price_per_month=1)


def predict(listing, made_at, direction, prices, *, symbol="TCS", horizon_bars=1, settled_at=None):
    """A prediction, with its price and that of its outcome; settled a minute later, or then."""
    price, outcome_price = prices
    return models.Prediction.objects.create(
        model=listing.model,
        model_version=2,
        symbol=symbol,
        direction=direction,
        probability=0.6,
        price=price,
        horizon_bars=horizon_bars,
        bar_time=made_at,
        created_at=made_at,
        outcome_price=outcome_price,
        settled_at=settled_at or made_at + timedelta(minutes=1),
    )


@pytest.fixture
def share(listing, other_user):
    """Ten percent of what 100,000 rupees earn from 10 January to 10 March."""
    return listing.leases.create(
        lessee=other_user,
        starts_at=ist(2026, 1, 10),
        ends_at=ist(2026, 3, 10),
        profit_share_percent=Decimal(10),
        capital=Decimal(100_000),
    )


def test_a_profit_share_follows_the_predictions_of_the_lease(listing, share):
    day = ist(2026, 1, 15, 12)
    predict(listing, day, "UP", (100.0, 102.0))  # +2 %
    predict(listing, day, "DOWN", (200.0, 198.0), symbol="INFY")  # +1 %
    predict(listing, day, "UP", (200.0, 199.0), symbol="INFY")  # -0.5 %
    predict(listing, ist(2026, 1, 9), "UP", (100.0, 200.0))  # before the lease
    predict(listing, ist(2026, 3, 10), "UP", (100.0, 200.0))  # after it
    predict(listing, day, "UP", (100.0, None))  # open
    # Two symbols: 50,000 rupees each, 2.5 % in all, and a tenth of that.
    assert earnings.parts(share, ist(2026, 2, 1)) == {date(2026, 1, 1): Decimal("125.00")}
    assert earnings.parts(share, day) == {}, "not settled yet"


def test_a_share_of_a_loss_is_nothing_and_is_not_carried_over(listing, share):
    predict(listing, ist(2026, 1, 15), "UP", (100.0, 90.0))
    predict(listing, ist(2026, 2, 15), "UP", (100.0, 101.0), horizon_bars=5)
    parts = earnings.parts(share, ist(2026, 4, 1))
    # Five predictions of five bars are open at once: each is followed with a fifth of the capital.
    assert parts == {date(2026, 2, 1): Decimal("20.00")}
    predict(listing, ist(2026, 2, 16), "UP", (0.01, 1e9))
    assert earnings.due(share, date(2026, 2, 1), ist(2026, 4, 1)) == share.capital, "it is at most the capital"


def test_a_share_counts_in_the_month_in_which_it_is_settled_and_is_due_after_it(listing, share):
    predict(listing, ist(2026, 1, 31, 23, 59), "UP", (100.0, 101.0), settled_at=ist(2026, 2, 1, 0, 1))
    predict(listing, ist(2026, 3, 9), "UP", (100.0, 101.0), settled_at=ist(2026, 4, 2))
    assert earnings.due(share, date(2026, 2, 1), ist(2026, 2, 28)) == 0
    assert earnings.due(share, date(2026, 2, 1), ist(2026, 3, 1)) == Decimal(100)
    assert earnings.due(share, date(2026, 1, 1), ist(2026, 3, 1)) == 0
    assert earnings.due(share, date(2026, 4, 1), ist(2026, 5, 1)) == Decimal(100), "settled after the lease's end"


def test_earnings_by_month_and_what_was_paid(listing, user, other_user):
    lease = listing.leases.create(
        lessee=other_user, starts_at=ist(2025, 1, 1), ends_at=ist(2026, 1, 1), price=Decimal("1200.00")
    )
    now = ist(2025, 2, 15)
    third = quick_user("chitra@example.com")
    listing.leases.create(lessee=third, starts_at=ist(2023, 1, 1), ends_at=ist(2024, 1, 1), price=Decimal(365))
    lease.payments.create(period=date(2025, 1, 1), amount=Decimal("101.91"), reference="UTR1")
    lease.payments.create(period=date(2025, 12, 1), amount=Decimal("100.00"), reference="UTR2")
    found = earnings.earnings(str(user.pk), now)
    assert (found.contracted, found.active_leases) == (1565.0, 1)
    assert found.accrued == round(365 + float(earnings.accrued(lease, now)), 2)
    assert found.periods[:3] == [
        payloads.PeriodEarnings(period=date(2025, 12, 1), accrued=0.0, paid=100.0),
        payloads.PeriodEarnings(period=date(2025, 2, 1), accrued=46.03, paid=0.0),
        payloads.PeriodEarnings(period=date(2025, 1, 1), accrued=101.91, paid=101.91),
    ]
    assert len(found.periods) == 13, "the latest twelve, and one that is paid ahead"
    assert earnings.earnings(str(other_user.pk), now).contracted == 0


def test_what_a_month_of_a_lease_brings_and_what_is_due_of_it(listing, share):
    predict(listing, ist(2026, 1, 15), "UP", (100.0, 101.0))
    predict(listing, ist(2026, 2, 15), "UP", (100.0, 102.0))
    share.payments.create(period=date(2026, 1, 1), amount=Decimal(40), reference="UTR1")
    assert earnings.months_of(share, ist(2026, 2, 20)) == [
        earnings.Month(period=date(2026, 2, 1), accrued=Decimal(200), paid=Decimal(0), due=Decimal(0)),
        earnings.Month(period=date(2026, 1, 1), accrued=Decimal(100), paid=Decimal(40), due=Decimal(100)),
    ]


# Months that are over


def test_a_month_that_is_over_is_kept_on_the_lease_and_needs_no_predictions(
    listing, share, user, other_user, django_assert_num_queries
):
    listing.leases.create(lessee=other_user, starts_at=ist(2026, 1, 1), ends_at=ist(2026, 2, 1), price=1)
    for day in (ist(2026, 1, 15), ist(2026, 2, 15), ist(2026, 2, 28, 23, 59, 59)):
        predict(listing, day, "UP", (100.0, 101.0), settled_at=day)
    assert earnings.close_months(ist(2026, 3, 1, 0, 59)) == 1
    share.refresh_from_db()
    assert share.shares == {"2026-01": "100.00"}, "what was settled in February's last moment may not be written yet"
    assert earnings.close_months(ist(2026, 3, 1, 1)) == 1
    share.refresh_from_db()
    assert share.shares == {"2026-01": "100.00", "2026-02": "200.00"}
    with django_assert_num_queries(1):
        assert earnings.close_months(ist(2026, 3, 1, 1, 1)) == 0
    predict(listing, ist(2026, 3, 2), "UP", (100.0, 103.0))
    before = earnings.statement(str(user.pk), ist(2026, 3, 3))
    models.Prediction.objects.exclude(earnings.unaccounted(ist(2026, 3, 3))).delete()
    assert models.Prediction.objects.get().price == 100.0
    assert earnings.statement(str(user.pk), ist(2026, 3, 3)) == before
    assert before.accrued == Decimal("601.00")
    assert list(earnings.parts(share, ist(2026, 2, 1))) == [date(2026, 1, 1)]


def test_predictions_of_the_longest_horizon_settle_a_year_after_the_lease(
    listing, share, user, django_assert_num_queries
):
    made_at, later = ist(2026, 3, 9), ist(2027, 3, 12)
    predict(listing, made_at, "UP", (100.0, 150.0), horizon_bars=250, settled_at=later)
    open_one = predict(listing, made_at, "UP", (100.0, None))
    models.Prediction.objects.filter(pk=open_one.pk).update(settled_at=None)
    of_no_lease = predict(listing, ist(2026, 3, 10), "UP", (100.0, 150.0))
    for months in (earnings.close_months(ist(2026, 6, 2)), earnings.close_months(ist(2027, 3, 2))):
        assert months == 1
    kept = set(models.Prediction.objects.filter(earnings.unaccounted(ist(2027, 3, 13))))
    assert open_one in kept
    assert (len(kept), of_no_lease in kept) == (2, False)
    assert earnings.statement(str(user.pk), ist(2027, 3, 13)).accrued == Decimal("20.00")
    earnings.close_months(ist(2027, 6, 2))
    share.refresh_from_db()
    assert share.shares == {"2027-03": "20.00"}
    with django_assert_num_queries(0):
        assert earnings.due(share, date(2027, 3, 1), ist(2027, 7, 1)) == Decimal("20.00"), "it earns no more"
    assert not models.Prediction.objects.filter(earnings.unaccounted(ist(2027, 6, 2))).exists()


@pytest.fixture
def century(listing, other_user):
    return listing.leases.create(
        lessee=other_user, starts_at=ist(2026, 1, 1), ends_at=ist(2099, 1, 1), price=Decimal(10**9)
    )


def test_what_cannot_be_told_to_one_is_told_to_the_others_and_logged_once(monkeypatch, caplog):
    told = []

    def earned(user_id):
        if user_id == "1":
            raise TypeError("no terms")
        return payloads.Earnings(accrued=0.0, contracted=0.0, active_leases=0)

    monkeypatch.setattr(earnings, "earnings", earned)
    monkeypatch.setattr(earnings.websocket_utils, "notify_earnings_update", lambda user_id, _: told.append(user_id))
    board = earnings.EarningsBoard()
    for _ in range(2):
        board._tell({1, 2})
    assert told == [2]
    assert caplog.text.count("TypeError: no terms") == 1


async def test_owners_who_watch_are_told_what_changed(transactional_db, century, user, monkeypatch):
    told, watching = [], {user.pk}

    async def watched(topic_of, ids):
        return watching & set(ids)

    monkeypatch.setattr(earnings, "watched", watched)
    monkeypatch.setattr(earnings.websocket_utils, "notify_earnings_update", lambda *message: told.append(message))
    monkeypatch.setattr(earnings.timezone, "now", lambda: now)
    board, now = earnings.EarningsBoard(), ist(2026, 2, 1)
    await board.publish()
    await board.publish()
    assert [user_id for user_id, _ in told] == [user.pk], "nothing has changed"
    now = ist(2026, 2, 2)
    await board.publish()
    assert told[1][1].accrued > told[0][1].accrued
    watching.clear()
    await board.publish()
    watching.add(user.pk)
    await board.publish()
    assert len(told) == 3, "who comes back is told again"
