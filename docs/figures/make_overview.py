"""Draw docs/figures/overview.svg: a primal, the attention that it is, and four attentions by one changed choice each.

python docs/figures/make_overview.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import primaldual as pdl
from primaldual.reporting.drawing import on_white, shades, svg
from primaldual.reporting.files import write_text
from primaldual.reporting.palette import BLUE, GREY, INK, ORANGE

TARGET = Path(__file__).with_name("overview.svg")
LABEL = (
    "Left, the primal: a function fitted to 40 noisy points within a tube, with its support vectors. An arrow leads to its "
    "dual, an attention over the same points: the function is a sum of values weighted by kernels. Right, the weights of "
    "40 queries over the 40 keys for softmax, a broad diagonal; bn, weight drawn to the first keys; window(6), the "
    "diagonal cut off; and sh(4), the diagonal in blocks of four keys. Each changes one choice of the primal."
)
CHOICES = {
    "softmax": "the textbook choices",
    "bn": "T: batch normalisation",
    "window(6)": "subset: near positions",
    "sh(4)": "subset: pooled pairs",
}


def data() -> tuple[Tensor, Tensor, Tensor]:
    """40 places from 0 to 10, keys (features of the places) and a noisy target at each."""
    generator = torch.Generator().manual_seed(5)
    places = torch.linspace(0, 10, 40, dtype=torch.float64)
    targets = (0.9 * places).sin() + 0.25 * places
    noise = 0.28 * torch.randn(40, generator=generator, dtype=torch.float64)
    return places, keys(places), (targets + noise).unsqueeze(-1)


def keys(places: Tensor) -> Tensor:
    """Places on an arc of radius 4, so that inner products tell how near they are."""
    angles = places * 0.24
    return 4 * torch.stack([angles.cos(), angles.sin()], -1)


def draw(figure: Any) -> None:
    """The regression, an arrow, and four maps of weights."""
    left, between, right = figure.subfigures(1, 3, width_ratios=(1.25, 0.62, 1.25))
    _regression(left)
    axes = between.subplots()
    axes.set_axis_off()
    arrow = {"arrowstyle": "-|>", "color": ORANGE, "linewidth": 2.2, "mutation_scale": 18}
    axes.annotate(
        "",
        xy=(1.0, 0.5),
        xytext=(0.0, 0.5),
        xycoords="axes fraction",
        arrowprops=arrow,
        annotation_clip=False,
    )
    axes.text(0.5, 0.56, "its dual", ha="center", va="bottom", fontsize=13, color=ORANGE, weight="bold")
    axes.text(
        0.5, 0.44, "values of attention\nare dual coefficients", ha="center", va="top", fontsize=9, color=INK
    )
    _maps(right)


def _regression(figure: Any) -> None:
    places, points, targets = data()
    problem = pdl.preset("softmax")
    solution = pdl.solve(problem, points, targets, C=4 / pdl.kernel_scale(problem, points), epsilon=0.35)
    fine = torch.linspace(0, 10, 300, dtype=torch.float64)
    fitted = solution.predict(keys(fine)).squeeze(-1)
    support = solution.support.squeeze(-1)
    figure.suptitle("State a primal: a regression", fontsize=12, weight="bold", color=INK)
    axes = figure.subplots()
    axes.fill_between(fine, fitted - 0.35, fitted + 0.35, color="#dbe7f3", linewidth=0)
    axes.plot(fine, fitted, color=BLUE, linewidth=2.2)
    axes.scatter(places[~support], targets[~support, 0], s=22, facecolors="none", edgecolors=GREY)
    axes.scatter(places[support], targets[support, 0], s=26, color=ORANGE)
    axes.set_xlabel("f(x) = W Φ(T(x)) / h(x) + b\norange: support vectors", fontsize=10.5, color=INK)
    axes.set_xticks([])
    axes.set_yticks([])


def _maps(figure: Any) -> None:
    _, points, _ = data()
    figure.suptitle("Get an attention: change one choice", fontsize=12, weight="bold", color=INK)
    for axes, (spec, choice) in zip(figure.subplots(2, 2).flat, CHOICES.items(), strict=True):
        weights = pdl.preset(spec).attention_map(points[None, None], points[None, None])
        axes.imshow(weights[0, 0].detach(), cmap=shades(BLUE), aspect="auto", interpolation="nearest")
        axes.set_title(spec, fontsize=10.5, family="monospace", weight="bold", color=INK, pad=3)
        axes.set_xlabel(choice, fontsize=8.5, labelpad=2, color=INK)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.grid(False)
    figure.supxlabel("f(x) = Σⱼ κ(T x, T kⱼ) / h(x) · vⱼ + b", fontsize=10.5, color=INK)


if __name__ == "__main__":
    write_text(TARGET, on_white(svg(draw, 9.6, 3.7, LABEL)))
