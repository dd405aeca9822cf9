"""The result of a backtest as a picture: equity beside its benchmark, and how far it is below its peak."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

SUFFIXES = (".png", ".svg")
_BLUE, _GREY, _RED = "#1f5fa8", "#8a8f98", "#b3372f"


def draw(
    path: Path,
    *,
    title: str,
    opening_cash: float,
    days: Sequence[date],
    equity: Sequence[float],
    benchmark: Sequence[float],
) -> None:
    """Write a PNG or an SVG, by the suffix of `path`: values at the closes of `days`. The same numbers give the same
    picture. Raises `ValueError` for another suffix, `OSError` where it cannot be written."""
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path.name}: a picture is written as {' or '.join(SUFFIXES)}")
    figure = Figure(figsize=(10, 6), layout="constrained")
    FigureCanvasAgg(figure)
    money, falls = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    moments = np.array(days, dtype="datetime64[D]")
    values = np.array([opening_cash, *equity])
    below = values / np.maximum.accumulate(values) - 1

    for name, curve, colour, width in (("strategy", equity, _BLUE, 1.4), ("buy and hold", benchmark, _GREY, 1.1)):
        label = f"{name} ({curve[-1] / opening_cash - 1:+.1%})"
        money.plot(moments, curve, color=colour, linewidth=width, label=label)
    money.axhline(opening_cash, color=_GREY, linewidth=0.6, linestyle=":")
    money.set_ylabel("Value (₹)")
    money.yaxis.set_major_formatter(FuncFormatter(_rupees))
    money.legend(loc="upper left", frameon=False)
    falls.fill_between(moments, below[1:], 0, color=_RED, alpha=0.35, linewidth=0)
    falls.set_ylabel("Drawdown")
    falls.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    falls.set_ylim(min(1.05 * float(below.min()), -0.01), 0)
    locator = AutoDateLocator()  # type: ignore[no-untyped-call]
    falls.xaxis.set_major_locator(locator)
    falls.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    for axes in (money, falls):
        axes.grid(visible=True, color="#e4e6ea", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=11)

    is_svg = path.suffix.lower() == ".svg"
    with rc_context({"svg.hashsalt": "equity"}):  # its default is random
        figure.savefig(path, dpi=120, metadata={"Date": None} if is_svg else {"Software": None})


def _rupees(value: float, _position: int) -> str:
    """12,34,567: Indian grouping."""
    sign, digits = ("-" if value < 0 else ""), f"{abs(value):.0f}"
    head, tail = digits[:-3], digits[-3:]
    groups: list[str] = []
    while head:
        head, group = head[:-2], head[-2:]
        groups.insert(0, group)
    return "₹" + sign + ",".join([*groups, tail])
