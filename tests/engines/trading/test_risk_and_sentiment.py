from decimal import Decimal

import pytest

from engines.trading.book import Position
from engines.trading.risk import RiskLimits, RiskMonitor
from engines.trading.sentiment import label_of, sentiments

LIMITS = RiskLimits(daily_loss=0.02, concentration=0.25)
VALUE = Decimal(100_000)


def check(monitor, value=VALUE, positions=()):
    return [(b.rule, b.severity) for b in monitor.check(LIMITS, VALUE, Decimal(value), positions)]


def test_levels_are_reported_once_and_again_only_after_a_clear_recovery():
    monitor = RiskMonitor()
    assert check(monitor, 98_500) == []
    assert check(monitor, 98_400) == [("daily_loss", "WARNING")]
    assert check(monitor, 98_399) == check(monitor, 98_450) == check(monitor, 98_399) == []
    assert check(monitor, 98_000) == [("daily_loss", "CRITICAL")]
    assert check(monitor, 98_300) == []
    assert check(monitor, 98_000) == [("daily_loss", "CRITICAL")]
    assert check(monitor, 100_000) == []
    assert check(monitor, 97_000) == [("daily_loss", "WARNING"), ("daily_loss", "CRITICAL")]


def test_concentration_counts_short_positions_and_closed_ones_rearm():
    monitor = RiskMonitor()
    short = Position("X", -300, Decimal(100), Decimal(100))
    assert check(monitor, positions=[short]) == [("concentration", "WARNING"), ("concentration", "CRITICAL")]
    assert check(monitor, positions=[Position("X")]) == []
    assert len(check(monitor, positions=[short])) == 2


def test_nan_never_disables_a_rule():
    assert ("daily_loss", "CRITICAL") in check(RiskMonitor(), "NaN")


def test_an_account_worth_nothing_is_all_concentration():
    assert ("concentration", "CRITICAL") in check(RiskMonitor(), 0, [Position("X", 1, Decimal(1), Decimal(1))])


def test_sentiment_of_a_rising_market():
    market, *symbols = sentiments({"A": 100, "B": 100, "C": 100}, {"A": 101, "B": 102, "C": 100})
    assert market.scope == "MARKET"
    assert market.components["breadth"] == pytest.approx(2 / 3, abs=1e-4)
    assert market.score == pytest.approx(sum(market.components.values()) / 2, abs=1e-4)
    assert market.label == "BULLISH"
    assert {s.scope: s.label for s in symbols} == {"A": "BULLISH", "B": "BULLISH", "C": "NEUTRAL"}


def test_sentiment_leaves_out_what_has_no_price():
    assert sentiments({"A": 0.0}, {"A": 1.0, "B": 1.0}) == []
    assert [s.scope for s in sentiments({"A": 1.0, "B": 1.0}, {"A": 1.0, "B": float("nan")})] == ["MARKET", "A"]


@pytest.mark.parametrize(("score", "label"), [(-0.3, "BEARISH"), (0.2, "NEUTRAL"), (0.21, "BULLISH")])
def test_labels(score, label):
    assert label_of(score) == label
