"""Figures of a run: corruptions, rollouts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from primaldual.images.evaluation import Evaluation
from primaldual.images.rollouts import ExampleRollout
from primaldual.reporting.drawing import legend_below, shades, svg
from primaldual.reporting.palette import BLUE, looks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH = 5.0
_HEADS_SHOWN, _LAYERS_SHOWN = 6, 6


def corruption_figure(evaluation: Evaluation) -> str:
    """Accuracy by severity, a line for each kind; empty where nothing was corrupted."""
    if not evaluation.corrupted:
        return ""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for kind, look in looks(list(evaluation.corrupted)).items():
            found = evaluation.corrupted[kind]
            shares = [100 * value for value in found.values()]
            axes.plot(
                list(found), shares, color=look.color, marker=look.marker, ls=look.dashes, lw=1.6, label=kind
            )
        axes.set_xticks(list(next(iter(evaluation.corrupted.values()))))
        axes.set_ylim(0, 100)
        axes.set_xlabel("severity")
        axes.set_ylabel("top-1 accuracy, %")
        legend_below(figure, axes, list(evaluation.corrupted))

    return svg(draw, _WIDTH, 3.2, "Top-1 accuracy by kind and severity of corruption")


def rollout_figure(example: ExampleRollout) -> str:
    """The image, and a row for each layer with a column for each head; the last layers where there are many."""
    layers = [layer[:_HEADS_SHOWN] for layer in example.layers[-_LAYERS_SHOWN:]]
    first = len(example.layers) - len(layers)
    heads = max(len(layer) for layer in layers)

    def draw(figure: Figure) -> None:
        grid = figure.subplots(len(layers), heads + 1, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        grid[0, 0].imshow(example.image, interpolation="nearest")
        grid[0, 0].set_title("image")
        for number, layer in enumerate(layers):
            for head, share in enumerate(layer):
                axes = grid[number, head + 1]
                axes.imshow(
                    share, cmap=shades(BLUE), vmin=0, vmax=float(share.max()) or 1.0, interpolation="nearest"
                )
                axes.set_title(f"layer {first + number + 1}, head {head + 1}", fontsize=7)

    label = f"Attention rollout of an image of class {example.label}, {len(layers)} layers, {heads} heads"
    return svg(draw, 1.4 * _WIDTH, 0.3 + len(layers) * (1.4 * _WIDTH / (heads + 1) + 0.1), label)
