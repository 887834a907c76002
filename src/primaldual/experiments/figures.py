"""Figures of accuracy, cost and training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from primaldual.experiments.summary import Summary
from primaldual.reporting.drawing import legend_below, svg, wrapped
from primaldual.reporting.palette import GREY, INK, Look

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH = 5.0

Looks = Mapping[str, Look]


def accuracy_figure(summaries: Sequence[Summary], looks: Looks) -> str:
    """Every run's test accuracy, with mean and deviation."""

    def draw(figure: Figure) -> None:
        axes = _rows(figure, [summary.attention for summary in summaries])
        for row, summary in enumerate(summaries):
            look = looks[summary.attention]
            mean, deviation = summary.accuracy.mean * 100, (summary.accuracy.deviation or 0) * 100
            axes.errorbar(mean, row, xerr=deviation, color=look.color, capsize=4, lw=2, zorder=2)
            axes.plot(mean, row, look.marker, color=look.color, ms=9, zorder=3)
            values = [result.accuracy * 100 for result in summary.results]
            axes.plot(values, [row + 0.27] * len(values), "o", mfc="none", mec=look.color, ms=5)
        axes.set_xlabel("test accuracy, %")
        axes.margins(x=0.12)

    label = "Test accuracy: " + "; ".join(
        f"{summary.attention} {summary.accuracy.text(1, 100)} percent" for summary in summaries
    )
    return svg(draw, _WIDTH, _row_height(summaries), label)


def difference_figure(summaries: Sequence[Summary], looks: Looks, baseline: str) -> str:
    """Paired differences to the baseline with their intervals; empty if there are none."""
    compared = [(summary, summary.difference) for summary in summaries if summary.difference is not None]
    if not compared:
        return ""

    def draw(figure: Figure) -> None:
        axes = _rows(figure, [summary.attention for summary, _ in compared])
        axes.axvline(0, color=INK, lw=1.2, zorder=1)
        for row, (summary, difference) in enumerate(compared):
            assert difference is not None
            look = looks[summary.attention]
            if difference.low is not None and difference.high is not None:
                axes.plot([difference.low * 100, difference.high * 100], [row, row], color=look.color, lw=2.4)
            axes.plot(difference.mean * 100, row, look.marker, color=look.color, ms=9)
        axes.set_xlabel(f"minus {baseline}, percentage points")
        axes.margins(x=0.12)

    label = f"Difference in accuracy to {baseline}: " + "; ".join(
        f"{summary.attention} {difference.mean * 100:+.1f} points"
        for summary, difference in compared
        if difference
    )
    return svg(draw, _WIDTH, _row_height(compared), label)


def curve_figure(summaries: Sequence[Summary], looks: Looks, key: str, title: str) -> str:
    """A number per epoch: thin lines are runs, the thick line their median; empty if nobody kept it."""
    curves = {summary.attention: found for summary in summaries if (found := summary.curve(key))}
    if not curves:
        return ""

    def draw(figure: Figure) -> None:
        from matplotlib.ticker import MaxNLocator

        axes = figure.add_subplot()
        for attention, runs in curves.items():
            look = looks[attention]
            for run in runs:
                axes.plot(range(1, len(run) + 1), run, color=look.color, lw=0.7, alpha=0.28)
            common = min(map(len, runs))
            middle = np.median([run[:common] for run in runs], axis=0)
            axes.plot(range(1, common + 1), middle, color=look.color, lw=2, ls=look.dashes, label=attention)
        axes.set_xlabel("epoch")
        axes.set_ylabel(title)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        values = [value for runs in curves.values() for run in runs for value in run]
        if min(values) > 0 and max(values) > 10 * min(values):
            axes.set_yscale("log")
        legend_below(figure, axes, list(curves))

    return svg(draw, _WIDTH, 3.4 + 0.1 * len(curves), f"{title} over the epochs for {', '.join(curves)}")


def cost_figure(summaries: Sequence[Summary], looks: Looks) -> str:
    """Cost relative to the first attention, one panel per kind of cost; empty without profiles."""
    measured = [summary for summary in summaries if summary.profile is not None]
    if not measured:
        return ""
    kinds: dict[str, Callable[[Any], float]] = {
        "operations": lambda summary: summary.profile.total_flops,
        "time per epoch": lambda summary: summary.epoch_seconds or summary.seconds.mean,
        "inference time": lambda summary: summary.profile.latency[0],
        "peak memory": lambda summary: summary.profile.memory,
    }

    def draw(figure: Figure) -> None:
        grid = figure.subplots(2, 2, sharey=True)
        for axes, (title, read) in zip(grid.flat, kinds.items(), strict=True):
            reference = read(measured[0]) or 1.0
            ratios = [read(summary) / reference for summary in measured]
            colors = [looks[summary.attention].color for summary in measured]
            axes.barh(range(len(measured)), ratios, color=colors, height=0.62)
            for row, ratio in enumerate(ratios):
                place = {"xytext": (5, 0), "textcoords": "offset points", "va": "center"}
                box = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
                axes.annotate(f"{ratio:.2f}", (ratio, row), bbox=box, **place)
            axes.axvline(1, color=GREY, lw=1, ls=(0, (2, 2)), zorder=0.5)
            axes.set_title(title, loc="left")
            axes.set_xlim(0, max([*ratios, 1.0]) * 1.22)
            axes.grid(axis="y", visible=False)
            axes.set_yticks(range(len(measured)), [wrapped(summary.attention) for summary in measured])
        grid[0, 0].invert_yaxis()

    label = f"Cost of each attention relative to {measured[0].attention}: " + ", ".join(kinds)
    lines = sum(wrapped(summary.attention).count("\n") + 1 for summary in measured)
    return svg(draw, _WIDTH, 1.4 + 0.2 * len(measured) + 0.32 * lines, label)


def _rows(figure: Figure, names: Sequence[str]) -> Any:
    axes = figure.add_subplot()
    axes.set_yticks(range(len(names)), [wrapped(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    return axes


def _row_height(rows: Sequence[object]) -> float:
    return 0.9 + 0.55 * len(rows)
