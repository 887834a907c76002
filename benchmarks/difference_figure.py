"""A figure of differences to a baseline with their intervals, a panel for each task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from primaldual.experiments.statistics import Difference
from primaldual.reporting.drawing import on_white, svg
from primaldual.reporting.numbers import signed
from primaldual.reporting.palette import GREY, looks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Panels = Mapping[str, Mapping[str, Difference]]
"""Differences by task and by the name of the attention, in the unit that is shown."""


def difference_figure(panels: Panels, axis: str, label: str, columns: int = 3, digits: int = 1) -> str:
    """The figure as SVG.

    Args:
        panels: what is drawn.
        axis: words under the figure.
        label: what it shows, for screen readers; the differences follow.
        columns: panels beside one another.
        digits: of the differences in the label.
    """
    names = list(dict.fromkeys(name for found in panels.values() for name in found))
    look = looks(names)

    def draw(figure: Figure) -> None:
        rows = -(-len(panels) // columns)
        grid: Any = figure.subplots(rows, columns, sharey=True, squeeze=False)
        for axes, (task, found) in zip(grid.flat, panels.items(), strict=False):
            axes.axvline(0, color=GREY, lw=1)
            axes.set_title(task, loc="left")
            for name, one in found.items():
                height = names.index(name)
                if one.low is not None and one.high is not None:
                    axes.plot([one.low, one.high], [height] * 2, color=look[name].color, lw=2)
                axes.plot(one.mean, height, look[name].marker, color=look[name].color, ms=6)
            axes.set_yticks(range(len(names)), names)
            axes.set_ylim(len(names) - 0.5, -0.5)
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        figure.supxlabel(axis, fontsize=9.5)

    told = "; ".join(
        f"{task}: " + ", ".join(f"{name} {signed(one.mean, digits)}" for name, one in found.items())
        for task, found in panels.items()
    )
    height = 0.8 + (0.45 + 0.19 * len(names)) * -(-len(panels) // columns)
    return on_white(svg(draw, 9.5, height, f"{label} {told}"))
