import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.learning.artifact import (
    FORMAT,
    Artifact,
    ArtifactDamaged,
    FoldModel,
    Predictor,
    bin_shares,
    decode,
    digest_of,
    encode,
    out_of_sample,
    reference_of,
)
from engines.learning.calibration import Platt, sigmoid
from engines.learning.estimators import Boosted, Logistic
from engines.learning.features import feature_matrix
from engines.learning.spec import TrainingSpec
from tests.engines.learning.histories import DAY, START, noise

NAMES = ("return_1", "rsi_14")


def constant(probability):
    """An estimator that always says this."""
    return Logistic((0.0, 0.0), (1.0, 1.0), (0.0, 0.0), float(np.log(probability / (1 - probability))))


def artifact(**changes):
    fold = FoldModel(START + 40 * DAY, START + 50 * DAY, START + 59 * DAY, constant(0.6), Platt())
    later = FoldModel(START + 55 * DAY, START + 62 * DAY, START + 70 * DAY, constant(0.7), Platt(1.0, 0.0))
    values = np.random.default_rng(1).normal(size=(500, 2))
    return Artifact(
        **{
            "format": FORMAT,
            "spec": TrainingSpec(algorithm="logistic", features=NAMES),
            "feature_names": NAMES,
            "symbols": ("A",),
            "bar_seconds": DAY,
            "data_from": START,
            "data_until": START + 79 * DAY,
            "rows": 500,
            "versions": {"python": "3"},
            "estimator": Logistic((0.0, 50.0), (0.01, 10.0), (0.3, -0.2), 0.1),
            "calibrator": Platt(0.5, 0.2),
            "folds": (fold, later),
            "metrics": {"log_loss": 0.69},
            "baseline": {"log_loss": 0.7},
            "fold_metrics": ({"log_loss": 0.68}, {"log_loss": 0.7}),
            "reference": tuple(reference_of(name, values[:, column]) for column, name in enumerate(NAMES)),
        }
        | changes
    )


CONTENT = encode(artifact())
DIGEST = digest_of(CONTENT)


def decode_as_stored(changed):
    content = encode(changed)
    return decode(content, digest_of(content))


def test_it_survives_being_stored():
    assert decode(CONTENT, DIGEST) == artifact()
    assert encode(decode(CONTENT, DIGEST)) == CONTENT


@settings(max_examples=25, deadline=None)
@given(place=st.integers(0, len(CONTENT) - 1), bits=st.integers(1, 255))
def test_a_changed_byte_is_noticed(place, bits):
    changed = bytearray(CONTENT)
    changed[place] ^= bits
    with pytest.raises(ArtifactDamaged, match="was changed after it was stored"):
        decode(bytes(changed), DIGEST)


@settings(max_examples=25, deadline=None)
@given(place=st.integers(0, len(CONTENT) - 1), bits=st.integers(1, 255))
def test_changed_bytes_with_a_digest_to_match_are_refused_or_an_artifact_that_predicts(place, bits):
    changed = bytearray(CONTENT)
    changed[place] ^= bits
    try:
        predictor = Predictor(decode(bytes(changed), digest_of(changed)))
    except ArtifactDamaged:
        return
    predictor.probabilities(np.zeros((1, 2)))


@settings(max_examples=25, deadline=None)
@given(st.binary(max_size=300))
def test_garbage_is_refused(garbage):
    with pytest.raises(ArtifactDamaged, match="cannot be read"):
        decode(garbage, digest_of(garbage))


def test_a_cut_artifact_is_refused():
    for length in range(0, len(CONTENT), 500):
        with pytest.raises(ArtifactDamaged):
            decode(CONTENT[:length], digest_of(CONTENT[:length]))


def test_no_digest_is_no_permission():
    for digest in ("", "é", DIGEST.upper()):
        with pytest.raises(ArtifactDamaged, match="was changed"):
            decode(CONTENT, digest)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "has format 2; this version reads format 1"),
        ({"feature_names": (*NAMES, "adx_14")}, "names 3 features, an estimator in it takes 2"),
        ({"estimator": Logistic((0.0,), (1.0,), (1.0,), 0.0)}, "names 2 features, an estimator in it takes 1"),
        ({"estimator": Boosted("tree")}, "not a whole LightGBM model"),
        ({"feature_names": NAMES[::-1]}, "training reference is of other features"),
        ({"fold_metrics": ()}, "has 2 folds, 0 of them measured"),
        ({"reference": artifact().reference[:1]}, "training reference is of other features"),
        ({"calibrator": Platt(float("nan"), 0.0)}, "cannot be read"),
    ],
)
def test_parts_that_do_not_fit_are_named(changes, message):
    with pytest.raises(ArtifactDamaged, match=message):
        decode_as_stored(artifact(**changes))


def test_a_reference_that_is_not_whole_is_named():
    first, second = artifact().reference
    for damaged in (msgspec.structs.replace(second, shares=(1.0,)), msgspec.structs.replace(second, quantiles=(1.0,))):
        with pytest.raises(ArtifactDamaged, match="training reference of rsi_14 is not whole"):
            decode_as_stored(artifact(reference=(first, damaged)))


def test_a_folds_estimator_is_checked_too():
    fold = artifact().folds[0]
    damaged = msgspec.structs.replace(fold, estimator=Logistic((0.0,), (1.0, 1.0), (1.0,), 0.0))
    with pytest.raises(ArtifactDamaged, match="differ in length"):
        decode_as_stored(artifact(folds=(damaged, fold)))


def test_the_predictor_computes_what_the_numbers_say():
    matrix = np.array([[0.02, 40.0], [np.nan, 50.0], [0.0, 50.0], [np.inf, 50.0]])
    probability = Predictor(artifact()).probabilities(matrix)
    assert probability[[0, 2]] == pytest.approx(sigmoid(0.5 * np.array([0.3 * 2 + 0.2 + 0.1, 0.1]) + 0.2))
    assert np.isnan(probability[[1, 3]]).all()
    assert Predictor(artifact()).probabilities(matrix[:0]).shape == (0,)
    for wrong in (np.zeros((2, 3)), np.zeros(2)):
        with pytest.raises(ValueError, match="2 columns are needed"):
            Predictor(artifact()).probabilities(wrong)


def test_trees_that_lightgbm_refuses_are_damage():
    broken = artifact(estimator=Boosted("tree\nmax_feature_idx=1\n\nend of trees\n"))
    with pytest.raises(ArtifactDamaged, match="LightGBM refuses"):
        Predictor(decode_as_stored(broken))


def test_out_of_sample_is_by_the_fold_that_had_not_seen_the_bar():
    series = noise("A", bars=100)["A"]
    probability = out_of_sample(artifact(), series)
    assert np.isnan(probability[:50]).all()
    assert probability[50:60] == pytest.approx(np.full(10, 0.6))
    assert np.isnan(probability[60:62]).all()
    assert probability[62:71] == pytest.approx(np.full(9, 0.7))
    assert np.isnan(probability[71:80]).all()
    assert probability[80:] == pytest.approx(Predictor(artifact()).probabilities(feature_matrix(series, NAMES))[80:])


def test_the_reference_is_deciles():
    reference = reference_of("x", np.arange(1_000.0))
    assert reference.edges == tuple(range(100, 1_000, 100))
    assert reference.shares == pytest.approx(np.full(10, 0.1))
    assert (reference.quantiles[0], reference.quantiles[50], reference.quantiles[100]) == (0, 499.5, 999)
    assert reference.rows == 1_000


def test_equal_edges_are_one_and_a_value_at_an_edge_is_above_it():
    reference = reference_of("x", np.array([0.0] * 70 + [1.0] * 30))
    assert reference.edges == (0.0, 1.0)
    assert reference.shares == pytest.approx([0, 0.7, 0.3])
    assert reference_of("x", np.full(5, 3.0)).shares == (0.0, 1.0)
    assert bin_shares(np.array([-5.0, 0.0, 0.5, 9.0]), reference.edges).tolist() == [0.25, 0.5, 0.25]
    assert bin_shares(np.empty(0), reference.edges).tolist() == [0, 0, 0]
