"""The two figures of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.when_it_helps.records import Record
from benchmarks.when_it_helps.verdicts import Gain
from primaldual.reporting.drawing import legend_below, on_white, svg
from primaldual.reporting.numbers import signed
from primaldual.reporting.palette import GREY, looks

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def gains_figure(gains: Mapping[str, Sequence[Gain]], kinds: Mapping[str, str]) -> str:
    """Differences to softmax with their t intervals, a panel for each task.

    Args:
        gains: of every task.
        kinds: the name under which an attention is drawn, so that schedules of several tasks share a look.
    """
    names = list(dict.fromkeys(kinds.values()))
    look = looks(names)

    def draw(figure: Figure) -> None:
        columns = 3
        rows = -(-len(gains) // columns)
        grid: Any = figure.subplots(rows, columns, sharey=True, squeeze=False)
        for axes, (task, found) in zip(grid.flat, gains.items(), strict=False):
            axes.axvline(0, color=GREY, lw=1)
            axes.set_title(task, loc="left")
            for one in found:
                name = kinds[one.attention]
                height, middle = names.index(name), 100 * one.difference.mean
                if one.difference.low is not None and one.difference.high is not None:
                    ends = [100 * one.difference.low, 100 * one.difference.high]
                    axes.plot(ends, [height] * 2, color=look[name].color, lw=2)
                axes.plot(middle, height, look[name].marker, color=look[name].color, ms=6)
            axes.set_yticks(range(len(names)), names)
            axes.set_ylim(len(names) - 0.5, -0.5)
        for axes in grid.flat[len(gains) :]:
            axes.set_visible(False)
        figure.supxlabel("test accuracy minus softmax's, points", fontsize=9.5)

    told = "; ".join(
        f"{task}: "
        + ", ".join(f"{kinds[one.attention]} {signed(100 * one.difference.mean)}" for one in found)
        for task, found in gains.items()
    )
    height = 0.8 + (0.45 + 0.19 * len(names)) * -(-len(gains) // 3)
    return on_white(svg(draw, 9.5, height, f"Differences to softmax in points. {told}"))


def entropy_figure(records: Sequence[Record], tasks: Sequence[str]) -> str:
    """Entropy of the attention over training, mean over seeds, a panel for each task."""
    names = list(dict.fromkeys(one.attention for one in records if one.task in tasks))
    names.sort(key=lambda name: name != "softmax")
    look = looks(names)

    def draw(figure: Figure) -> None:
        grid: Any = figure.subplots(1, len(tasks), sharey=True, squeeze=False)
        for axes, task in zip(grid.flat, tasks, strict=True):
            for name in names:
                curves = [one.entropies for one in records if (one.task, one.attention) == (task, name)]
                if curves:
                    epochs, entropy = np.mean(np.array(curves), axis=0).T
                    style = look[name]
                    axes.plot(
                        epochs,
                        entropy,
                        color=style.color,
                        ls=style.dashes,
                        marker=style.marker,
                        ms=4,
                        label=name,
                    )
            axes.set_title(task, loc="left")
            axes.set_xlabel("epoch")
        grid[0, 0].set_ylabel("entropy of attention\n(1 = uniform)")
        legend_below(figure, grid[0, 0], names)

    return on_white(svg(draw, 9.5, 3.6, f"Entropy of the attention over training for {', '.join(names)}"))
