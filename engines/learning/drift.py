"""Whether live values are still those of training: of features, by two statistics; of the error, by a sequential test.

Formulas, and how far to trust them: docs/explanation/engines/monitoring.md. A matrix has one row per prediction, in the
order in which they were made, and one column per feature; its values are finite.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta
from scipy.special import kolmogorov

from engines.market.history import Column

Values: TypeAlias = npt.NDArray[np.floating]  # one column, or a matrix
Finite = Annotated[float, Meta(ge=-1e300, le=1e300)]
NotNegative = Annotated[int, Meta(ge=0)]

PRIOR_ROWS = 0.5  # per bin: Jeffreys' prior, so that no share is 0 and no logarithm infinite
BATCHES = 10

Side = Literal["left", "right"]
_SIDES: tuple[Side, Side] = ("left", "right")


class FeatureShape(Protocol):
    """How a feature was distributed in training; `engines.learning.artifact.FeatureReference` is one."""

    @property
    def feature(self) -> str: ...
    @property
    def edges(self) -> tuple[float, ...]: ...  # ascending, none twice; a value at an edge is in the bin above it
    @property
    def shares(self) -> tuple[float, ...]: ...  # of the training rows, per bin: one more than edges
    @property
    def quantiles(self) -> tuple[float, ...]: ...  # evenly spaced, from the least to the greatest value
    @property
    def rows(self) -> int: ...


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """The shapes of all features, checked once, and ready to compare with. Column j of a matrix is `features[j]`.

    Values are compared in single precision: that halves what monitoring keeps, and, as rounding keeps the order, equal
    values stay equal. Of a feature that varies by less than a ten-millionth of its size the PSI means nothing, and the
    Kolmogorov-Smirnov distance is 0.
    """

    features: tuple[str, ...]
    rows: Column
    edges: npt.NDArray[np.float32]  # (features, bins - 1); infinity where a feature has fewer
    shares: Column  # (features, bins); NaN where a feature has fewer
    quantiles: npt.NDArray[np.float32]  # (features, quantiles)

    @classmethod
    def of(cls, shapes: Sequence[FeatureShape]) -> Reference:
        """Raises `ValueError` for a shape that cannot be, or none at all."""
        if not shapes:
            raise ValueError("a reference of no features")
        for shape in shapes:
            _check(shape)
        features = tuple(shape.feature for shape in shapes)
        if len(set(features)) < len(features):
            raise ValueError("a feature has two references")
        if len({len(shape.quantiles) for shape in shapes}) > 1:
            raise ValueError("the features have different numbers of quantiles")
        bins = max(len(shape.shares) for shape in shapes)
        edges = np.full((len(shapes), bins - 1), np.inf, dtype=np.float32)
        shares = np.full((len(shapes), bins), np.nan)
        for j, shape in enumerate(shapes):
            edges[j, : len(shape.edges)] = shape.edges
            shares[j, : len(shape.shares)] = shape.shares
        rows = np.array([shape.rows for shape in shapes], dtype=np.float64)
        return cls(features, rows, edges, shares, np.array([shape.quantiles for shape in shapes], dtype=np.float32))

    def sorted_columns(self, live: Values) -> npt.NDArray[np.float32]:
        """One feature per row, its values ascending. Raises `ValueError` for a matrix that is empty or does not fit."""
        if live.ndim != 2 or live.shape[1] != len(self.features) or not len(live):
            raise ValueError(f"a matrix of shape {live.shape}; it takes rows of {len(self.features)} features")
        return np.sort(np.ascontiguousarray(live.T, dtype=np.float32), axis=1)


def _check(shape: FeatureShape) -> None:
    edges, shares = np.array(shape.edges), np.array(shape.shares)
    quantiles = np.array(shape.quantiles)
    if len(shares) != len(edges) + 1 or np.any(np.diff(edges) <= 0):
        raise ValueError(f"{shape.feature}: {len(edges)} edges, ascending, have one more share, not {len(shares)}")
    if not np.all(shares >= 0) or abs(shares.sum() - 1) > 1e-6:
        raise ValueError(f"{shape.feature}: the shares of the bins must be 0 or more, and 1 together")
    if len(quantiles) < 2 or not np.all(np.diff(quantiles) >= 0):
        raise ValueError(f"{shape.feature}: its quantiles must be two or more numbers that do not fall")
    if shape.rows < 1:
        raise ValueError(f"{shape.feature}: a reference of {shape.rows} rows; it needs one at least")


def population_stability(reference: Reference, live: Values) -> Column:
    """The population stability index of each feature: sum over the reference's bins of (live - reference) *
    ln(live / reference), where both are shares of rows. 0: the same; there is no upper end.

    A share is (rows in the bin + 0.5) / (rows + 0.5 * bins): an empty bin counts as half a row. Raises `ValueError` as
    `Reference.sorted_columns` does.
    """
    columns = reference.sorted_columns(live)
    count = columns.shape[1]
    ends = np.full((len(columns), reference.shares.shape[1] + 1), count)
    ends[:, 0] = 0
    ends[:, 1:-1] = _places(columns, reference.edges, "left")
    now = _smoothed(np.diff(ends, axis=1), reference, count)
    then = _smoothed(reference.shares * reference.rows[:, np.newaxis], reference, reference.rows[:, np.newaxis])
    return np.asarray(np.nansum((now - then) * np.log(now / then), axis=1))


def _smoothed(counts: npt.NDArray[np.integer] | Column, reference: Reference, rows: Column | int) -> Column:
    """Shares; those of bins that a feature has not are of no meaning."""
    bins = np.isfinite(reference.shares).sum(axis=1, keepdims=True)
    return np.asarray((counts + PRIOR_ROWS) / (rows + PRIOR_ROWS * bins), dtype=np.float64)


def _places(columns: npt.NDArray[np.float32], values: npt.NDArray[np.float32], side: Side) -> npt.NDArray[np.intp]:
    """`np.searchsorted` of each row of values in its sorted column."""
    return np.stack([np.searchsorted(*pair, side=side) for pair in zip(columns, values, strict=True)])


def kolmogorov_smirnov(reference: Reference, live: Values, rows: Column | None = None) -> tuple[Column, Column]:
    """Per feature the distance, the greatest difference of the two distribution functions (0 to 1), and its two-sample
    p-value: how often the same distribution would give such a distance, by Kolmogorov's limit with Stephens'
    correction for few rows (1970).

    `rows`: how many independent ones there are per feature, see `effective_rows`; by default, all. The reference's
    distribution function is a line between its quantiles, so a distance is right to one quantile (0.01 of 101) and one
    row of training. Raises `ValueError` as `Reference.sorted_columns` does.
    """
    columns = reference.sorted_columns(live)
    count = columns.shape[1]
    # Between two live values theirs is level while the reference's rises: the greatest is at a live value, or just
    # before it.
    just_before, at = (
        np.abs(_places(columns, columns, side) / count - _share_below(reference.quantiles, columns, side)).max(axis=1)
        for side in _SIDES
    )
    distance = np.maximum(just_before, at)
    independent = np.full(len(columns), float(count)) if rows is None else rows
    root = np.sqrt(independent * reference.rows / (independent + reference.rows))
    p_value: Column = kolmogorov((root + 0.12 + 0.11 / root) * distance)
    return distance, p_value


def _share_below(quantiles: npt.NDArray[np.float32], columns: npt.NDArray[np.float32], side: Side) -> Column:
    """The share of each feature's reference that is below each of its values ("left"), or not above it ("right")."""
    places = _places(quantiles, columns, side)
    last = quantiles.shape[1] - 1
    low = np.clip(places - 1, 0, last - 1)
    start = np.take_along_axis(quantiles, low, axis=1).astype(np.float64)
    width = np.take_along_axis(quantiles, low + 1, axis=1) - start
    within = np.divide(columns - start, width, out=np.ones(columns.shape), where=width > 0)
    shares = (low + np.clip(within, 0, 1)) / last
    return np.where(places == 0, 0.0, np.where(places > last, 1.0, shares))


def effective_rows(live: Values) -> Column:
    """How many independent rows would tell as much of each column's mean as these do, from 1 to all of them.

    By batch means (Schmeiser 1982): ten batches of neighbouring rows, whose means vary by variance / effective rows per
    batch. Rows of one moment, and moments that follow each other, are alike in a market, so 500 rows of 14 shares may
    say no more than 20. A column that does not move counts with all its rows.
    """
    length = len(live) // BATCHES
    if not length:
        return np.full(live.shape[1], float(len(live)))
    values = live[len(live) - length * BATCHES :].astype(np.float64)
    variance = values.var(axis=0, ddof=1)
    of_means = values.reshape(BATCHES, length, -1).mean(axis=1).var(axis=0, ddof=1)
    rows = np.divide(variance, of_means, out=np.full(len(variance), np.inf), where=of_means > 0) * BATCHES
    return np.asarray(rows.clip(1.0, float(len(live))), dtype=np.float64)


class Rise(msgspec.Struct, frozen=True):
    """A rise of a sequence's mean: what it was `before`, what it is `after`, and up to which rise is `tolerated`."""

    before: Finite
    after: Finite
    tolerated: Finite


class PageHinkley(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Says when the mean of a sequence has risen (Page 1954, Hinkley 1971).

    With z the value less the mean so far, in deviations so far, it sums z - `tolerance`, and detects when the sum is
    more than `threshold` above the lowest that it was. So it takes about threshold / (rise - tolerance) values to see a
    rise of so many deviations, and never sees one within the tolerance. It judges no value before it knows
    `min_values`; after a detection it begins anew, from none.

    `least_deviation`: a sequence that hardly moves is taken to move so much. All other fields are what it remembers.
    """

    tolerance: Finite = 0.25
    threshold: Finite = 50.0
    min_values: NotNegative = 30
    least_deviation: Finite = 0.02

    count: NotNegative = 0
    mean: Finite = 0.0
    squares: Annotated[float, Meta(ge=0, le=1e300)] = 0.0  # sum of squared differences from the mean (Welford 1962)
    above: Annotated[float, Meta(ge=0, le=1e300)] = 0.0  # the sum of z - tolerance, less its lowest
    mean_before: Finite = 0.0  # when the sum was lowest; the next two are of the values since
    count_since: NotNegative = 0
    total_since: Finite = 0.0

    @property
    def deviation(self) -> float:
        """Of the values so far, `least_deviation` at least."""
        return max(math.sqrt(self.squares / self.count), self.least_deviation) if self.count else self.least_deviation

    def add(self, value: float) -> Rise | None:
        """With one more value; the rise, when that shows one. Raises `ValueError` for a value that is not finite."""
        if not math.isfinite(value):
            raise ValueError(f"a value of {value} has no place in a sequence")
        if self.count >= self.min_values:
            self._judge(value)
            if self.above > self.threshold:
                after = self.total_since / self.count_since
                rise = Rise(self.mean_before, after, self.tolerance * self.deviation)
                self.reset()
                return rise
        self.count += 1
        difference = value - self.mean
        self.mean += difference / self.count
        self.squares += difference * (value - self.mean)
        return None

    def _judge(self, value: float) -> None:
        if not self.above:
            self.mean_before, self.count_since, self.total_since = self.mean, 0, 0.0
        self.above = max(0.0, self.above + (value - self.mean) / self.deviation - self.tolerance)
        self.count_since += 1
        self.total_since += value

    def reset(self) -> None:
        """Forget all values."""
        self.count = self.count_since = 0
        self.mean = self.squares = self.above = self.mean_before = self.total_since = 0.0
