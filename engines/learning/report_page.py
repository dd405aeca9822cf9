"""The page about the shipped example model: every number and every judgement on it comes from what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date

import msgspec
import numpy as np

from engines.learning.calibration import sigmoid
from engines.learning.spec import LabelSpec, TrainingSpec

_NAMES = {
    "lightgbm": "LightGBM",
    "logistic": "logistic regression",
    "base rate": "base rate",
    "lightgbm uncalibrated": "LightGBM, uncalibrated",
    "logistic uncalibrated": "logistic regression, uncalibrated",
}
_METRICS = ("log_loss", "auc", "accuracy", "brier", "calibration_error")


class Learner(msgspec.Struct, frozen=True):
    """One algorithm: out of sample in all and per fold, log-loss and AUC of its scores before calibration, and the
    calibrators. `iterations` of boosting in the final estimator."""

    metrics: dict[str, float]
    folds: tuple[dict[str, float], ...]
    uncalibrated_log_loss: float
    uncalibrated_log_losses: tuple[float, ...]
    score_aucs: tuple[float, ...]
    calibration_slopes: tuple[float, ...]
    iterations: int
    final_slope: float
    final_intercept: float

    def constant(self, fold: int) -> bool:
        """Whether it gives every bar of the fold, counted from 0, one probability: the base rate of its training."""
        return self.calibration_slopes[fold] == 0


class FoldReport(msgspec.Struct, frozen=True):
    """What a fold was trained and tested on, and what the base rate reached in its test."""

    trained_rows: int
    trained_until: date
    test_from: date
    test_until: date
    base: dict[str, float]


class Comparison(msgspec.Struct, frozen=True):
    """Log-loss of one less that of the other, its mean and 95 % interval; below 0 the one is better."""

    one: str
    other: str
    mean: float
    low: float
    high: float


class Variant(msgspec.Struct, frozen=True):
    """One spec, measured. `learners` by algorithm."""

    spec: TrainingSpec
    rows: int
    learners: dict[str, Learner]
    base: dict[str, float]
    folds: tuple[FoldReport, ...]
    comparisons: tuple[Comparison, ...]


class ShippedModel(msgspec.Struct, frozen=True):
    """All variants on one set of bars. `bars` by symbol; `block_times`, `resamples` of the bootstrap."""

    data: str
    bars: dict[str, int]
    data_from: date
    data_until: date
    block_times: int
    resamples: int
    variants: dict[str, Variant]


_HEAD = """# What the shipped example model reaches

Written by `python -m engines.learning.report` from `engines/learning/reference/shipped_model.json`; do not edit.

Data: `{data}`, {bars:,} daily bars from {data_from} to {data_until}: {symbols}.

All numbers are out of sample: each fold is trained on what was known before its test, and its probabilities are
calibrated by the folds before it (the first fold's are not). LightGBM and logistic regression get the same rows, the
same features and the same calibration. The *base rate* looks at no feature: it always says the share that went up
among the rows that the fold was trained on. Log-loss, Brier score and calibration error: lower is better; a coin has a
log-loss of 0.693 and a Brier score of 0.25. AUC: 0.5 says nothing; over all folds it is the mean of the folds', by
rows. *AUC of scores* is that of the estimator before calibration, *slope* what calibration multiplies the scores with:
0 where the scores of the folds before did not order outcomes as they came. Every bar then gets the base rate, and the
learner cannot differ from it there: such folds are marked *constant*. *Uncalibrated* is the log-loss of the scores as
they are.

Differences of log-loss have 95 % intervals by a block bootstrap: {resamples:,} resamples of blocks of {block_times}
trading days, all symbols of a day together. One such interval in twenty leaves out the truth by chance.
"""


def page(model: ShippedModel) -> str:
    """The page as Markdown."""
    lines = [
        _HEAD.format(
            data=model.data,
            bars=sum(model.bars.values()),
            data_from=model.data_from,
            data_until=model.data_until,
            symbols=", ".join(f"{symbol} ({bars:,})" for symbol, bars in model.bars.items()),
            resamples=model.resamples,
            block_times=model.block_times,
        )
    ]
    lines += ["## In short", "", *(f"- **{name}**: {verdict(variant)}" for name, variant in model.variants.items()), ""]
    for name, variant in model.variants.items():
        lines += [f"## Label: {name}", "", *_variant(variant), ""]
    return "\n".join(lines).rstrip() + "\n"


def verdict(variant: Variant) -> str:
    """What the numbers of a variant carry, in words."""
    against_base = [comparison for comparison in variant.comparisons if comparison.other == "base rate"]
    said = "; ".join(f"{_NAMES[comparison.one]} {_judged(comparison)}" for comparison in against_base)
    better = [_NAMES[comparison.one] for comparison in against_base if comparison.high < 0]
    if better:
        conclusion = f"On these bars {' and '.join(better)} predicted more than the base rate says"
    else:
        conclusion = "On these bars neither is shown to predict more than the base rate says"
    return f"{said}. {conclusion}. {_deployed(variant.learners['lightgbm'])}"


def _judged(comparison: Comparison) -> str:
    difference = f"({comparison.mean:+z.4f}, {comparison.low:+z.4f} to {comparison.high:+z.4f})"
    if comparison.high < 0:
        return f"had a lower log-loss than the {_NAMES[comparison.other]} {difference}"
    if comparison.low > 0:
        return f"had a higher log-loss than the {_NAMES[comparison.other]} {difference}"
    return f"cannot be told from the {_NAMES[comparison.other]} by its log-loss {difference}"


def _deployed(learner: Learner) -> str:
    """What a deployed LightGBM model would answer."""
    trees = f"{learner.iterations} tree{'' if learner.iterations == 1 else 's'}"
    if learner.final_slope > 0:
        return f"The model for use has {trees}, its scores are calibrated with slope {learner.final_slope:.2f}."
    always = float(sigmoid(np.array([learner.final_intercept]))[0])
    return f"The model for use has {trees}, and calibration leaves it one answer: {always:.3f}, whatever the bar."


def _variant(variant: Variant) -> Iterator[str]:
    spec = variant.spec
    yield f"{_label(spec.label)}"
    yield (
        f"{variant.rows:,} rows, {variant.base['rows']:,.0f} of them tested in {spec.folds} folds; embargo "
        f"{spec.effective_embargo_bars} bars; seed {spec.seed}; {', '.join(spec.features) or 'all features'}."
    )
    yield ""
    yield "| out of sample, all folds | log-loss | AUC | accuracy | Brier | calibration error | uncalibrated |"
    yield "|---|---|---|---|---|---|---|"
    for name, learner in variant.learners.items():
        yield f"| {_NAMES[name]} | {_numbers(learner.metrics)} | {learner.uncalibrated_log_loss:.4f} |"
    yield f"| base rate | {_numbers(variant.base)} | |"
    yield ""
    yield "| log-loss of | less that of | mean | 95 % interval |"
    yield "|---|---|---|---|"
    for comparison in variant.comparisons:
        yield (
            f"| {_NAMES[comparison.one]} | {_NAMES[comparison.other]} | {comparison.mean:+z.4f} | "
            f"{comparison.low:+z.4f} to {comparison.high:+z.4f} |"
        )
    yield ""
    yield from _constant_folds(variant)
    yield "| fold | trained until | rows | tested | rows |"
    yield "|---|---|---|---|---|"
    for number, fold in enumerate(variant.folds, start=1):
        yield (
            f"| {number} | {fold.trained_until} | {fold.trained_rows:,} | {fold.test_from} to {fold.test_until} | "
            f"{fold.base['rows']:,.0f} |"
        )
    yield ""
    yield "| fold | | log-loss | AUC | accuracy | Brier | calibration error | uncalibrated | AUC of scores | slope |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for number, fold in enumerate(variant.folds):
        for name, learner in variant.learners.items():
            yield (
                f"| {number + 1} | {_NAMES[name]} | {_numbers(learner.folds[number])} | "
                f"{learner.uncalibrated_log_losses[number]:.4f} | {learner.score_aucs[number]:.3f} | "
                f"{'constant' if learner.constant(number) else f'{learner.calibration_slopes[number]:.2f}'} |"
            )
        yield f"| {number + 1} | base rate | {_numbers(fold.base)} | | | |"


def _constant_folds(variant: Variant) -> Iterator[str]:
    """In which folds a learner gives one probability, and so which folds its differences come from."""
    for name, learner in variant.learners.items():
        varied = [fold for fold in range(len(variant.folds)) if not learner.constant(fold)]
        constant = [fold for fold in range(len(variant.folds)) if learner.constant(fold)]
        if constant:
            yield (
                f"{_capital(_NAMES[name])} gives one probability, the base rate, to every bar of {_folds(constant)}: "
                f"what it is better or worse by than the base rate comes from {_folds(varied)} alone."
            )
            yield ""
    both = [
        fold for fold in range(len(variant.folds)) if all(each.constant(fold) for each in variant.learners.values())
    ]
    if both:
        others = [fold for fold in range(len(variant.folds)) if fold not in both]
        yield (
            f"In {_folds(both)} both learners say the same: the difference between them, calibrated, comes from "
            f"{_folds(others)} alone."
        )
        yield ""


def _folds(folds: Sequence[int]) -> str:
    """Counted from 1, in words."""
    names = [str(fold + 1) for fold in folds]
    if not names:
        return "no fold"
    return f"fold {names[0]}" if len(names) == 1 else f"folds {', '.join(names[:-1])} and {names[-1]}"


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def _label(label: LabelSpec) -> str:
    if label.kind == "direction":
        return f"Whether the close {label.horizon_bars} bars later is higher."
    return (
        f"Which barrier is reached first within {label.horizon_bars} bars: in volatilities, the upper is "
        f"{label.target_volatilities:g} above the close, the lower {label.stop_volatilities:g} below."
    )


def _numbers(measured: Mapping[str, float]) -> str:
    return " | ".join(f"{measured[name]:.4f}" if name != "auc" else f"{measured[name]:.3f}" for name in _METRICS)
