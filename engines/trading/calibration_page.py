"""The page that shows a calibration: every number on it is computed from the tables."""

from __future__ import annotations

from collections.abc import Iterator

from engines.market.quotes import DAY_SECONDS
from engines.trading.calibration import TRAINED_SHARE, CalibrationFile, MarketTables, Sample, Table, wilson_interval

_HEAD = """# How the signals' confidence was measured

Written by `python -m engines.trading.calibrate`; do not edit. What is meant by it is in [signals.md](signals.md).

A *hit* is a signal whose target was reached before its stop, its expiry after {age} bars and its cancellation by the
opposite proposal; everything else is none. *Driftless* is the rate of a continuous walk without drift: stop / (target +
stop). Real prices go in steps and overshoot their levels, which moves the rate a little towards 50 %. What a strategy
is worth shows in its mean R, which is 0 in a market without drift whatever its levels are.

*Confidence* is fitted on the signals that ended in the first {share} of the time; what it is worth is judged on those
that opened in the rest, here called *tested*. Signals of one day (daily bars: of one month) depend on each other, as
symbols move together, so the 95 % interval of a strategy's tested rate is clustered by it; the intervals of single bins
(Wilson) are not, and are too narrow. The Brier score is the mean squared error of a probability, lower is better; it
is shown for the confidence, for the strategy's one trained rate, and for the driftless rate. Mean R is what a signal
brought on average, in units of its risk, before charges and slippage; its interval is clustered in the same way. One
such interval in twenty leaves out the truth by chance: look whether the trained signals say the same.
"""


def page(file: CalibrationFile) -> str:
    """The page as Markdown."""
    lines = [_HEAD.format(age=file.max_age_bars, share=f"{100 * TRAINED_SHARE:.0f} %")]
    for market, tables in file.markets.items():
        lines += [f"## Market: {market}", "", *_market(tables), ""]
    return "\n".join(lines).rstrip() + "\n"


def _market(market: MarketTables) -> Iterator[str]:
    length = "a day" if market.bar_seconds == DAY_SECONDS else f"{market.bar_seconds} s"
    yield f"Data: {market.data}. {market.bars:,} bars of {length};"
    yield f"tested from {market.split} on."
    yield f"Symbols: {', '.join(market.symbols)}."
    yield ""
    yield "| strategy | driftless | trained hits | tested hits | tested rate (95 %) |"
    yield "|---|---|---|---|---|"
    for name, table in market.tables.items():
        yield (
            f"| {name} | {_percent(table.driftless_rate)} | {_hits(table.trained)} | {_hits(table.tested)} | "
            f"{_percent(table.tested_low)} to {_percent(table.tested_high)} |"
        )
    yield ""
    yield "| strategy | trained mean R (95 %) | tested mean R (95 %) |"
    yield "|---|---|---|"
    for name, table in market.tables.items():
        yield f"| {name} | {_mean_r(table.trained)} | {_mean_r(table.tested)} |"
    yield ""
    yield "| strategy | Brier: confidence | trained rate | driftless | tested: stopped / expired / cancelled |"
    yield "|---|---|---|---|---|"
    for name, table in market.tables.items():
        tested = table.tested
        yield (
            f"| {name} | {table.brier:.4f} | {table.brier_base_rate:.4f} | {table.brier_driftless:.4f} | "
            f"{tested.stopped} / {tested.expired} / {tested.cancelled} |"
        )
    yield ""
    for name, table in market.tables.items():
        yield f"- **{name}**: {_verdict(table)}"
    yield ""
    yield "Reliability: what was said, and what came."
    yield ""
    yield "| strategy | score from | confidence | trained | tested | tested rate (95 %) |"
    yield "|---|---|---|---|---|---|"
    for name, table in market.tables.items():
        for number, bin_ in enumerate(table.bins):
            low, high = wilson_interval(bin_.tested_hits, bin_.tested_signals) if bin_.tested_signals else (0.0, 1.0)
            yield (
                f"| {name} | {f'{bin_.score_from:.2f}' if number else 'any'} | {_percent(bin_.probability)} | "
                f"{bin_.trained_hits} of {bin_.trained_signals} | {bin_.tested_hits} of {bin_.tested_signals} | "
                f"{_percent(low)} to {_percent(high)} |"
            )


def _verdict(table: Table) -> str:
    """What the tested signals say, in words."""
    parts = (table.trained, table.tested)
    if all(part.mean_r_low > 0 for part in parts):
        edge = "mean R is over 0 in both parts of the history"
    elif all(part.mean_r_high < 0 for part in parts):
        edge = "mean R is under 0 in both parts of the history"
    elif any(not part.mean_r_low <= 0 <= part.mean_r_high for part in parts):
        edge = "mean R differs from 0 in one part of the history and not in the other"
    elif table.tested_low <= table.driftless_rate <= table.tested_high:
        edge = "no better and no worse than a walk without drift, as far as can be told"
    else:
        edge = "the tested hit rate is not the driftless one, but mean R cannot be told from 0"
    if len(table.bins) == 1:
        worth = "there were too few signals to tell scores apart"
    elif table.prior_signals is None:
        worth = "trained rates differ by the score no more than by chance, so all signals have one confidence"
    elif table.brier < table.brier_base_rate:
        worth = "telling signals apart by their score made the probability better"
    else:
        worth = "telling signals apart by their score did not make the probability better"
    return f"{edge}; {worth}."


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _mean_r(sample: Sample) -> str:
    return f"{sample.mean_r:+.2f} ({sample.mean_r_low:+.2f} to {sample.mean_r_high:+.2f})"


def _hits(sample: Sample) -> str:
    return f"{sample.hits} of {sample.signals} ({_percent(sample.hit_rate)})"
