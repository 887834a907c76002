"""Figures of the heads of one layer and of a whole model."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from primaldual.analysis import LayerHeads
from primaldual.experiments.inspection.measuring import Inspection
from primaldual.reporting.drawing import shades, svg
from primaldual.reporting.numbers import percent
from primaldual.reporting.palette import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH = 3.6
_WIDE = 6.6
_BLUE, _GREEN, _ORANGE = "#0b4f7d", "#04664b", "#a04300"
_LABELLED = 16
_MOST_CKA = 32


def importance_figure(inspection: Inspection) -> str:
    """Importance of every head of every layer; empty where it was not measured."""
    if not inspection.ablated:
        return ""
    rows = [layer.importance.numpy() for layer in inspection.report.layers]
    heads = max(map(len, rows))
    values = np.full((len(rows), heads), np.nan)
    for place, row in enumerate(rows):
        values[place, : len(row)] = row
    written = heads <= _LABELLED

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        top = float(np.nanmax(values)) or 1.0
        image = _heat(axes, values * 100, _BLUE, top * 100)
        axes.set_aspect("auto")
        if written:
            for (row, head), value in np.ndenumerate(values):
                if not math.isnan(value):
                    color = "white" if value > 0.55 * top else "#1d222b"
                    axes.text(head, row, percent(value), ha="center", va="center", size=8, color=color)
        axes.set_xticks(_ticks(heads))
        axes.set_yticks(range(len(rows)), [str(number) for number in inspection.numbers])
        axes.set_xlabel("head")
        axes.set_ylabel("layer")
        if not written:
            figure.colorbar(image, ax=axes, label="change of the output, %")

    label = f"Importance of {heads} heads in {len(rows)} layers: change of the output in percent"
    return svg(draw, _WIDE, 0.75 + 0.27 * len(rows), label)


def distance_figure(layer: LayerHeads) -> str:
    """A tree of the heads over the distances between their maps; empty with one head."""
    distances = layer.distances.numpy()
    heads = len(distances)
    if heads < 2:
        return ""
    tree = linkage(layer)
    order = head_order(layer)

    def draw(figure: Figure) -> None:
        upper, lower = figure.subplots(2, 1, gridspec_kw={"height_ratios": [1, 3]})
        if tree is not None:
            _draw_tree(upper, tree)
        upper.set_xlim(0, 10 * heads)
        upper.set_ylim(bottom=0)
        top = 0.0 if tree is None else float(tree[:, 2].max())
        upper.set_yticks([0, top] if top else [0], ["0", f"{top:.2g}"] if top else ["0"])
        upper.set_xticks([])
        upper.spines["bottom"].set_visible(False)
        upper.grid(visible=False)
        upper.tick_params(labelsize=8)
        image = _heat(lower, distances[np.ix_(order, order)], _GREEN, float(np.nanmax(distances)) or 1.0)
        lower.set_aspect("auto")
        _name_heads(lower, order)
        figure.colorbar(
            image, ax=lower, location="bottom", shrink=0.8, aspect=28, label="L2 distance of maps"
        )

    return svg(
        draw, _WIDTH, 4.6, f"Distances between the maps of {heads} heads of {layer.path}, and their tree"
    )


def likeness_figure(layer: LayerHeads) -> str:
    """CKA between the heads' outputs, in the order of the tree; empty with one head, or with too many."""
    heads = len(layer.likeness)
    if not 2 <= heads <= _MOST_CKA:
        return ""
    order = head_order(layer)

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        image = _heat(axes, layer.likeness.numpy()[np.ix_(order, order)], _ORANGE, 1.0)
        axes.set_aspect("auto")
        _name_heads(axes, order)
        figure.colorbar(image, ax=axes, location="bottom", shrink=0.8, aspect=28, label="CKA of outputs")

    return svg(draw, _WIDTH, 3.7, f"CKA between the outputs of {heads} heads of {layer.path}")


def bar_figure(layer: LayerHeads) -> str:
    """Entropy and importance of every head; of what was not measured or is not defined there is no bar."""
    heads = len(layer.entropy)
    panels: list[tuple[str, Any, str, float | None]] = [
        ("entropy, 0 to 1", layer.entropy.numpy(), _GREEN, 1.0)
    ]
    if not bool(layer.importance.isnan().all()):
        panels.append(("change, %", layer.importance.numpy() * 100, _BLUE, None))

    def draw(figure: Figure) -> None:
        grid = figure.subplots(len(panels), 1, squeeze=False, sharex=True)[:, 0]
        for axes, (label, values, color, top) in zip(grid, panels, strict=True):
            axes.bar(range(heads), np.nan_to_num(values), color=color, width=0.72)
            axes.set_ylim(0, top)
            axes.set_ylabel(label)
            axes.grid(axis="x", visible=False)
            if np.isnan(values).all():
                axes.text(0.5, 0.5, "not defined: negative weights", ha="center", transform=axes.transAxes)
        grid[-1].set_xticks(_ticks(heads))
        grid[-1].set_xlabel("head")

    measured = "Entropy and importance" if len(panels) == 2 else "Entropy"
    return svg(draw, _WIDTH, 1.9 * len(panels) + 0.2, f"{measured} of {heads} heads of {layer.path}")


def map_figure(path: str, maps: Tensor) -> str:
    """Attention maps of one case, a small picture for every head, at most 16."""
    shown = maps.numpy()[:_LABELLED]
    columns = min(len(shown), 4)
    rows = math.ceil(len(shown) / columns)

    def draw(figure: Figure) -> None:
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes in grid[len(shown) :]:
            axes.set_visible(False)
        for head, weights in enumerate(shown):
            axes = grid[head]
            _heat(axes, weights, _BLUE, float(weights.max()) or 1.0)
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_title(f"head {head}", fontsize=9.5)

    height = 0.1 + rows * (_WIDTH / columns * min(shown.shape[1] / shown.shape[2], 2) + 0.2)
    return svg(draw, _WIDTH, height, f"Attention maps of {len(shown)} heads of {path} for the first case")


def linkage(layer: LayerHeads) -> Any:
    """Average linkage of the heads over the distances between their maps; None where a distance is not finite."""
    from scipy.cluster.hierarchy import linkage as average_linkage
    from scipy.spatial.distance import squareform

    distances = (layer.distances + layer.distances.T).numpy() / 2
    np.fill_diagonal(distances, 0)
    return average_linkage(squareform(distances), "average") if np.isfinite(distances).all() else None


def head_order(layer: LayerHeads) -> list[int]:
    """Heads as the leaves of the tree stand, so that heads alike are neighbours."""
    from scipy.cluster.hierarchy import leaves_list

    tree = linkage(layer) if len(layer.distances) > 1 else None
    return list(range(len(layer.distances))) if tree is None else [int(leaf) for leaf in leaves_list(tree)]


def _draw_tree(axes: Axes, tree: Any) -> None:
    from scipy.cluster.hierarchy import dendrogram

    drawn = dendrogram(tree, no_plot=True)
    for across, up in zip(drawn["icoord"], drawn["dcoord"], strict=True):
        axes.plot(across, up, color=INK, lw=1.1)


def _heat(axes: Axes, values: Any, color: str, top: float) -> Any:
    axes.grid(visible=False)
    axes.spines[["top", "right"]].set_visible(True)
    return axes.imshow(
        values, cmap=shades(color), vmin=min(0.0, float(np.nanmin(values))), vmax=top, interpolation="nearest"
    )


def _name_heads(axes: Axes, order: list[int]) -> None:
    step = math.ceil(len(order) / _LABELLED)
    places = range(0, len(order), step)
    names = [str(order[place]) for place in places]
    axes.set_xticks(places, names)
    axes.set_yticks(places, names)
    axes.tick_params(length=0)


def _ticks(heads: int) -> list[int]:
    return list(range(0, heads, math.ceil(heads / _LABELLED)))
