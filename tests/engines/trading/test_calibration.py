import asyncio
import math
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss

from engines.market.quotes import DAY_SECONDS, Bar
from engines.trading import calibrate
from engines.trading.calibration import (
    PATH,
    PRIOR_SIGNALS,
    Calibration,
    Outcome,
    fit,
    load_file,
    shrunk_rate,
    split_moment,
    wilson_interval,
)
from engines.trading.calibration_page import page
from engines.trading.signals import MAX_AGE_BARS
from engines.trading.strategies.base import all_strategies

ROOT = Path(__file__).parents[3]
START = datetime(2026, 1, 5, 4, tzinfo=UTC)
HOUR = timedelta(hours=1)


def outcomes(count, rate_of, seed=1):
    """Signals one hour apart that last half an hour, with scores 0 to 1; `rate_of(score)` hit."""
    rng = random.Random(seed)
    made = []
    for number in range(count):
        score = rng.random()
        hit = rng.random() < rate_of(score)
        opened = START + number * HOUR
        status = "TARGET_HIT" if hit else rng.choice(["STOP_HIT", "STOP_HIT", "EXPIRED"])
        made.append(Outcome(score, 0.4, opened, opened + HOUR / 2, status, 1.5 if hit else -1.0))
    return made


def table_of(made, share=0.7):
    return fit(made, made[int(share * len(made))].opened_at)


def test_a_score_that_tells_makes_the_probability_follow_it():
    table = table_of(outcomes(4_000, lambda score: 0.2 + 0.5 * score))
    probabilities = [bin_.probability for bin_ in table.bins]
    assert probabilities == sorted(probabilities)
    assert table.probability(0.05) == pytest.approx(0.25, abs=0.06)
    assert table.probability(0.95) == pytest.approx(0.65, abs=0.06)
    assert table.probability(-5.0) == probabilities[0]
    assert table.probability(5.0) == probabilities[-1]
    assert table.brier < table.brier_base_rate < table.brier_driftless
    for bin_ in table.bins:
        low, high = wilson_interval(bin_.tested_hits, bin_.tested_signals)
        assert low - 0.03 < bin_.probability < high + 0.03


def test_a_score_that_says_nothing_gives_all_one_rate_mostly():
    tables = [table_of(outcomes(1_000, lambda score: 0.4, seed)) for seed in range(20)]
    assert sum(table.prior_signals is None for table in tables) >= 8
    for table in tables:
        assert all(abs(bin_.probability - 0.4) < 0.1 for bin_ in table.bins)
        if table.prior_signals is None:
            assert {bin_.probability for bin_ in table.bins} == {table.base_rate}


def test_few_signals_say_little_beyond_the_driftless_rate():
    made = outcomes(60, lambda score: 1.0)
    table = table_of(made)
    assert len(table.bins) == 1
    trained = table.trained.signals
    assert table.base_rate == pytest.approx((trained + PRIOR_SIGNALS * 0.4) / (trained + PRIOR_SIGNALS), abs=1e-4)
    assert shrunk_rate(0, 0, 0.4, PRIOR_SIGNALS) == pytest.approx(0.4)


def test_the_split_in_time_is_clean():
    made = outcomes(200, lambda score: 0.5)
    split = made[140].opened_at + HOUR / 4  # while this one was open
    table = fit(made, split)
    assert (table.trained.signals, table.tested.signals) == (140, 59)
    later = [msgspec.structs.replace(o, status="STOP_HIT") if o.opened_at > split else o for o in made]
    other = fit(later, split)
    assert [bin_.probability for bin_ in other.bins] == [bin_.probability for bin_ in table.bins]
    assert other.tested.hits == 0
    with pytest.raises(ValueError, match="at least two clusters"):
        fit(made, made[0].opened_at)
    moments = [START + n * HOUR for n in range(10)]
    assert split_moment([*moments, *moments]) == moments[7]


def test_numbers_agree_with_an_independent_library():
    made = outcomes(900, lambda score: 0.2 + 0.5 * score)
    table = table_of(made)
    tested = made[630:]
    hits = [outcome.hit for outcome in tested]
    assert table.brier == pytest.approx(brier_score_loss(hits, [table.probability(o.score) for o in tested]), abs=1e-4)
    assert table.brier_driftless == pytest.approx(brier_score_loss(hits, [0.4] * len(hits)), abs=1e-4)
    assert table.tested.mean_r == pytest.approx(sum(o.realised_r for o in tested) / len(tested), abs=1e-4)
    # Newcombe (1998), table I: 81 of 263 gives 0.2553 to 0.3662; 15 of 148: 0.0624 to 0.1605.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=1e-4)


def test_signals_that_go_together_make_the_interval_wider():
    made = []
    for number in range(200):  # each day ten signals with one fate
        hit = random.Random(number).random() < 0.4
        opened = START + timedelta(days=number)
        status = "TARGET_HIT" if hit else "STOP_HIT"
        made += [Outcome(0.5, 0.4, opened, opened, status, 1.5 if hit else -1.0)] * 10
    split = START + timedelta(days=100)
    by_day, alone = fit(made, split), fit(made, split, cluster=lambda moment: object())
    assert by_day.tested_high - by_day.tested_low > 2.5 * (alone.tested_high - alone.tested_low)


@given(st.floats(allow_nan=False))
def test_any_score_has_a_probability(score):
    for market in ("daily", "simulated"):
        calibration = Calibration.load(market)
        for name in calibration.tables:
            assert 0 < calibration.probability(name, score, driftless_rate=0.4) < 1


def test_what_was_not_measured_has_the_driftless_rate():
    live = Calibration.load("live")
    assert (live.bar_seconds, live.tables) == (60, {})
    assert live.probability("trend", 30.0, driftless_rate=0.4) == 0.4
    assert Calibration.load("daily").probability("unheard of", 30.0, driftless_rate=0.25) == 0.25
    with pytest.raises(ValueError, match="must be a number"):
        live.probability("trend", math.nan, driftless_rate=0.4)


# What is shipped


def test_the_page_shows_the_shipped_numbers():
    assert calibrate.PAGE.read_text(encoding="utf-8") == page(load_file())
    assert load_file().max_age_bars == MAX_AGE_BARS


def test_every_strategy_was_measured_on_both_markets():
    names = [strategy.name for strategy in all_strategies()]
    assert [list(market.tables) for market in load_file().markets.values()] == [names, names]
    assert (Calibration.load("daily").bar_seconds, Calibration.load("simulated").bar_seconds) == (DAY_SECONDS, 60)
    assert str(ROOT) not in PATH.read_text(encoding="utf-8")


def test_the_command_writes_the_same_each_time(tmp_path):
    tables, shown = tmp_path / "tables.json", tmp_path / "page.md"
    calibrate.main(["--sessions", "5", "--seed", "5", "--json", str(tables), "--page", str(shown)])
    written = load_file(tables)
    assert shown.read_text(encoding="utf-8") == page(written)
    assert written.markets["daily"] == load_file().markets["daily"]
    shares = []
    again = asyncio.run(calibrate.measure_simulated(5, 5, shares.append))
    assert written.markets["simulated"] == again
    assert shares == sorted(shares)
    assert len(again.symbols) == 14
    assert again.bars > 5 * 370 * 14


def test_bars_without_signals_cannot_be_measured():
    flat = [Bar("X", START + timedelta(days=n), 100, 100, 100, 100) for n in range(200)]
    with pytest.raises(ValueError, match="0 signals of 0 clusters before"):
        calibrate.measure_bars(flat, DAY_SECONDS, "flat", lambda done: None)
