"""The two figures of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.difference_figure import difference_figure
from benchmarks.when_it_helps.records import Record
from benchmarks.when_it_helps.verdicts import Gain
from primaldual.experiments.statistics import Difference
from primaldual.reporting.drawing import legend_below, on_white, svg
from primaldual.reporting.palette import looks

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def gains_figure(gains: Mapping[str, Sequence[Gain]], kinds: Mapping[str, str]) -> str:
    """Differences to softmax with their t intervals, a panel for each task.

    Args:
        gains: of every task.
        kinds: the name under which an attention is drawn, so that schedules of several tasks share a look.
    """
    panels = {
        task: {kinds[one.attention]: _points(one.difference) for one in found}
        for task, found in gains.items()
    }
    axis = "test accuracy minus softmax's, points"
    return difference_figure(panels, axis, "Differences to softmax in points.")


def _points(found: Difference) -> Difference:
    low, high = (None if end is None else 100 * end for end in (found.low, found.high))
    return Difference(100 * found.mean, low, high, found.count)


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
