"""How predictions turned out, moment by moment, and how much worse than validation chance alone may make them look.

Shares move together, so the outcomes of one moment are one observation of the market; labels look several bars ahead,
so the outcomes of moments that follow each other overlap. Why the formulas count as they do:
docs/explanation/engines/monitoring.md.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, stdtrit

from engines.learning import metrics
from engines.market.history import Column

Moments: TypeAlias = npt.NDArray[np.floating]  # a row per moment, see `moment_of`

COUNT, HITS, LOSS, EXCESS = 0, 1, 2, slice(3, 3 + metrics.CALIBRATION_BINS)
WIDTH = 3 + metrics.CALIBRATION_BINS
HALF_NORMAL = math.sqrt(2 / math.pi)  # mean of the absolute value of a standard normal
LEAST_SHARE = 0.05  # an accuracy in validation beyond 5 and 95 % deviates as one of those would


class Performance(msgspec.Struct, frozen=True, kw_only=True):
    """What outcomes come to. `independent_moments`: so many observations they are worth. `…_noise`: accuracy and
    log-loss are by less than this worse than validation, by chance; a calibrated model's calibration error is less
    than this."""

    outcomes: int
    independent_moments: float
    accuracy: float
    log_loss: float
    calibration_error: float
    accuracy_noise: float
    log_loss_noise: float
    calibration_noise: float


def moment_of(probability: Column, up: Column) -> Column:
    """Outcomes of one moment: how many, how many hits, the sum of their losses, and per bin of calibration the sum of
    probability - up. Two such rows of one moment add up."""
    row = np.empty(WIDTH)
    row[COUNT] = len(up)
    row[HITS] = metrics.hits(probability, up).sum()
    row[LOSS] = metrics.losses(probability, up).sum()
    row[EXCESS] = np.bincount(metrics.bins_of(probability), probability - up, metrics.CALIBRATION_BINS)
    return row


def is_possible(moments: Moments) -> bool:
    """Whether outcomes can add up to this, but for rounding."""
    count, hits, loss = moments[:, COUNT], moments[:, HITS], moments[:, LOSS]
    return bool(
        np.all(count >= 1)
        and np.all(count == np.floor(count))
        and np.all((hits >= 0) & (hits <= count) & (loss >= 0))
        and np.all(np.abs(moments[:, EXCESS]).sum(axis=1) <= count * (1 + 1e-6))
    )


def performance(
    moments: Moments, *, accuracy: float, log_loss: float, horizon_bars: int, deviations: float
) -> Performance:
    """Of one moment or more, against validation's `accuracy` and `log_loss`; a noise is so many `deviations`."""
    count = moments[:, COUNT]
    total = float(count.sum())
    independent = total**2 / float(count @ count) / horizon_bars
    # Student's: the deviations are estimated from no more than this many observations
    wide = float(stdtrit(independent, ndtr(deviations)))
    excess = moments[:, EXCESS]
    hits, loss = moments[:, HITS], moments[:, LOSS]
    share = min(max(accuracy, LEAST_SHARE), 1 - LEAST_SHARE)
    at_most = math.sqrt(share * (1 - share) / independent)  # of moments whose outcomes are all the same
    return Performance(
        outcomes=round(total),
        independent_moments=independent,
        accuracy=float(hits.sum()) / total,
        log_loss=float(loss.sum()) / total,
        calibration_error=float(np.abs(excess.sum(axis=0)).sum()) / total,
        accuracy_noise=min(wide * _error(hits - accuracy * count, horizon_bars) / total, deviations * at_most),
        log_loss_noise=wide * _error(loss - log_loss * count, horizon_bars) / total,
        calibration_noise=_calibration_noise(excess, horizon_bars, wide) / total,
    )


def _error(differences: Moments, horizon_bars: int) -> float:
    """The standard error of the sum, where the mean is expected to be 0: about that, not about their own mean, so that
    moments which are all alike are not taken for sure."""
    return math.sqrt(horizon_bars * float(differences @ differences))


def _calibration_noise(excess: Moments, horizon_bars: int, deviations: float) -> float:
    """What the bins' absolute sums come to: the mean of so many half-normals, and deviations of their sum with the
    signs that they have."""
    of_bins = np.sqrt(horizon_bars * np.square(excess).sum(axis=0))
    of_all = _error(excess @ np.sign(excess.sum(axis=0)), horizon_bars)
    return HALF_NORMAL * float(of_bins.sum()) + (deviations - HALF_NORMAL) * of_all
