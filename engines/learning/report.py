"""Train on the bars that are shipped, and write what came out: the numbers, and the page that shows them.

    python -m engines.learning.report

LightGBM, logistic regression and the base rate, on the same rows and folds. The same bars give the same files.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console
from rich.progress import Progress

from engines.learning import metrics
from engines.learning.artifact import Artifact, WalkForward
from engines.learning.calibration import UNCALIBRATED
from engines.learning.estimators import logits_of
from engines.learning.report_page import Comparison, FoldReport, Learner, ShippedModel, Variant, page
from engines.learning.rows import Rows, rows_of
from engines.learning.spec import LabelSpec, TrainingSpec
from engines.learning.splits import Fold, base_probabilities, walk_forward
from engines.learning.training import TrainingProgress, train
from engines.market.feeds.replay import load_bars
from engines.market.history import Column, History, Times, history_of
from engines.market.quotes import DAY_SECONDS

ROOT = Path(__file__).parents[2]
DAILY = ROOT / "data" / "daily_bars.csv"
PAGE = ROOT / "docs" / "explanation" / "engines" / "shipped-model.md"
PATH = Path(__file__).parent / "reference" / "shipped_model.json"
SPECS = {
    "direction": TrainingSpec(),
    "triple barrier": TrainingSpec(label=LabelSpec(kind="triple_barrier", horizon_bars=10)),
}
BLOCK_TIMES = 21  # a month of trading days; longer than labels overlap
RESAMPLES = 2_000
_COMPARED = (
    ("lightgbm", "base rate"),
    ("logistic", "base rate"),
    ("lightgbm", "logistic"),
    ("lightgbm uncalibrated", "logistic uncalibrated"),
)

Report = Callable[[TrainingProgress], None]


def measure(history: History, spec: TrainingSpec, *, bar_seconds: int, report: Report) -> Variant:
    """What the spec reaches with LightGBM and with logistic regression, beside the base rate. Raises as `train`."""
    artifacts = {
        algorithm: train(
            history,
            msgspec.structs.replace(spec, algorithm=algorithm),
            bar_seconds=bar_seconds,
            report=report,
            cancelled=lambda: False,
            monotonic=time.monotonic,
        )
        for algorithm in ("lightgbm", "logistic")
    }
    rows = rows_of(history, spec)  # the same that training made: what it says of its folds can be said of these
    folds = walk_forward(rows, folds=spec.folds, min_train_share=spec.min_train_share)
    base = base_probabilities(rows, folds)
    tested = np.concatenate([fold.test for fold in folds])
    up, times = rows.up[tested], rows.times[tested]
    scores = {name: _scores(made, rows, folds) for name, made in artifacts.items()}
    losses = {name: metrics.losses(_predicted(made, history, rows)[tested], up) for name, made in artifacts.items()}
    losses |= {f"{name} uncalibrated": metrics.losses(of_rows[tested], up) for name, of_rows in scores.items()}
    losses["base rate"] = metrics.losses(base[tested], up)
    return Variant(
        spec=spec,
        rows=len(rows),
        learners={name: _learner(made, scores[name], rows, folds) for name, made in artifacts.items()},
        base=_rounded(
            metrics.measure_folds([(base[fold.test], rows.up[fold.test], base[fold.test]) for fold in folds])
        ),
        folds=tuple(
            FoldReport(
                trained_rows=len(fold.train),
                trained_until=_day(fold.train_until),
                test_from=_day(fold.test_from),
                test_until=_day(fold.test_until),
                base=_rounded(metrics.measure(base[fold.test], rows.up[fold.test], base[fold.test])),
            )
            for fold in folds
        ),
        comparisons=tuple(
            Comparison(one, other, *mean_difference(losses[one] - losses[other], times)) for one, other in _COMPARED
        ),
    )


def mean_difference(
    differences: Column, times: Times, *, block_times: int = BLOCK_TIMES, resamples: int = RESAMPLES, seed: int = 1
) -> tuple[float, float, float]:
    """The mean, and its 95 % interval by the circular block bootstrap (Politis and Romano 1992).

    Blocks are of so many consecutive distinct times, all rows of a time together: neither symbols that move together
    nor labels that overlap are taken for independent cases.
    """
    moments, place = np.unique(times, return_inverse=True)
    count = len(moments)
    sums, rows = np.bincount(place, weights=differences), np.bincount(place)
    starts = np.random.default_rng(seed).integers(0, count, size=(resamples, -(-count // block_times)))
    chosen = ((starts[:, :, None] + np.arange(block_times)) % count).reshape(resamples, -1)[:, :count]
    means = sums[chosen].sum(axis=1) / rows[chosen].sum(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return round(float(differences.mean()), 5), round(float(low), 5), round(float(high), 5)


def _predicted(artifact: Artifact, history: History, rows: Rows) -> Column:
    """P(up) out of sample, per row: through what backtests use."""
    walk = WalkForward(artifact)
    probability = np.full(len(rows), np.nan)
    for code, symbol in enumerate(rows.symbols):
        of_symbol = rows.symbol_codes == code
        probability[of_symbol] = walk.probabilities(history[symbol])[rows.bar_indices[of_symbol]]
    return probability


def _scores(artifact: Artifact, rows: Rows, folds: Sequence[Fold]) -> Column:
    """P(up) out of sample, per row, as the folds' estimators say it before calibration."""
    probability = np.full(len(rows), np.nan)
    for fold, model in zip(folds, artifact.folds, strict=True):
        probability[fold.test] = UNCALIBRATED.probabilities(logits_of(model.estimator)(rows.features[fold.test]))
    return probability


def _learner(artifact: Artifact, scores: Column, rows: Rows, folds: Sequence[Fold]) -> Learner:
    calibrator = artifact.calibrator
    by_fold = [(scores[fold.test], rows.up[fold.test]) for fold in folds]
    tested = np.concatenate([fold.test for fold in folds])
    return Learner(
        metrics=_rounded(artifact.metrics),
        folds=tuple(_rounded(of_fold) for of_fold in artifact.fold_metrics),
        uncalibrated_log_loss=round(metrics.log_loss(scores[tested], rows.up[tested]), 5),
        uncalibrated_log_losses=tuple(round(metrics.log_loss(*of_fold), 5) for of_fold in by_fold),
        score_aucs=tuple(round(metrics.auc(*of_fold), 5) for of_fold in by_fold),
        calibration_slopes=tuple(round(fold.calibrator.slope, 5) for fold in artifact.folds),
        iterations=artifact.iterations,
        final_slope=round(calibrator.slope, 5),
        final_intercept=round(calibrator.intercept, 5),
    )


def _rounded(measured: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 5) for name, value in measured.items()}


def _day(seconds: int) -> date:
    return datetime.fromtimestamp(seconds, UTC).date()


def shipped_model(
    history: History, data: str, report: Callable[[str, TrainingProgress], None], specs: Mapping[str, TrainingSpec]
) -> ShippedModel:
    """All variants over these daily bars."""
    return ShippedModel(
        data=data,
        bars={symbol: len(history[symbol]) for symbol in sorted(history)},
        data_from=_day(min(int(series.times[0]) for series in history.values())),
        data_until=_day(max(int(series.times[-1]) for series in history.values())),
        block_times=BLOCK_TIMES,
        resamples=RESAMPLES,
        variants={
            name: measure(history, spec, bar_seconds=DAY_SECONDS, report=partial(report, name))
            for name, spec in specs.items()
        },
    )


def write(model: ShippedModel, path: Path, page_path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(model, order="deterministic"), indent=2) + b"\n")
    page_path.write_text(page(model), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train on the shipped bars; write the results and their page.")
    parser.add_argument("--bars", type=Path, default=DAILY, help="daily bars (default: those shipped)")
    parser.add_argument("--json", type=Path, default=PATH, help="where the numbers go")
    parser.add_argument("--page", type=Path, default=PAGE, help="where the page goes")
    chosen = parser.parse_args(arguments)
    console = Console()
    history = history_of(load_bars(chosen.bars).bars)
    with Progress(console=console) as progress:
        tasks = {name: progress.add_task(name, total=100.0) for name in SPECS}

        def show(name: str, training: TrainingProgress) -> None:
            fold = f", fold {training.fold} of {training.folds}" if training.fold else ""
            progress.update(
                tasks[name], completed=training.percentage, description=f"{name}: {training.step_name}{fold}"
            )

        model = shipped_model(history, f"data/{chosen.bars.name}", show, SPECS)
    write(model, chosen.json, chosen.page)
    console.print(f"wrote {chosen.json} and {chosen.page}")


if __name__ == "__main__":
    main()
