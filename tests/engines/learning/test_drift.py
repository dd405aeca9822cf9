import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, kstwo, norm

from engines.learning.artifact import reference_of
from engines.learning.drift import (
    PageHinkley,
    Reference,
    effective_rows,
    kolmogorov_smirnov,
    population_stability,
)

FEATURES = ("a", "b", "c")


def normal(seed, rows, shift=0.0):
    return np.random.default_rng(seed).normal(size=(rows, len(FEATURES))) + shift


def reference(matrix):
    return Reference.of([reference_of(name, column) for name, column in zip(FEATURES, matrix.T, strict=True)])


TRAINING = normal(1, 20_000)
REFERENCE = reference(TRAINING)


def test_stability_is_the_textbooks_sum():
    """Two bins, 50 and 50 % of a million rows, then 80 and 20 % of 1,000: 0.3 ln 1.6 + 0.3 ln 2.5 = 0.4159."""
    shape = msgspec.structs.replace(
        reference_of("a", np.array([0.0, 1.0])), edges=(0.5,), shares=(0.5, 0.5), rows=1_000_000
    )
    live = np.repeat([0.0, 1.0], [800, 200])[:, np.newaxis]
    assert population_stability(Reference.of([shape]), live)[0] == pytest.approx(0.4159, abs=2e-3)


def test_stability_of_the_same_rows_is_nothing_and_noise_is_what_chance_makes_of_it():
    assert population_stability(REFERENCE, TRAINING) == pytest.approx(np.zeros(3), abs=1e-9)
    by_chance = np.mean([population_stability(REFERENCE, normal(seed, 500)) for seed in range(2, 42)])
    assert by_chance == pytest.approx(9 / 500, rel=0.15)  # (bins - 1) (1 / live rows + 1 / training rows)


def test_a_shift_of_one_column_shows_in_that_column_only():
    live = normal(3, 500)
    live[:, 1] += 1
    psi = population_stability(REFERENCE, live)
    distance, p_value = kolmogorov_smirnov(REFERENCE, live)
    assert psi[1] > 0.5
    assert max(psi[0], psi[2]) < 0.1
    assert distance[1] == pytest.approx(2 * norm.cdf(0.5) - 1, abs=0.06)  # of two normals a deviation apart
    assert p_value[1] < 1e-9
    assert min(p_value[0], p_value[2]) > 0.01


def test_a_bin_that_nobody_is_in_is_counted_as_half_a_row():
    above = np.full((500, 3), 9.0)  # beyond all that training saw
    tenth, live = (2_000 + 0.5) / 20_005, np.array([0.5] * 9 + [500.5]) / 505
    expected = np.sum((live - tenth) * np.log(live / tenth))
    assert population_stability(REFERENCE, above) == pytest.approx(np.full(3, expected), rel=1e-3)


def test_distance_and_p_value_are_scipys():
    for seed, rows, shift in ((5, 100, 0.0), (6, 500, 0.1), (7, 1_000, 0.3)):
        live = normal(seed, rows, shift)
        distance, p_value = kolmogorov_smirnov(REFERENCE, live)
        for j in range(3):
            expected = kstest(live[:, j], TRAINING[:, j], method="asymp")
            assert distance[j] == pytest.approx(expected.statistic, abs=0.011)  # one of a hundred quantiles
            exact = kstwo.sf(distance[j], round(rows * 20_000 / (rows + 20_000)))
            assert p_value[j] == pytest.approx(exact, rel=0.1, abs=1e-9)


@given(
    training=st.lists(st.integers(-3, 3), min_size=30, max_size=200),
    live=st.lists(st.integers(-4, 4), min_size=5, max_size=60),
)
@settings(max_examples=15, deadline=None)
def test_ties_and_steps_are_compared_like_anything_else(training, live):
    """Features that take few values: the distance is that of the two step functions, to what quantiles cannot say."""
    shape = reference_of("a", np.array(training, dtype=np.float64))
    column = np.array(live, dtype=np.float64)
    distance, p_value = kolmogorov_smirnov(Reference.of([shape]), column[:, np.newaxis])
    of_steps = max(abs(np.mean(column <= x) - np.mean(np.array(training) <= x)) for x in range(-4, 5))
    assert distance[0] >= of_steps - 0.02 - 1 / len(training)
    assert 0 <= p_value[0] <= 1
    psi = population_stability(Reference.of([shape]), column[:, np.newaxis])[0]
    assert psi >= -1e-12
    assert math.isfinite(psi)


def test_a_feature_of_one_value_can_be_compared():
    shape = reference_of("a", np.zeros(500))
    same, other = np.zeros((200, 1)), np.full((200, 1), 1e-3)
    for live, expected in ((same, 0.0), (other, 1.0)):
        distance, _ = kolmogorov_smirnov(Reference.of([shape]), live)
        assert distance[0] == expected
    assert population_stability(Reference.of([shape]), same)[0] < 0.01


def test_features_of_few_values_stand_beside_others():
    """Fewer edges than the rest, in any place, change nothing for anybody."""
    rng = np.random.default_rng(13)
    live, training = (
        np.column_stack((rng.integers(0, 3, rows), rng.normal(size=rows), np.zeros(rows))) for rows in (300, 5_000)
    )
    together = reference(training)
    for j, name in enumerate(FEATURES):
        alone, column = Reference.of([reference_of(name, training[:, j])]), live[:, j : j + 1]
        assert population_stability(together, live)[j] == pytest.approx(population_stability(alone, column)[0])
        assert kolmogorov_smirnov(together, live)[0][j] == kolmogorov_smirnov(alone, column)[0][0]


def test_what_single_precision_cannot_tell_apart_has_no_distance():
    values = 1 + np.random.default_rng(8).normal(size=5_000) * 1e-9
    distance, p_value = kolmogorov_smirnov(Reference.of([reference_of("a", values)]), values[:500, np.newaxis])
    assert (distance[0], p_value[0]) == (0, 1)


def test_rows_that_are_alike_count_less():
    rng = np.random.default_rng(9)
    independent = rng.normal(size=(500, 200))
    assert np.median(effective_rows(independent)) > 400
    by_moment = np.repeat(rng.normal(size=(50, 200)), 10, axis=0)  # ten shares that move as one
    assert 30 < np.median(effective_rows(by_moment)) < 80
    trend = np.linspace(0, 1, 500)[:, np.newaxis]
    assert effective_rows(trend)[0] < 15
    assert effective_rows(np.zeros((500, 1)))[0] == 500  # one that stands still hides nothing
    assert effective_rows(trend[:7])[0] == 7


def test_with_fewer_independent_rows_a_distance_says_less():
    live = normal(10, 500, shift=0.3)
    _, p_all = kolmogorov_smirnov(REFERENCE, live)
    _, p_few = kolmogorov_smirnov(REFERENCE, live, np.full(3, 20.0))
    assert (p_all < 0.001).all()
    assert (p_few > 0.01).all()


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"shares": (0.5, 0.6)}, "edges"),
        ({"shares": (0.5,) * 10}, "1 together"),
        ({"edges": (1.0,) * 9}, "ascending"),
        ({"quantiles": (1.0, 0.0)}, "do not fall"),
        ({"quantiles": (0.0, math.nan)}, "do not fall"),
        ({"rows": 0}, "0 rows"),
    ],
)
def test_a_reference_that_cannot_be_is_refused(change, wrong):
    shape = msgspec.structs.replace(reference_of("rsi_14", TRAINING[:, 0]), **change)
    with pytest.raises(ValueError, match=wrong) as refused:
        Reference.of([shape])
    assert "rsi_14" in str(refused.value)


def test_what_does_not_fit_the_reference_is_refused():
    shape = reference_of("a", TRAINING[:, 0])
    with pytest.raises(ValueError, match="two references"):
        Reference.of([shape, shape])
    other = msgspec.structs.replace(shape, feature="b", quantiles=(0.0, 1.0))
    with pytest.raises(ValueError, match="numbers of quantiles"):
        Reference.of([shape, other])
    with pytest.raises(ValueError, match="no features"):
        Reference.of([])
    for live in (np.zeros((5, 2)), np.zeros((0, 3)), np.zeros(3)):
        with pytest.raises(ValueError, match="3 features"):
            population_stability(REFERENCE, live)


def first_rise(test, values):
    return next(((place, rise) for place, value in enumerate(values) if (rise := test.add(value)) is not None), None)


def test_page_hinkley_sees_a_rise_and_says_how_much():
    rng = np.random.default_rng(11)
    values = np.concatenate((rng.normal(0.5, 0.2, 400), rng.normal(0.8, 0.2, 400)))
    place, rise = first_rise(PageHinkley(), values)
    assert 430 < place < 500  # threshold / (1.5 deviations - tolerance) = 40 later, a little more as the mean follows
    assert rise.before == pytest.approx(0.5, abs=0.03)
    assert rise.after == pytest.approx(0.8, abs=0.06)
    assert rise.tolerated == pytest.approx(0.25 * 0.2, abs=0.03)


def test_page_hinkley_hears_no_rise_where_there_is_none():
    for seed in range(5):
        rng = np.random.default_rng(seed)
        assert first_rise(PageHinkley(), rng.normal(0.7, 0.3, 3_000)) is None
        assert first_rise(PageHinkley(), np.linspace(1, 0, 1_000)) is None  # it may fall
    assert first_rise(PageHinkley(), [0.6931] * 1_000) is None
    assert first_rise(PageHinkley(), [0.0] * 29 + [13.8]) is None  # too early to judge


def test_page_hinkley_begins_anew_after_a_rise():
    test = PageHinkley(threshold=5.0)
    values = [0.5, 0.6] * 20 + [2.0] * 5
    assert first_rise(test, values) is not None
    assert test.count < 5
    assert first_rise(test, [2.0, 2.1] * 50) is None  # the new mean is the usual now
    with pytest.raises(ValueError, match="nan"):
        test.add(math.nan)


@given(values=st.lists(st.floats(0, 13.8), max_size=80), cut=st.integers(0, 80), threshold=st.floats(1, 20))
@settings(max_examples=20, deadline=None)
def test_page_hinkley_goes_on_from_its_state(values, cut, threshold):
    whole = PageHinkley(threshold=threshold, min_values=5)
    first = PageHinkley(threshold=threshold, min_values=5)
    expected = [whole.add(value) for value in values]
    found = [first.add(value) for value in values[:cut]]
    second = msgspec.json.decode(msgspec.json.encode(first), type=PageHinkley)
    assert found + [second.add(value) for value in values[cut:]] == expected
    assert second == whole


@given(st.lists(st.floats(0, 13.8), min_size=1, max_size=80))
@settings(max_examples=20, deadline=None)
def test_page_hinkleys_mean_and_deviation_are_numpys(values):
    test = PageHinkley(threshold=1e9, least_deviation=0.0)
    for value in values:
        test.add(value)
    assert test.mean == pytest.approx(np.mean(values), abs=1e-9)
    assert test.deviation == pytest.approx(np.std(values), abs=1e-6)
