"""Simulate how often monitoring tells of a model that is as good as ever, and how soon of one that no longer is.

    python -m engines.learning.monitoring_report

Some minutes. It writes the numbers, and the table that the page about monitoring shows of them. The same seeds give
the same numbers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from engines.learning import metrics
from engines.learning.alerts import ERROR_DRIFT, Limits
from engines.learning.artifact import reference_of
from engines.learning.monitoring import ModelMonitor
from engines.market.history import Column

PATH = Path(__file__).parent / "reference" / "monitoring.json"
PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "engines" / "monitoring.md"
BEGIN, END = "<!-- written by engines.learning.monitoring_report -->", "<!-- to here -->"

BASE = 0.566  # about how often the shipped bars rise, and so what a model without skill answers
MODELS = {f"always answers {BASE}": 0.0, "hardly separates": 0.08, "separates well": 0.25}  # deviation of its answers
CORRELATION = 0.4
RUNS, MOMENTS = 20, 1_500
GOOD_MOMENTS, BAD_MOMENTS, BAD_RUNS = 250, 1_000, 9
EVERY = 5  # moments between two measurements
VALIDATION_ROWS = 50_000
START = datetime(2026, 1, 1, tzinfo=UTC)

Matrix = npt.NDArray[np.float64]  # a row per moment, a column per share


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A model at work: the deviation of its answers, on so many shares, its labels so many bars ahead."""

    spread: float
    shares: int
    horizon_bars: int


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """`told`: of so many runs of a calibrated model, those with an alert; `critical`: those with a critical one;
    `rises`: of the error, in all of them. `lost_after`, `reversed_after`: how many moments after its answers began to
    say nothing, or the opposite, half of the runs had told of it; `None` when fewer did."""

    case: Case
    told: int
    critical: int
    rises: int
    lost_after: int | None
    reversed_after: int | None


class Simulated(msgspec.Struct, frozen=True, kw_only=True):
    limits: Limits
    runs: int
    moments: int
    found: tuple[Found, ...]


class Raised(msgspec.Struct, frozen=True):
    """An alert: after how many moments."""

    moment: int
    metric: str
    severity: str


def answers(rng: np.random.Generator, moments: int, case: Case) -> Matrix:
    return np.asarray(np.clip(rng.normal(BASE, case.spread, (moments, case.shares)), 0.02, 0.98))


def outcomes_of(truth: Matrix, horizon_bars: int, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Up with the probability of `truth`, each: returns of shares that are correlated, summed over the horizon, so that
    outcomes of moments which follow each other overlap."""
    length = len(truth) + horizon_bars
    market, own = rng.normal(size=(length, 1)), rng.normal(size=(length, truth.shape[1]))
    prices = np.cumsum(math.sqrt(CORRELATION) * market + math.sqrt(1 - CORRELATION) * own, axis=0)
    returns = (prices[horizon_bars:] - prices[:-horizon_bars]) / math.sqrt(horizon_bars)
    return np.asarray(ndtr(returns) < truth)


@cache
def validation_of(case: Case) -> dict[str, float]:
    """What a long validation of such a model, calibrated, measures."""
    rng = np.random.default_rng(0)
    probability = answers(rng, VALIDATION_ROWS, msgspec.structs.replace(case, shares=1))[:, 0]
    up = (rng.random(VALIDATION_ROWS) < probability).astype(np.float64)
    base: Column = np.full(VALIDATION_ROWS, BASE)
    return metrics.measure(probability, up, base)


def watched(case: Case, probability: Matrix, up: npt.NDArray[np.bool_]) -> Iterator[Raised]:
    """What a monitor raises, and when."""
    reference = [reference_of("feature", np.linspace(0, 1, 100))]
    monitor = ModelMonitor(reference, validation_of(case), horizon_bars=case.horizon_bars)
    for moment, (answered, came) in enumerate(zip(probability, up, strict=True), start=1):
        at = START + timedelta(days=moment)
        monitor.see_outcomes(answered, came, at)
        if moment % EVERY == 0:
            for alert in monitor.alerts(monitor.measure(at)):
                if alert.state == "raised":
                    yield Raised(moment, alert.metric, alert.severity)


def calibrated(case: Case, moments: int, seed: int) -> list[Raised]:
    """Of a model that is as good as validation said."""
    rng = np.random.default_rng(seed)
    probability = answers(rng, moments, case)
    return list(watched(case, probability, outcomes_of(probability, case.horizon_bars, rng)))


def worse(case: Case, seed: int, *, is_reversed: bool, good: int = GOOD_MOMENTS, bad: int = BAD_MOMENTS) -> int | None:
    """After how many moments it is told that a model, good at first, says nothing, or the opposite."""
    rng = np.random.default_rng(seed)
    probability = answers(rng, good + bad, case)
    truth = probability.copy()
    truth[good:] = 1 - probability[good:] if is_reversed else BASE
    up = outcomes_of(truth, case.horizon_bars, rng)
    return next((each.moment - good for each in watched(case, probability, up) if each.moment > good), None)


def simulate(case: Case) -> Found:
    runs = [calibrated(case, MOMENTS, seed) for seed in range(1, RUNS + 1)]
    after = {
        kind: _median(worse(case, 100 + seed, is_reversed=kind) for seed in range(BAD_RUNS)) for kind in (False, True)
    }
    return Found(
        case=case,
        told=sum(bool(run) for run in runs),
        critical=sum(any(each.severity == "CRITICAL" for each in run) for run in runs),
        rises=sum(each.metric == ERROR_DRIFT for run in runs for each in run),
        lost_after=after[False] if case.spread else None,  # one answer says nothing from the start
        reversed_after=after[True],
    )


def _median(after: Iterable[int | None]) -> int | None:
    middle = sorted(math.inf if each is None else each for each in after)[BAD_RUNS // 2]
    return None if middle == math.inf else int(middle)


def table(simulated: Simulated) -> str:
    """What the page shows."""
    return "\n".join(_lines(simulated))


def _lines(simulated: Simulated) -> Iterator[str]:
    named = {spread: name for name, spread in MODELS.items()}
    yield "| model | shares | horizon | false alarms | critical | rises | no skill | reversed |"
    yield "|---|---|---|---|---|---|---|---|"
    for found in simulated.found:
        case = found.case
        lost = _after(found.lost_after) if case.spread else ""
        yield (
            f"| {named[case.spread]} | {case.shares} | {case.horizon_bars} | {found.told} | {found.critical} | "
            f"{found.rises} | {lost} | {_after(found.reversed_after)} |"
        )


def _after(moments: int | None) -> str:
    return "not told" if moments is None else str(moments)


def page_with(page: str, simulated: Simulated) -> str:
    """The page, with this table. Raises `ValueError` when it has no place for one."""
    before, _, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"the page has no lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{table(simulated)}\n\n{END}{after}"


def main() -> None:
    cases = [
        Case(spread=spread, shares=shares, horizon_bars=horizon)
        for spread, shares, horizon in itertools.product(MODELS.values(), (14, 1), (1, 5, 20))
    ]
    with ProcessPoolExecutor() as workers:
        found = tuple(workers.map(simulate, cases))
    simulated = Simulated(limits=Limits(), runs=RUNS, moments=MOMENTS, found=found)
    encoded = msgspec.json.format(msgspec.json.encode(simulated), indent=1)
    PATH.write_bytes(encoded + b"\n")
    PAGE.write_text(page_with(PAGE.read_text(encoding="utf-8"), simulated), encoding="utf-8")


if __name__ == "__main__":
    main()
