"""Figures of what the heads do: attention maps and their distances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from primaldual.experiments.summary import Summary
from primaldual.reporting.drawing import legend_below, shades, svg
from primaldual.reporting.palette import Look

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH = 5.0
_HEADS_SHOWN = 8


def redundancy_figure(summaries: Sequence[Summary], looks: Mapping[str, Look]) -> str:
    """Mean distance between heads, layer by layer; empty where no attention has two heads."""
    shown = [summary for summary in summaries if summary.redundancy]
    if not shown:
        return ""
    layers = max(len(summary.redundancy) for summary in shown)

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for place, summary in enumerate(shown):
            look = looks[summary.attention]
            offset = (place - (len(shown) - 1) / 2) * 0.48 / len(shown)
            rows = np.arange(len(summary.redundancy)) + 1 + offset
            means = [layer.mean for layer in summary.redundancy]
            deviations = [layer.deviation or 0 for layer in summary.redundancy]
            axes.errorbar(
                rows, means, deviations, color=look.color, marker=look.marker, ms=7, lw=1.6, capsize=3,
                ls=look.dashes, label=summary.attention,
            )  # fmt: skip
        axes.set_xticks(range(1, layers + 1), [f"layer {number}" for number in range(1, layers + 1)])
        axes.set_xlim(0.5, layers + 0.5)
        axes.set_ylim(bottom=0)
        axes.set_ylabel("distance between heads")
        axes.grid(axis="x", visible=False)
        legend_below(figure, axes, [summary.attention for summary in shown])

    return svg(
        draw,
        _WIDTH,
        3.2 + 0.12 * len(shown),
        "Mean L2 distance between the attention maps of the heads, per layer",
    )


def map_figure(summary: Summary, look: Look) -> str:
    """Maps of one test case: a row per layer, a column per head; empty without a profile."""
    if summary.profile is None or not summary.profile.maps:
        return ""
    maps = [np.array(layer)[:_HEADS_SHOWN] for layer in summary.profile.maps]
    heads = maps[0].shape[0]

    def draw(figure: Figure) -> None:
        colors = shades(look.color)
        grid = figure.subplots(len(maps), heads, squeeze=False)
        for number, layer in enumerate(maps):
            for head, weights in enumerate(layer):
                axes = grid[number, head]
                axes.imshow(
                    weights, cmap=colors, vmin=0, vmax=float(layer.max()) or 1.0, interpolation="nearest"
                )
                axes.set_xticks([])
                axes.set_yticks([])
                axes.grid(visible=False)
                axes.spines[["top", "right"]].set_visible(True)
                if number == 0:
                    axes.set_title(f"head {head + 1}")
            grid[number, 0].set_ylabel(f"layer {number + 1}")

    label = (
        f"Attention maps of {summary.attention} for the first test case, {len(maps)} layers, {heads} heads"
    )
    return svg(draw, _WIDTH, 0.35 + len(maps) * _WIDTH / heads, label)


def regression_figure(summary: Summary, look: Look) -> str:
    """Implied regressions of one test case: a row per layer, a column per head; empty where there are none."""
    if summary.profile is None or not summary.profile.regressions:
        return ""
    layers = [heads[:_HEADS_SHOWN] for heads in summary.profile.regressions]
    heads = len(layers[0])

    def draw(figure: Figure) -> None:
        grid = figure.subplots(len(layers), heads, squeeze=False)
        for number, layer in enumerate(layers):
            for head, regression in enumerate(layer):
                axes = grid[number, head]
                fitted = np.array(regression["fitted"])
                times = np.arange(len(fitted))
                width = regression["epsilon"]
                axes.fill_between(times, fitted - width, fitted + width, color="#d5d9df", lw=0)
                axes.plot(times, fitted, color="#5b6270", lw=1.2)
                sizes = 3 + 40 * np.array(regression["share"])
                axes.scatter(
                    times, regression["targets"], s=sizes, color=look.color, lw=0, alpha=0.75, zorder=3
                )
                axes.set_xticks([])
                axes.set_yticks([])
                axes.grid(visible=False)
                axes.margins(y=0.15)
                if number == 0:
                    axes.set_title(f"head {head + 1}")
            grid[number, 0].set_ylabel(f"layer {number + 1}")

    label = f"Implied regressions of {summary.attention} for the first test case, {len(layers)} layers, {heads} heads"
    return svg(draw, _WIDTH, 0.35 + len(layers) * max(1.15, _WIDTH / heads), label)
