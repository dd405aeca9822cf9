"""What monitoring makes of markets in which shares move together and labels overlap."""

import itertools

import msgspec
import numpy as np
import pytest

from engines.learning import monitoring_report
from engines.learning.alerts import Limits
from engines.learning.monitoring_report import Case, Simulated, calibrated, outcomes_of, page_with, table, worse

SHIPPED = Case(spread=0.0, shares=14, horizon_bars=5)  # what the shipped model answers, at the default horizon


@pytest.fixture(scope="module")
def simulated():
    return msgspec.json.decode(monitoring_report.PATH.read_bytes(), type=Simulated)


def test_the_page_shows_what_was_simulated(simulated):
    page = monitoring_report.PAGE.read_text(encoding="utf-8")
    assert page_with(page, simulated) == page
    assert table(simulated) in page
    stated = f"of {simulated.runs} runs of {simulated.moments:,} moments"
    assert stated in " ".join(page.split())
    with pytest.raises(ValueError, match="no lines"):
        page_with("another page", simulated)


def test_it_was_simulated_with_the_limits_as_they_are(simulated):
    assert simulated.limits == Limits()
    models, shares, horizons = monitoring_report.MODELS.values(), (14, 1), (1, 5, 20)
    cases = itertools.product(models, shares, horizons)
    assert [msgspec.structs.astuple(found.case) for found in simulated.found] == list(cases)


def test_the_market_is_as_it_is_said_to_be():
    truth = np.full((20_000, 2), 0.566)
    up = outcomes_of(truth, 5, np.random.default_rng(1)).astype(float)
    assert up.mean() == pytest.approx(0.566, abs=0.02)
    assert np.corrcoef(up[:, 0], up[:, 1])[0, 1] == pytest.approx(2 / np.pi * np.arcsin(0.4), abs=0.04)
    assert np.corrcoef(up[5:, 0], up[:-5, 0])[0, 1] == pytest.approx(0, abs=0.03)
    assert np.corrcoef(up[1:, 0], up[:-1, 0])[0, 1] == pytest.approx(2 / np.pi * np.arcsin(0.8), abs=0.03)


@pytest.mark.parametrize(
    ("case", "moments", "runs"),
    [
        (SHIPPED, 150, 8),
        (msgspec.structs.replace(SHIPPED, horizon_bars=1), 100, 5),
        (Case(spread=0.0, shares=1, horizon_bars=20), 250, 8),
        (Case(spread=0.08, shares=1, horizon_bars=1), 150, 6),
    ],
)
def test_alerts_by_chance_are_rare(case, moments, runs):
    raised = [calibrated(case, moments, seed) for seed in range(runs)]
    assert not any(each.severity == "CRITICAL" for run in raised for each in run)
    assert sum(bool(run) for run in raised) <= 1


def test_a_model_that_lost_its_skill_is_told_all_the_same():
    case = Case(spread=0.25, shares=14, horizon_bars=5)
    for is_reversed in (False, True):
        after = worse(case, 1, is_reversed=is_reversed, good=20, bad=200)
        assert after is not None
        assert after <= 150
