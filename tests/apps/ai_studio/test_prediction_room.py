"""Deployed models predict on closed bars, and each prediction gets its outcome."""

from functools import partial

import numpy as np
import pytest
from django.utils import timezone

from apps.accounts.models import User
from apps.ai_studio import deployed_models, deployments, models, prediction_room, services
from engines.learning.artifact import Predictor
from engines.learning.features import feature_matrix
from engines.learning.labels import labels_of
from engines.learning.metrics import guesses_up
from engines.learning.spec import LabelSpec
from engines.market.history import history_of
from engines.market.quotes import DAY_SECONDS, Bar
from tests.apps.ai_studio.studio_market import BARS, FEATURES, HISTORY, StudioMarket, artifact_of, deploy

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner(db):
    return User.objects.create_user("asha@example.com")  # without a password, whose hash takes a second


@pytest.fixture
def model(owner):
    return models.Model.objects.create(owner=owner, name="momentum", bar_seconds=DAY_SECONDS, symbols=["IBM"])


@pytest.fixture
def market(model, monkeypatch, django_capture_on_commit_callbacks):
    return StudioMarket(monkeypatch, partial(django_capture_on_commit_callbacks, execute=True))


def test_a_prediction_is_what_the_model_says_at_the_close(market, model):
    artifact = artifact_of()
    deploy(model, artifact)
    market.day()
    (made,) = market.taken("new_prediction")
    prediction = made["prediction"]
    number = market.day_number - 1
    expected = Predictor(artifact).probabilities(feature_matrix(HISTORY["IBM"], FEATURES)[[number]])[0]
    up = prediction["direction"] == "UP"
    assert up is bool(expected >= 0.5)
    assert prediction["probability"] == pytest.approx(expected if up else 1 - expected, rel=1e-12), "not rounded"
    assert (prediction["symbol"], prediction["price"]) == ("IBM", HISTORY["IBM"].close[number])
    assert (prediction["horizon_bars"], prediction["model_version"]) == (2, 1)
    row = models.Prediction.objects.get()
    assert (str(row.pk), row.bar_time) == (prediction["id"], BARS[2 * number].time)
    assert not market.taken("prediction_outcome")


@pytest.mark.parametrize(
    "label",
    [
        LabelSpec(horizon_bars=1),
        LabelSpec(horizon_bars=3),
        LabelSpec(kind="triple_barrier", horizon_bars=6, target_volatilities=0.7, stop_volatilities=0.5),
    ],
)
def test_outcomes_are_the_labels_of_training(market, model, label):
    deploy(model, artifact_of(label=label))
    days = 14
    market.day(days)
    series = HISTORY["IBM"].part(0, market.day_number)
    labels = labels_of(series, label)
    rows = list(models.Prediction.objects.order_by("bar_time"))
    assert len(rows) == days
    for index, row in enumerate(rows, start=market.day_number - days):
        known_at = labels.known_at[index]
        if known_at < 0:
            assert (row.correct, row.settled_at) == (None, None)
        else:
            assert row.outcome_price == series.close[known_at]
            assert row.correct is (bool(labels.up[index]) == (row.direction == "UP"))
    settled = [row for row in rows if row.settled_at is not None]
    assert len(settled) >= days - label.horizon_bars
    outcomes = [message["prediction"] for message in market.taken("prediction_outcome")]
    assert [outcome["id"] for outcome in sorted(outcomes, key=lambda o: o["bar_time"])] == [str(r.pk) for r in settled]
    assert all("outcome_price" in outcome and "correct" in outcome for outcome in outcomes)


def test_a_reached_barrier_is_told_before_the_horizon_ends(market, model):
    label = LabelSpec(kind="triple_barrier", horizon_bars=50, target_volatilities=0.1, stop_volatilities=0.1)
    deploy(model, artifact_of(label=label))
    market.day(8)
    assert models.Prediction.objects.exclude(correct=None).exists()


def test_models_share_features_and_each_predicts_all_its_symbols_at_once(market, owner, model, monkeypatch):
    every = models.Model.objects.create(owner=owner, name="every share", bar_seconds=DAY_SECONDS)
    deploy(model, artifact_of())
    deploy(every, artifact_of(features=("volatility_20", "rsi_14")))
    computed, predicted = [], []
    probabilities = Predictor.probabilities
    monkeypatch.setattr(
        prediction_room,
        "feature_matrix",
        lambda series, names: computed.append((series.symbol, tuple(names))) or feature_matrix(series, names),
    )
    monkeypatch.setattr(
        Predictor,
        "probabilities",
        lambda self, matrix: predicted.append(matrix.shape) or probabilities(self, matrix),
    )
    market.day()
    names = ("return_1", "volatility_20", "rsi_14")
    assert sorted(computed) == [("AAPL", names), ("IBM", names)]
    assert sorted(predicted) == [(1, 2), (2, 2)]
    assert set(models.Prediction.objects.values_list("model__name", "symbol")) == {
        ("momentum", "IBM"),
        ("every share", "IBM"),
        ("every share", "AAPL"),
    }


def test_two_bars_of_a_symbol_that_close_together_are_both_predicted_on(market, model):
    deploy(model, artifact_of(label=LabelSpec(horizon_bars=1)))
    market.rooms.take({DAY_SECONDS: [*market.next_bars(), *market.next_bars()]}, 0.0)
    first, second = models.Prediction.objects.order_by("bar_time")
    assert (first.price, second.price) == tuple(HISTORY["IBM"].close[market.day_number - 2 : market.day_number])
    market.day()
    first.refresh_from_db()
    assert first.outcome_price == second.price


def test_latency_runs_from_the_arrival_of_the_bars(market, model, monkeypatch):
    deploy(model, artifact_of())
    probabilities = Predictor.probabilities

    def slowly(self, matrix):
        market.clock.seconds += 0.25
        return probabilities(self, matrix)

    monkeypatch.setattr(Predictor, "probabilities", slowly)
    market.rooms.take({DAY_SECONDS: market.next_bars()}, market.clock.seconds - 0.5)
    assert market.taken("new_prediction")[0]["prediction"]["latency_ms"] == 750.0
    assert models.Prediction.objects.get().latency_ms == 750.0


def test_what_was_predicted_is_counted_by_day(market, model):
    model.counted_on, model.predictions_made = timezone.localdate() - timezone.timedelta(days=1), 99
    model.save()
    deploy(model, artifact_of(label=LabelSpec(horizon_bars=1)))
    market.day(5)
    model.refresh_from_db()
    correct = models.Prediction.objects.filter(correct=True).count()
    assert model.counted_on == timezone.localdate()
    assert (model.predictions_made, model.predictions_settled, model.predictions_correct) == (5, 4, correct)


def test_a_bar_without_enough_history_is_not_predicted_on(market, model):
    deploy(model, artifact_of(features=("return_1", "sma_50_distance")))
    market.day(50 - market.day_number - 1)
    assert not models.Prediction.objects.exists()
    market.day()
    assert models.Prediction.objects.count() == 1


def test_a_damaged_artifact_is_said_once_and_stops_no_other(market, owner, model, caplog):
    damaged = models.Model.objects.create(owner=owner, name="damaged", bar_seconds=DAY_SECONDS)
    deploy(damaged, artifact_of(), digest="0" * 64)
    unknown = models.Model.objects.create(owner=owner, name="old", bar_seconds=DAY_SECONDS)
    artifact = artifact_of()
    reference = tuple(
        type(r)("gone_1" if r.feature == "rsi_14" else r.feature, r.edges, r.shares, r.quantiles, r.rows)
        for r in artifact.reference
    )
    deploy(unknown, artifact_of(feature_names=("return_1", "gone_1"), reference=reference))
    deploy(model, artifact_of())
    market.day(3)
    assert set(models.Prediction.objects.values_list("model__name", flat=True)) == {"momentum"}
    said = [record for record in caplog.records if "cannot be used" in record.message]
    assert len(said) == 2
    deploy(damaged, artifact_of())
    market.day()
    assert models.Prediction.objects.filter(model=damaged).count() == 2


def test_a_model_that_fails_stops_no_other(market, owner, model, monkeypatch, caplog):
    other = models.Model.objects.create(owner=owner, name="other", bar_seconds=DAY_SECONDS, symbols=["IBM"])
    deploy(other, artifact_of(features=("return_1",)))
    deploy(model, artifact_of())
    probabilities = Predictor.probabilities
    monkeypatch.setattr(
        Predictor,
        "probabilities",
        lambda self, matrix: 1 / 0 if matrix.shape[1] == 1 else probabilities(self, matrix),
    )
    market.day()
    assert models.Prediction.objects.get().model == model
    assert "cannot predict" in caplog.text


def test_memory_follows_only_what_was_written(market, model, monkeypatch):
    deploy(model, artifact_of(label=LabelSpec(horizon_bars=1)))
    market.day()
    with monkeypatch.context() as broken:
        broken.setattr(models.Prediction.objects, "bulk_create", lambda rows, **options: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            market.day()
    assert models.Prediction.objects.filter(correct=None).count() == 1
    market.taken("new_prediction")
    market.day()
    (outcome,) = market.taken("prediction_outcome")
    assert models.Prediction.objects.get(pk=outcome["prediction"]["id"]).settled_at is not None
    assert len(market.taken("new_prediction")) == 1
    model.refresh_from_db()
    assert (model.predictions_made, model.predictions_settled) == (2, 1)


@pytest.mark.parametrize(("probability", "direction"), [(0.5, "UP"), (np.nextafter(0.5, 0.0), "DOWN")])
def test_a_tie_is_told_as_it_is_measured(market, model, monkeypatch, probability, direction):
    deploy(model, artifact_of(label=LabelSpec(horizon_bars=1)))
    monkeypatch.setattr(Predictor, "probabilities", lambda self, matrix: np.full(len(matrix), probability))
    seen = []
    monkeypatch.setattr(market.rooms.monitoring, "note", lambda deployment_id, noted: seen.extend(noted.outcomes))
    market.day(2)
    row = models.Prediction.objects.get(settled_at__isnull=False)
    assert row.direction == direction
    (outcome,) = seen
    assert row.correct is (guesses_up(outcome.probability_up) == outcome.went_up)


# Whoever predicted, and whatever happens: the outcome is told


def test_a_withdrawn_model_predicts_no_more_and_its_open_predictions_come_out(market, model):
    deploy(model, artifact_of(label=LabelSpec(horizon_bars=2)))
    market.day()
    deployments.withdraw(model)
    market.day(2)
    row = models.Prediction.objects.get()
    assert row.outcome_price == HISTORY["IBM"].close[market.day_number - 1]
    (outcome,) = market.taken("prediction_outcome")
    assert (outcome["prediction"]["id"], outcome["prediction"]["correct"]) == (str(row.pk), row.correct)
    model.refresh_from_db()
    assert (model.predictions_made, model.predictions_settled) == (1, 1)


def test_bars_of_a_withdrawn_model_are_kept_until_its_last_outcome(market, owner):
    minutes = models.Model.objects.create(owner=owner, name="minutes", bar_seconds=DAY_SECONDS, symbols=["IBM"])
    deploy(minutes, artifact_of(bar_seconds=60, label=LabelSpec(horizon_bars=1)))
    market.rooms.predictions.refresh()
    start = BARS[2 * market.day_number - 2].time - timezone.timedelta(hours=1)
    bars = [Bar("IBM", start + timezone.timedelta(minutes=n), *[10.0 + n % 3] * 4, 5.0) for n in range(16)]
    market.rooms.take({60: bars[:15]}, 0.0)
    opened = models.Prediction.objects.filter(settled_at=None)
    assert opened.count() == 1
    deployments.withdraw(minutes)
    market.day()
    assert 60 in market.rooms.store.lengths
    market.restarted()
    assert 60 in market.rooms.store.lengths
    market.rooms.take({60: bars[15:]}, 0.0)
    assert not opened.exists()
    market.day()
    assert market.rooms.store.lengths == {DAY_SECONDS}


def test_a_new_version_lets_the_old_ones_predictions_come_out(market, model):
    deploy(model, artifact_of(label=LabelSpec(horizon_bars=3)))
    market.day()
    deploy(model, artifact_of(label=LabelSpec(horizon_bars=1)))
    market.day(3)
    old = models.Prediction.objects.get(model_version=1)
    assert old.outcome_price == HISTORY["IBM"].close[market.day_number - 1]
    assert models.Prediction.objects.filter(model_version=2, settled_at=None).count() == 1


def test_after_a_restart_open_predictions_go_on(market, model):
    deploy(model, artifact_of(label=LabelSpec(horizon_bars=3)))
    market.day(2)
    market.restarted()
    market.day(2)
    outcomes = list(models.Prediction.objects.order_by("bar_time").values_list("outcome_price", flat=True))
    known = HISTORY["IBM"].close[market.day_number - 1]
    assert outcomes == [known, None, None, None]


def test_after_a_restart_earlier_versions_and_withdrawn_models_go_on(market, owner, model):
    withdrawn = models.Model.objects.create(owner=owner, name="withdrawn", bar_seconds=DAY_SECONDS, symbols=["IBM"])
    deploy(withdrawn, artifact_of(label=LabelSpec(horizon_bars=1)))
    deploy(model, artifact_of(label=LabelSpec(horizon_bars=3)))
    market.day()
    deployments.withdraw(withdrawn)
    deploy(model, artifact_of(label=LabelSpec(horizon_bars=2)))
    market.restarted()
    market.day(3)
    close = HISTORY["IBM"].close
    assert models.Prediction.objects.get(model=withdrawn).outcome_price == close[market.day_number - 3]
    assert models.Prediction.objects.get(model_version=1, model=model).outcome_price == close[market.day_number - 1]


def test_a_version_that_is_gone_or_damaged_leaves_only_its_own_open(market, owner, model, caplog):
    horizon = LabelSpec(horizon_bars=1)
    others = [models.Model.objects.create(owner=owner, name=name, bar_seconds=DAY_SECONDS) for name in ("lost", "odd")]
    for each in (*others, model):
        deploy(each, artifact_of(label=horizon))
    market.day()
    models.Deployment.objects.filter(model__in=others).delete()
    models.Artifact.objects.filter(model=others[0]).delete()
    models.Artifact.objects.filter(model=others[1]).update(digest="0" * 64)
    market.restarted()
    market.day()
    assert set(models.Prediction.objects.exclude(settled_at=None).values_list("model__name")) == {("momentum",)}
    assert caplog.text.count("stay open") == 1


def test_another_markets_bars_tell_no_outcome(market, model):
    deploy(model, artifact_of(label=LabelSpec(horizon_bars=1)))
    market.day()
    models.Prediction.objects.update(price=1.0)  # as if it was made where the share stood elsewhere
    market.restarted()
    market.day()
    assert not models.Prediction.objects.exclude(settled_at=None).exists()


# Models that are deleted


def test_a_deleted_models_open_predictions_are_followed_no_more(market, owner, model):
    doomed = models.Model.objects.create(owner=owner, name="doomed", bar_seconds=DAY_SECONDS, symbols=["IBM"])
    for each in (doomed, model):
        deploy(each, artifact_of(label=LabelSpec(horizon_bars=1)))
    market.day()
    services.delete_model(doomed)
    market.day(2)
    assert set(models.Prediction.objects.values_list("model__name")) == {("momentum",)}
    assert models.Prediction.objects.exclude(settled_at=None).count() == 2


@pytest.mark.django_db(transaction=True)  # a missing model is found at the commit
def test_a_model_that_is_deleted_meanwhile_costs_no_other_its_predictions(owner, model, monkeypatch):
    market = StudioMarket(monkeypatch)
    doomed = models.Model.objects.create(owner=owner, name="doomed", bar_seconds=DAY_SECONDS, symbols=["IBM"])
    for each in (doomed, model):
        deploy(each, artifact_of(label=LabelSpec(horizon_bars=1)))
    market.day()
    probabilities = Predictor.probabilities

    def delete_meanwhile(self, matrix):
        if models.Model.objects.filter(pk=doomed.pk).exists():
            services.delete_model(models.Model.objects.get(pk=doomed.pk))
        return probabilities(self, matrix)

    monkeypatch.setattr(Predictor, "probabilities", delete_meanwhile)
    market.published.clear()
    market.day()
    assert {message["prediction"]["id"] for message in market.taken("new_prediction")} == {
        str(pk) for pk in models.Prediction.objects.filter(settled_at=None).values_list("pk", flat=True)
    }
    assert len(market.taken("prediction_outcome")) == 1
    assert [row.model for row in models.Prediction.objects.all()] == [model, model]
    model.refresh_from_db()
    assert (model.predictions_made, model.predictions_settled) == (2, 1)


def test_a_version_that_is_deleted_before_it_is_read_is_left_out(market, owner, model, monkeypatch, caplog):
    doomed = models.Model.objects.create(owner=owner, name="doomed", bar_seconds=DAY_SECONDS)
    gone = deploy(doomed, artifact_of())
    deploy(model, artifact_of())
    read = deployed_models._read

    def read_late(artifact_id, digest):
        if artifact_id == gone.artifact_id:
            services.delete_model(doomed)
        return read(artifact_id, digest)

    monkeypatch.setattr(deployed_models, "_read", read_late)
    market.day()
    assert models.Prediction.objects.get().model == model
    assert "cannot be used" not in caplog.text


# Markets that behave oddly


def test_what_the_market_went_on_without_stays_open(market, model):
    deploy(model, artifact_of(label=LabelSpec(horizon_bars=1)))
    market.day(2)
    last = market.day_number

    class Live(type(market.restarted().store._feed)):
        is_live = True

    market.restarted(Live(0))  # today: years of bars were missed
    market.day()
    rows = models.Prediction.objects.order_by("bar_time")
    assert [row.settled_at is None for row in rows] == [False, True, True]
    assert rows[1].bar_time == BARS[2 * last - 2].time


def test_a_market_that_goes_back_leaves_what_comes_after_open(market, model):
    deploy(model, artifact_of(label=LabelSpec(horizon_bars=5)))
    market.day(3)
    market.day_number -= 3
    market.day()
    market.day(5)
    assert models.Prediction.objects.exclude(settled_at=None).exists()
    assert np.isfinite([row.price for row in models.Prediction.objects.all()]).all()


def test_a_price_that_stands_still_has_no_barrier_and_no_outcome(market, owner):
    still = models.Model.objects.create(owner=owner, name="still", bar_seconds=60, symbols=["IBM"])
    label = LabelSpec(kind="triple_barrier", horizon_bars=2)
    deploy(still, artifact_of(bar_seconds=60, label=label))
    market.rooms.predictions.refresh()
    start = BARS[-1].time
    for number in range(30):
        bar = Bar("IBM", start + timezone.timedelta(minutes=number), 10.0, 10.0, 10.0, 10.0, 5.0)
        market.rooms.take({60: [bar]}, 0.0)
    assert models.Prediction.objects.filter(settled_at=None).count() == 30 - 14
    assert sum(map(len, market.rooms.predictions._open.values())) == 2


def test_bars_of_another_length_are_not_predicted_on(market, model):
    deploy(model, artifact_of(bar_seconds=60))
    market.day(2)
    assert not models.Prediction.objects.exists()
    assert market.rooms.store.lengths == {60, DAY_SECONDS}


def test_a_broken_bar_costs_only_its_symbol(market, owner, model, caplog):
    every = models.Model.objects.create(owner=owner, name="every share", bar_seconds=DAY_SECONDS)
    deploy(every, artifact_of())
    aapl, ibm = market.next_bars()
    market.rooms.take({DAY_SECONDS: [Bar(aapl.symbol, aapl.time, 0.0, 0.0, 0.0, 0.0), ibm]}, 0.0)
    assert models.Prediction.objects.get().symbol == "IBM"
    assert "no features of AAPL" in caplog.text


def test_history_is_as_the_test_thinks():
    assert [bar.symbol for bar in BARS[:4]] == ["AAPL", "IBM"] * 2
    assert history_of(BARS[:80])["IBM"].close.tolist() == HISTORY["IBM"].close[:40].tolist()
