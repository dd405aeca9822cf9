"""The dashboard: what it counts, and that snapshot and updates are together what a fresh snapshot says."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from django.db import OperationalError
from django.utils import timezone

from apps.accounts.models import User
from apps.ai_studio import dashboard as boards
from apps.ai_studio import models, topics
from apps.ai_studio.dashboard import EARNED_SECONDS, MIN_OUTCOMES, PARTS, DashboardBoard, dashboard, dashboards
from apps.ai_studio.earnings import SETTLING_DAYS, earnings, month_of, month_starts
from apps.streaming.runtime import runtime
from realtime.clock import ManualClock
from tests.conftest import in_loop, wait_until


@pytest.fixture
def user(db):
    return User.objects.create(email="asha@example.com")  # to make a password takes longer than these tests


@pytest.fixture
def other_user(db):
    return User.objects.create(email="bala@example.com")


def make_model(owner, name="momentum", **fields):
    return models.Model.objects.create(owner=owner, name=name, version=3, **fields)


def deploy(model, **monitoring):
    now = timezone.now()
    artifact = models.Artifact.objects.create(
        model=model, version=3, digest="0", content=b"", metrics={}, baseline={}, rows=1, data_from=now, data_until=now
    )
    return models.Deployment.objects.create(model=model, artifact=artifact, monitoring=monitoring)


def lease(model, lessee, *, days=30, begun_days_ago=0, price="310.00"):
    listing, _ = models.Listing.objects.get_or_create(model=model, defaults={"title": "x", "price_per_month": "310"})
    starts_at = timezone.now() - timedelta(days=begun_days_ago)
    return models.Lease.objects.create(
        listing=listing, lessee=lessee, starts_at=starts_at, ends_at=starts_at + timedelta(days=days), price=price
    )


def test_who_has_nothing_sees_noughts(user):
    empty = dashboard(str(user.pk))
    assert {name: getattr(empty, name) for name in PARTS} == {
        "model_count": 0,
        "deployed_count": 0,
        "listing_count": 0,
        "running_jobs": [],
        "best_models": [],
        "active_leases": 0,
        "earned_this_month": 0.0,
        "predictions_today": 0,
        "accuracy": None,
    }


def test_it_counts_the_users_own_and_nobody_elses(user, other_user):
    today = timezone.localdate()
    mine = make_model(user, counted_on=today, predictions_made=9, predictions_settled=8, predictions_correct=5)
    make_model(user, "of yesterday", counted_on=today - timedelta(days=1), predictions_made=100)
    theirs = make_model(other_user, counted_on=today, predictions_made=7, predictions_settled=2, predictions_correct=2)
    deploy(mine)
    withdrawn = deploy(make_model(user, "withdrawn"))
    withdrawn.ended_at = timezone.now()
    withdrawn.save()
    job = models.TrainingJob.objects.create(model=mine, status="RUNNING", progress={"progress_percentage": 40.0})
    models.Backtest.objects.create(model=mine, status="PENDING")
    models.Backtest.objects.create(model=theirs, status="RUNNING")
    lease(mine, other_user)
    lease(mine, other_user, begun_days_ago=40)  # has ended
    models.Listing.objects.create(model=withdrawn.model, title="y", price_per_month="1", withdrawn_at=timezone.now())
    found = dashboards([user.pk, other_user.pk])
    seen = found[user.pk]
    assert (seen.model_count, seen.deployed_count, seen.listing_count, seen.active_leases) == (3, 1, 1, 1)
    assert (seen.predictions_today, seen.accuracy) == (9, 0.625)
    assert [(each.id, each.progress_percentage) for each in seen.running_jobs] == [(str(job.pk), 40.0)]
    theirs_seen = found[other_user.pk]
    assert (theirs_seen.model_count, theirs_seen.predictions_today, theirs_seen.accuracy) == (1, 7, 1.0)
    assert [each.kind for each in theirs_seen.running_jobs] == ["backtest"]
    assert dashboard(user.pk) == seen


def test_the_best_models_are_the_most_accurate_with_enough_outcomes(user):
    for name, outcomes, accuracy in [
        ("good", 50, 0.61),
        ("better", 20, 0.7),
        ("good, for longer", 80, 0.61),
        ("lucky", MIN_OUTCOMES - 1, 1.0),
        ("unknown", 30, None),
        ("third", 30, 0.6),
        ("fourth", 30, 0.5),
        ("last", 30, 0.4),
    ]:
        deploy(make_model(user, name), outcomes=outcomes, accuracy=accuracy)
    deploy(make_model(user, "never measured"))
    best = dashboard(user.pk).best_models
    assert [each.name for each in best] == ["better", "good, for longer", "good", "third", "fourth"]
    assert (best[0].outcomes, best[0].accuracy, best[0].version) == (20, 0.7, 3)


def test_earned_this_month_is_this_months_part(user, other_user):
    model = make_model(user)
    begins = month_starts(month_of(timezone.now())) - timedelta(days=10)
    row = lease(model, other_user)
    models.Lease.objects.filter(pk=row.pk).update(starts_at=begins, ends_at=begins + timedelta(days=400), price="40000")
    days = (timezone.now() - begins).total_seconds() / 86_400 - 10  # a hundred rupees a day, since the first
    assert dashboard(user.pk).earned_this_month == pytest.approx(days * 100, abs=0.05)


def share_lease(model, lessee, *, ended_days_ago):
    """A fifth of what its predictions bring. One was made on the last day, and settles now with ten per cent."""
    now = timezone.now()
    ends_at = now - timedelta(days=ended_days_ago)
    listing, _ = models.Listing.objects.get_or_create(model=model, defaults={"title": "x", "profit_share_percent": 20})
    models.Lease.objects.create(
        listing=listing,
        lessee=lessee,
        starts_at=ends_at - timedelta(days=30),
        ends_at=ends_at,
        profit_share_percent=20,
        capital=10_000,
    )
    models.Prediction.objects.create(
        model=model,
        model_version=3,
        symbol="X",
        direction="UP",
        probability=0.6,
        price=100.0,
        bar_time=ends_at,
        created_at=ends_at - timedelta(hours=1),
        outcome_price=110.0,
        correct=True,
        settled_at=now,
    )


def test_earned_this_month_is_what_the_earnings_say_also_of_leases_that_ended_long_ago(user, other_user):
    model = make_model(user)
    share_lease(model, other_user, ended_days_ago=SETTLING_DAYS - 32)
    lease(model, other_user, begun_days_ago=3)
    lease(model, other_user, begun_days_ago=500, price="777")
    [this_month, *_] = earnings(str(user.pk)).periods
    assert this_month.accrued > 200
    assert dashboard(user.pk).earned_this_month == pytest.approx(this_month.accrued, abs=0.02)


def test_the_number_of_queries_does_not_grow_with_the_users(user, other_user, django_assert_num_queries):
    make_model(user)
    make_model(other_user)
    with django_assert_num_queries(7):
        dashboards([user.pk])
    with django_assert_num_queries(7):
        dashboards([user.pk, other_user.pk])


# The board


def a_round(board):
    """One round, in the loop of the server."""
    asyncio.run_coroutine_threadsafe(board.publish(), runtime()._loop).result(5)


def held(user):
    """What the broker would hand to who subscribes now."""
    history = asyncio.run_coroutine_threadsafe(runtime().broker.read(topics.dashboard(user.pk)), runtime()._loop)
    return {publication.key for publication in history.result(5).publications}


def followed(client, seen):
    """`seen` with every update that was sent by now, and the parts that they brought."""
    parts = []
    client.send("ping", request_id="now")
    while (message := client.next())["type"] != "pong":
        if message["type"] == "dashboard_update":
            seen |= message["update"]
            parts += message["update"]
    return parts


def gone(user):
    wait_until(
        lambda: in_loop(lambda: not any(c.user_id == str(user.pk) for c in runtime()._hub.connections)),
        "the connection did not end",
    )


def test_snapshot_plus_updates_is_a_fresh_snapshot_and_only_what_changed_is_sent(server, user):
    board = DashboardBoard()
    model = make_model(user)
    with server.open("ai-studio/dashboard/", user) as client:
        seen = client.until("dashboard_data")["data"]
        a_round(board)
        assert set(followed(client, seen)) == set(PARTS), "who begins to watch is told all"
        a_round(board)
        assert followed(client, seen) == []
        job = models.TrainingJob.objects.create(model=model, status="RUNNING")
        make_model(user, "second")
        a_round(board)
        assert sorted(followed(client, seen)) == ["model_count", "running_jobs"]
        assert seen == client.answer("request_dashboard")["data"]
        models.TrainingJob.objects.filter(pk=job.pk).update(status="COMPLETED")
        models.Model.objects.all().delete()
        a_round(board)
        followed(client, seen)
        assert (seen["model_count"], seen["running_jobs"]) == (0, []), "also who has no models left"
        assert seen == client.answer("request_dashboard")["data"]


def test_who_comes_back_after_an_hour_is_told_nothing_old(server, user):
    board = DashboardBoard()
    make_model(user)
    with server.open("ai-studio/dashboard/", user) as client:
        client.until("dashboard_data")
        a_round(board)
        assert held(user) == set(PARTS)
    gone(user)
    a_round(board)
    assert held(user) == set(), "nobody watches: what was told last is taken back"
    make_model(user, "made in that hour")
    a_round(board)
    assert held(user) == set(), "and nothing is told to nobody"
    with server.open("ai-studio/dashboard/", user) as client:
        seen = client.until("dashboard_data")["data"]
        assert followed(client, seen) == []
        assert seen["model_count"] == 2
        a_round(board)
        followed(client, seen)
        assert seen == client.answer("request_dashboard")["data"]


def test_what_another_process_left_behind_is_replaced(server, user):
    make_model(user)
    with server.open("ai-studio/dashboard/", user) as client:
        client.until("dashboard_data")
        a_round(DashboardBoard())  # this one ends without a word
        make_model(user, "second")
    with server.open("ai-studio/dashboard/", user) as client:
        seen = client.until("dashboard_data")["data"]
        a_round(DashboardBoard())
        followed(client, seen)
        assert seen == client.answer("request_dashboard")["data"]


def test_a_board_that_closes_takes_back_what_it_told(server, user):
    board = DashboardBoard()
    make_model(user)
    with server.open("ai-studio/dashboard/", user) as client:
        client.until("dashboard_data")
        a_round(board)
        asyncio.run_coroutine_threadsafe(board.close(), runtime()._loop).result(5)
        assert held(user) == set()


def test_what_leases_earn_is_computed_once_a_minute_for_who_watches(user, monkeypatch):
    asked = []

    def earned(user_ids, now):
        asked.append(set(user_ids))
        return {user.pk: float(len(asked))}

    monkeypatch.setattr(boards, "earned_this_month", earned)
    clock = ManualClock()
    board = DashboardBoard(clock.monotonic)
    told = []
    monkeypatch.setattr(
        "apps.ai_studio.websocket_utils.notify_dashboard_update",
        lambda _, update: told.append(update.earned_this_month),
    )
    for _ in range(3):
        board._tell({user.pk})
        clock.advance(EARNED_SECONDS / 3)
    assert (asked, told) == ([{user.pk}], [1.0])
    board._tell({user.pk})
    assert (len(asked), told) == (2, [1.0, 2.0])
    month = month_of(timezone.now())
    monkeypatch.setattr(boards, "month_of", lambda now: month - timedelta(days=1))
    board._tell({user.pk})
    assert len(asked) == 3, "a new month begins with nothing"
    board._tell(set())
    board._tell({user.pk})
    assert len(asked) == 4, "who comes back is told what is so now"
    assert dashboard(user.pk).earned_this_month == 5.0, "the snapshot is computed each time"


def test_one_whose_rows_cannot_be_read_does_not_hold_up_the_rest_and_is_logged_once(
    user, other_user, monkeypatch, caplog
):
    def earned(user_ids, now):
        if user.pk in user_ids:
            raise TypeError
        return {}

    told = []
    monkeypatch.setattr(boards, "earned_this_month", earned)
    monkeypatch.setattr(
        "apps.ai_studio.websocket_utils.notify_dashboard_update", lambda user_id, update: told.append(user_id)
    )
    board = DashboardBoard(ManualClock().monotonic)
    everybody = {user.pk, other_user.pk}
    for _ in range(3):
        board._tell(everybody)
    assert told == [other_user.pk]
    assert caplog.text.count(f"the dashboard of user {user.pk} cannot be told") == 1
    assert caplog.text.count("cannot be told together") == 1
    monkeypatch.setattr(boards, "earned_this_month", lambda user_ids, now: {})
    board._tell(everybody)
    board._tell(everybody)
    assert told == [other_user.pk, user.pk]


def test_without_the_database_the_round_fails_as_a_whole(user, monkeypatch):
    def away(user_ids, now):
        raise OperationalError

    monkeypatch.setattr(boards, "earned_this_month", away)
    with pytest.raises(OperationalError):
        DashboardBoard(ManualClock().monotonic)._tell({user.pk})


def test_one_that_cannot_be_told_does_not_hold_up_the_rest(server, user, other_user, caplog):
    board = DashboardBoard()
    broken = make_model(user)
    make_model(other_user)
    deploy(broken, outcomes=30, accuracy=7.0)  # no probability
    with (
        server.open("ai-studio/dashboard/", other_user) as client,
        server.open("ai-studio/dashboard/", user) as broken_client,
    ):
        seen = client.until("dashboard_data")["data"]
        broken_client.next()
        a_round(board)
        assert set(followed(client, seen)) == set(PARTS)
        assert f"the dashboard of user {user.pk} cannot be told" in caplog.text


def test_unknown_users_are_no_trouble(db):
    assert dashboard("123456").model_count == 0
    assert dashboards([]) == {}
