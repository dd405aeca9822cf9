from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.learning.rows import Rows, rows_of
from engines.learning.spec import LabelSpec, TrainingSpec
from engines.learning.splits import MIN_TEST_ROWS, MIN_TRAIN_ROWS, base_probabilities, walk_forward
from tests.engines.learning.histories import DAY, START, series_of

HALF = {"folds": 2, "min_train_share": 0.5}


def rows_at(times, *, symbols=1, horizon=5, embargo=0, known=None, missing=None):
    """A row per time and symbol, known after `horizon` bars, or as many as `known` says for each; `missing`: left out.
    No series ends: after the last time come others."""
    times = np.asarray(times, dtype=np.int64)
    places = np.repeat(np.arange(len(times)), symbols)
    codes = np.tile(np.arange(symbols), len(times))
    all_times = np.concatenate((times, times[-1] + DAY * np.arange(1, 301)))
    known = horizon if known is None else known
    kept = np.ones(len(places), dtype=bool) if missing is None else ~missing
    none = np.zeros(int(kept.sum()))
    return Rows(
        features=none.reshape(-1, 1),
        up=none,
        times=times[places][kept],
        known_times=all_times[places + known][kept],
        horizon_times=all_times[places + horizon][kept],
        embargo_times=all_times[places + max(embargo, horizon)][kept],
        symbol_codes=codes[kept],
        symbols=tuple(f"S{n}" for n in range(symbols)),
        bar_indices=places[kept],
        feature_names=("f",),
    )


@st.composite
def markets(draw):
    """Symbols whose bars are at times of their own: no two begin, pause or end together. And what came of each."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    history = {}
    for symbol in "ABC"[: draw(st.integers(1, 3))]:
        bars = int(rng.integers(500, 700))
        times = START + int(rng.integers(0, 60)) * DAY + int(rng.integers(0, 5)) * 3_600
        history[symbol] = replace(
            series_of(0.01 * rng.standard_normal(bars), symbol),
            times=times + (rng.integers(1, 4, bars) * DAY).cumsum(),
        )
    return history


@settings(max_examples=20, deadline=None)
@given(
    history=markets(),
    label=st.builds(LabelSpec, kind=st.sampled_from(("direction", "triple_barrier")), horizon_bars=st.integers(1, 20)),
    embargo=st.integers(0, 30),
    folds=st.integers(2, 5),
    share=st.floats(0.3, 0.6),
)
def test_no_fold_is_tested_on_what_it_has_seen(history, label, embargo, folds, share):
    """Bars are counted from the definition: those of the row's own symbol, up to the first that is tested on."""
    spec = TrainingSpec(features=("return_1",), label=label, embargo_bars=embargo)
    rows = rows_of(history, spec)
    made = walk_forward(rows, folds=folds, min_train_share=share)
    assert [fold.number for fold in made] == list(range(1, folds + 1))
    series = [history[symbol].times for symbol in rows.symbols]
    for fold in made:
        assert rows.times[fold.test].min() == fold.test_from
        assert rows.times[fold.test].max() == fold.test_until
        assert rows.known_times[fold.train].max() == fold.train_until < fold.test_from
        before = np.array([np.searchsorted(times, fold.test_from) for times in series])
        bars_between = before[rows.symbol_codes] - 1 - rows.bar_indices
        allowed = bars_between >= max(embargo, label.horizon_bars)  # whatever decided a label before
        assert np.array_equal(np.flatnonzero(allowed), fold.train)


@settings(max_examples=20, deadline=None)
@given(history=markets(), folds=st.integers(2, 5), share=st.floats(0.3, 0.6))
def test_test_windows_cover_the_time_after_the_first_share_once(history, folds, share):
    rows = rows_of(history, TrainingSpec(features=("return_1",)))
    made = walk_forward(rows, folds=folds, min_train_share=share)
    tested = np.concatenate([fold.test for fold in made])
    assert np.array_equal(tested, np.arange(tested[0], len(rows)))
    times = np.unique(rows.times)
    assert np.searchsorted(times, made[0].test_from) == np.ceil(share * len(times))
    lengths = [len(np.unique(rows.times[fold.test])) for fold in made]
    assert max(lengths) - min(lengths) <= 1
    for earlier, later in pairwise(made):
        assert earlier.test_until < later.test_from
        assert set(earlier.train.tolist()) <= set(later.train.tolist())


def test_folds_by_hand():
    rows = rows_at(np.arange(200) * DAY, symbols=2, horizon=3)
    first, second = walk_forward(rows, **HALF)
    assert first.train.tolist() == list(range(2 * 97))  # day 97's label is known on day 100, on which is tested
    assert first.test.tolist() == list(range(200, 300))
    assert (first.train_until, first.test_from, first.test_until) == (99 * DAY, 100 * DAY, 149 * DAY)
    assert second.train.tolist() == list(range(2 * 147))
    assert second.test.tolist() == list(range(300, 400))
    embargoed, _ = walk_forward(rows_at(np.arange(200) * DAY, symbols=2, horizon=3, embargo=10), **HALF)
    assert embargoed.train.tolist() == list(range(2 * 90))


def test_quickly_decided_rows_are_not_kept_where_slow_ones_are_dropped():
    days = np.arange(200) * DAY
    known = np.where(np.arange(200) % 3 == 0, 1, 10)  # every third is decided at once
    first, _ = walk_forward(rows_at(days, horizon=10, embargo=5, known=known), **HALF)
    assert first.train.tolist() == list(range(90))


def test_the_base_rate_is_that_of_the_folds_training_rows():
    rows = rows_at(np.arange(200) * DAY)
    rows.up[:60] = 1.0
    folds = walk_forward(rows, **HALF)
    base = base_probabilities(rows, folds)
    assert np.isnan(base[:100]).all()
    assert base[100:150] == pytest.approx(np.full(50, 60 / 95))
    assert base[150:] == pytest.approx(np.full(50, 60 / 145))


@pytest.mark.parametrize("count", [0, 1, 60])
def test_too_few_rows_are_told_to_the_user(count):
    rows = rows_at(np.arange(max(count, 1)) * DAY)
    if not count:
        rows = rows_at([0], missing=np.array([True]))
    with pytest.raises(ValueError, match=rf"^{count} rows .* 4 folds: fold 1 would be tested on \d+ rows, at least 20"):
        walk_forward(rows, folds=4, min_train_share=0.4)


def test_a_training_part_that_purge_and_embargo_leave_too_short_is_told_to_the_user():
    rows = rows_at(np.arange(300) * DAY, horizon=100)
    with pytest.raises(ValueError, match=r"fold 1 would be trained on 20 rows, at least 50 are needed\. More bars"):
        walk_forward(rows, folds=2, min_train_share=0.4)


def test_just_enough_rows_are_enough():
    count = MIN_TRAIN_ROWS + 2 * MIN_TEST_ROWS
    rows = rows_at(np.arange(count) * DAY, horizon=1)
    share = MIN_TRAIN_ROWS / count
    with pytest.raises(ValueError, match="fold 1 would be trained on 49 rows"):  # the last label is known too late
        walk_forward(rows, folds=2, min_train_share=share)
    one_more = rows_at(np.arange(count + 1) * DAY, horizon=1)
    folds = walk_forward(one_more, folds=2, min_train_share=(MIN_TRAIN_ROWS + 1) / (count + 1))
    assert [len(fold.train) for fold in folds] == [MIN_TRAIN_ROWS, MIN_TRAIN_ROWS + MIN_TEST_ROWS]
