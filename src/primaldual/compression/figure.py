"""The Pareto plot of a compression."""

from __future__ import annotations

from typing import TYPE_CHECKING

from primaldual.compression.result import Compression
from primaldual.errors import ArgumentError
from primaldual.reporting.drawing import svg
from primaldual.reporting.palette import BLUE, GREY, ORANGE

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def pareto_figure(found: Compression) -> str:
    """Work against similarity to the original, and against the metric if there is one, as SVG.

    Raises:
        ArgumentError: no curve was measured.
    """
    if not found.curve:
        raise ArgumentError("the curve has no points; compress with budgets=")
    points = sorted(found.curve, key=lambda point: point.work)
    works = [point.work for point in points]
    rows: list[tuple[str, list[float], float | None]] = [
        ("similarity to the original", [point.similarity for point in points], 1.0)
    ]
    if points[0].metric is not None:
        rows.append(("metric", [float(point.metric or 0.0) for point in points], None))

    def draw(figure: Figure) -> None:
        axes = figure.subplots(1, len(rows), squeeze=False)[0]
        for place, (label, values, original) in enumerate(rows):
            axes[place].plot(works, values, color=BLUE, marker="o", ms=5, lw=1.6)
            if original is not None:
                axes[place].axhline(original, color=GREY, lw=0.9, ls="--")
                axes[place].plot([found.work], [found.similarity], "D", color=ORANGE, ms=8, label="chosen")
                axes[place].legend(loc="lower right")
            axes[place].set_xlim(0, 1.02)
            axes[place].set_xlabel("attention work, share of the original's")
            axes[place].set_ylabel(label)

    label = "Attention work against what changes, for several budgets"
    return svg(draw, 4.6 * len(rows), 3.2, label)
