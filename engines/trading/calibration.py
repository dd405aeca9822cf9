"""Confidence: from a strategy's score to the probability that a signal's target is hit before anything else ends it.

The probabilities are measured. Signals of history are put in order of their score and cut into bins of equal count. A
bin's probability is its hit rate drawn towards the strategy's own rate, as if so many more signals with that rate were
in it (the mean of a Beta posterior). How many is estimated from how much the bins differ beyond chance (the moments of
DerSimonian and Laird 1986), and is `PRIOR_SIGNALS` at least; where they differ no more than by chance, the score says
nothing, and every bin has the strategy's rate. That rate is itself drawn towards the driftless one, by
`PRIOR_SIGNALS`. Fitted on the earlier part of the history, judged on the later (`fit`).

Where nothing was measured the answer is the driftless rate, stop / (target + stop): the chance that a continuous walk
without drift reaches its target before its stop (gambler's ruin). It leaves out that a signal can also expire.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path

import msgspec
from scipy.special import stdtrit

from engines.market.quotes import DAY_SECONDS

PATH = Path(__file__).parent / "reference" / "calibration.json"
PRIOR_SIGNALS = 50
MAX_BINS, MIN_BIN_SIGNALS = 5, 40
TRAINED_SHARE = 0.7
_DEFAULT_BAR_SECONDS = {"daily": DAY_SECONDS}
_MINUTE = 60
_Z_95 = 1.959964
_Cluster = Callable[[datetime], Hashable]


class Outcome(msgspec.Struct, frozen=True):
    """How a signal of history ended. `realised_r` in R; `driftless_rate` from the distances it was proposed with."""

    score: float
    driftless_rate: float
    opened_at: datetime
    closed_at: datetime
    status: str
    realised_r: float

    @property
    def hit(self) -> bool:
        return self.status == "TARGET_HIT"


class Sample(msgspec.Struct, frozen=True):
    """Signals that were counted: first opening, last end, how many ended how, mean R and its 95 % interval."""

    start: date
    end: date
    signals: int
    hits: int
    stopped: int
    expired: int
    cancelled: int
    mean_r: float
    mean_r_low: float
    mean_r_high: float

    @property
    def hit_rate(self) -> float:
        return self.hits / self.signals


class Bin(msgspec.Struct, frozen=True):
    """Scores from `score_from` (the first bin: any lower one too) to the next bin's. `trained_*`: what `probability`
    was made from; `tested_*`: what came of later signals with such scores."""

    score_from: float
    probability: float
    trained_signals: int
    trained_hits: int
    tested_signals: int
    tested_hits: int


class Table(msgspec.Struct, frozen=True):
    """One strategy on one market. `prior_signals`: what bins were drawn to the base rate with; None where scores say
    nothing. Brier scores (mean squared error of a probability; lower is better) are of the tested signals: with the
    bins, with the base rate for all, with the driftless rate for all. `tested_low` to `tested_high` is the 95 %
    interval of the tested hit rate."""

    driftless_rate: float
    base_rate: float
    prior_signals: float | None
    trained: Sample
    tested: Sample
    bins: Sequence[Bin]
    tested_low: float
    tested_high: float
    brier: float
    brier_base_rate: float
    brier_driftless: float

    def probability(self, score: float) -> float:
        return _probability(self.bins, score)


class MarketTables(msgspec.Struct, frozen=True):
    """What was measured on one market. `data` says in words where its bars are from."""

    data: str
    bar_seconds: int
    bars: int
    symbols: Sequence[str]
    split: date
    tables: Mapping[str, Table]


class CalibrationFile(msgspec.Struct, frozen=True):
    """All that is shipped, by market."""

    max_age_bars: int
    markets: Mapping[str, MarketTables]


class Calibration:
    """The probabilities of one market. Without tables, every answer is the driftless rate."""

    def __init__(self, market: str, bar_seconds: int, tables: Mapping[str, Table] | None = None) -> None:
        self.market = market
        self.bar_seconds = bar_seconds
        self.tables = tables or {}

    @classmethod
    def load(cls, market: str, path: Path = PATH) -> Calibration:
        """The shipped tables of a market, `daily` or `simulated`; of any other (bars of a minute) there are none.

        Raises `OSError` and `msgspec.DecodeError` for a file that is not there or is not one.
        """
        measured = load_file(path).markets.get(market)
        if measured is None:
            return cls(market, _DEFAULT_BAR_SECONDS.get(market, _MINUTE))
        return cls(market, measured.bar_seconds, measured.tables)

    def probability(self, strategy: str, score: float, *, driftless_rate: float) -> float:
        """The measured one of the score, over 0 and under 1; the driftless rate for a strategy that was not measured.

        Raises `ValueError` for a score that is no number.
        """
        if math.isnan(score):
            raise ValueError(f"the score of {strategy} is {score}, it must be a number")
        table = self.tables.get(strategy)
        return driftless_rate if table is None else table.probability(score)


def load_file(path: Path = PATH) -> CalibrationFile:
    """The file as it is. Raises `OSError`, `msgspec.DecodeError`."""
    return msgspec.json.decode(path.read_bytes(), type=CalibrationFile)


def split_moment(moments: Sequence[datetime]) -> datetime:
    """Where the later part begins: 70 % of the distinct bar times lie before it."""
    distinct = sorted(set(moments))
    return distinct[int(TRAINED_SHARE * len(distinct))]


def fit(outcomes: Sequence[Outcome], split: datetime, cluster: _Cluster = datetime.date) -> Table:
    """Fit on the signals that had ended by `split`, judge on those that opened from then on. A signal that was open
    over the split is in neither: its end was not known, and its beginning is no news. Signals whose openings have the
    same `cluster` may depend on each other; the intervals allow for it.

    Raises `ValueError` when either part does not have signals of two clusters.
    """
    trained = [outcome for outcome in outcomes if outcome.closed_at < split]
    tested = [outcome for outcome in outcomes if outcome.opened_at >= split]
    for part, name in ((trained, "before"), (tested, "after")):
        clusters = len({cluster(outcome.opened_at) for outcome in part})
        if clusters < 2:
            raise ValueError(
                f"{len(part)} signals of {clusters} clusters {name} {split}: at least two clusters are needed"
            )
    driftless = sum(outcome.driftless_rate for outcome in trained) / len(trained)
    base = shrunk_rate(sum(outcome.hit for outcome in trained), len(trained), driftless, PRIOR_SIGNALS)
    edges = _edges([outcome.score for outcome in trained])
    before, after = _binned(trained, edges), _binned(tested, edges)
    prior = _prior_signals(before)
    bins = [
        Bin(
            score_from=edge,
            probability=round(base if prior is None else shrunk_rate(sum(mine), len(mine), base, prior), 4),
            trained_signals=len(mine),
            trained_hits=sum(mine),
            tested_signals=len(later),
            tested_hits=sum(later),
        )
        for edge, mine, later in zip(edges, before, after, strict=True)
    ]
    low, high = _rate_interval(tested, cluster)
    return Table(
        driftless_rate=round(driftless, 4),
        base_rate=round(base, 4),
        prior_signals=None if prior is None else round(prior, 1),
        trained=_sample(trained, cluster),
        tested=_sample(tested, cluster),
        bins=bins,
        tested_low=round(low, 4),
        tested_high=round(high, 4),
        brier=_brier([(_probability(bins, outcome.score), outcome.hit) for outcome in tested]),
        brier_base_rate=_brier([(base, outcome.hit) for outcome in tested]),
        brier_driftless=_brier([(outcome.driftless_rate, outcome.hit) for outcome in tested]),
    )


def shrunk_rate(hits: int, signals: int, prior_rate: float, prior_signals: float) -> float:
    """The mean of the Beta posterior of a rate, with a prior worth so many signals."""
    return (hits + prior_signals * prior_rate) / (signals + prior_signals)


def wilson_interval(hits: int, count: int) -> tuple[float, float]:
    """The 95 % score interval (Wilson 1927) of a share of independent cases."""
    share, z2 = hits / count, _Z_95**2
    middle = share + z2 / (2 * count)
    half = _Z_95 * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    return max(0.0, (middle - half) / (1 + z2 / count)), min(1.0, (middle + half) / (1 + z2 / count))


def _rate_interval(outcomes: Sequence[Outcome], cluster: _Cluster) -> tuple[float, float]:
    """The 95 % interval of the hit rate: clustered, and Wilson's where that is wider."""
    low, high = wilson_interval(sum(outcome.hit for outcome in outcomes), len(outcomes))
    rate, half = _clustered_mean([float(outcome.hit) for outcome in outcomes], outcomes, cluster)
    return max(0.0, min(low, rate - half)), min(1.0, max(high, rate + half))


def _clustered_mean(values: Sequence[float], outcomes: Sequence[Outcome], cluster: _Cluster) -> tuple[float, float]:
    """The mean and half the width of its 95 % interval: clustered errors (Liang and Zeger 1986), Student's t."""
    mean = sum(values) / len(values)
    sums: dict[Hashable, float] = defaultdict(float)
    for value, outcome in zip(values, outcomes, strict=True):
        sums[cluster(outcome.opened_at)] += value - mean
    error = math.sqrt(len(sums) / (len(sums) - 1) * sum(value**2 for value in sums.values())) / len(values)
    return mean, float(stdtrit(len(sums) - 1, 0.975)) * error


def _prior_signals(bins: Sequence[Sequence[bool]]) -> float | None:
    """How many signals the rate of all is worth for one bin; None when bins differ no more than by chance."""
    hits, counts = [sum(hit) for hit in bins], [len(hit) for hit in bins]
    rate = sum(hits) / sum(counts)
    noise = rate * (1 - rate)
    if len(bins) < 2 or noise == 0:
        return None
    differing = sum(n * (h / n - rate) ** 2 for h, n in zip(hits, counts, strict=True)) / noise
    weight = (sum(counts) - sum(n * n for n in counts) / sum(counts)) / noise
    variance = (differing - (len(bins) - 1)) / weight
    return max(float(PRIOR_SIGNALS), noise / variance - 1) if variance > 0 else None


def _edges(scores: Sequence[float]) -> list[float]:
    """The lowest scores of bins of equal count; equal scores share a bin."""
    ordered = sorted(scores)
    count = max(1, min(MAX_BINS, len(ordered) // MIN_BIN_SIGNALS))
    return sorted({ordered[len(ordered) * number // count] for number in range(count)})


def _binned(outcomes: Sequence[Outcome], edges: Sequence[float]) -> list[list[bool]]:
    bins: list[list[bool]] = [[] for _ in edges]
    for outcome in outcomes:
        bins[_bin(edges, outcome.score)].append(outcome.hit)
    return bins


def _bin(edges: Sequence[float], score: float) -> int:
    return max(0, bisect_right(edges, score) - 1)


def _probability(bins: Sequence[Bin], score: float) -> float:
    return bins[_bin([bin_.score_from for bin_ in bins], score)].probability


def _sample(outcomes: Sequence[Outcome], cluster: _Cluster) -> Sample:
    mean, half = _clustered_mean([outcome.realised_r for outcome in outcomes], outcomes, cluster)
    ended = [outcome.status for outcome in outcomes]
    return Sample(
        start=min(outcome.opened_at for outcome in outcomes).date(),
        end=max(outcome.closed_at for outcome in outcomes).date(),
        signals=len(outcomes),
        hits=ended.count("TARGET_HIT"),
        stopped=ended.count("STOP_HIT"),
        expired=ended.count("EXPIRED"),
        cancelled=ended.count("CANCELLED"),
        mean_r=round(mean, 4),
        mean_r_low=round(mean - half, 4),
        mean_r_high=round(mean + half, 4),
    )


def _brier(pairs: Sequence[tuple[float, bool]]) -> float:
    return round(sum((probability - hit) ** 2 for probability, hit in pairs) / len(pairs), 4)
