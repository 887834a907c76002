"""Train one softmax head to select tokens and watch its score matrix turn to the max-margin direction.

A head with keys, values and output held at the identity leaves one matrix to learn, W, that of the queries.
The loss is logistic on label times decoder times attended token; the best token of a case is the one that lowers
it most. Normalised gradient descent from W = 0 makes W grow without end; where does it point? Twice: with many
features, where the best tokens of all cases are easily selected together, and with few, where some runs settle
for other tokens.

    python examples/max_margin.py --seeds 8 --out max_margin.svg
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from primaldual import MultiheadAttention
from primaldual.analysis import head_matrix, margin_alignment, max_margin_direction
from primaldual.errors import ArgumentError
from primaldual.reporting.drawing import on_white, svg
from primaldual.reporting.files import write_text
from primaldual.reporting.palette import BLUE, GREEN, INK, ORANGE, PINK


@dataclass(frozen=True)
class Task:
    """Cases with tokens (cases, length, features), a query (cases, features) and a label -1 or 1 each."""

    tokens: Tensor
    queries: Tensor
    labels: Tensor
    decoder: Tensor

    @property
    def best(self) -> Tensor:
        """The token with the lowest loss, per case."""
        return (self.labels[:, None] * (self.tokens @ self.decoder)).argmax(1)


@dataclass(frozen=True)
class Run:
    """W and the attention of each case, (steps, features, features) and (steps, cases, length)."""

    matrices: Tensor
    attention: Tensor

    @property
    def chosen(self) -> Tensor:
        """The token with most attention at the end, per case."""
        return self.attention[-1].argmax(1)

    def alignment(self, direction: Tensor) -> np.ndarray:
        """Cosine with a direction, step by step."""
        return np.array([margin_alignment(matrix, direction) for matrix in self.matrices])


Curves = dict[str, np.ndarray]
"""What a run shows, step by step, by name."""


def draw_task(features: int, seed: int, cases: int = 6, length: int = 6) -> Task:
    """Random unit vectors; labels alternate."""
    generator = torch.Generator().manual_seed(seed)

    def unit(*shape: int) -> Tensor:
        drawn = torch.randn(*shape, features, generator=generator, dtype=torch.float64)
        return drawn / drawn.norm(dim=-1, keepdim=True)

    labels = 1 - 2 * (torch.arange(cases) % 2).double()
    return Task(unit(cases, length), unit(cases), labels, unit())


def train(task: Task, steps: int, rate: float = 0.5) -> Run:
    """Steps of length ``rate`` down the gradient, from W = 0, as many as asked or as float64 can tell."""
    layer = MultiheadAttention(len(task.decoder), 1, bias=False, batch_first=True, dtype=torch.float64)
    for projection in (layer.k_proj, layer.v_proj, layer.out_proj):
        torch.nn.init.eye_(projection.weight)
    weight = torch.nn.init.zeros_(layer.q_proj.weight)
    matrices, attention = [], []
    for _ in range(steps + 1):
        out, maps = layer(task.queries[:, None], task.tokens, task.tokens)
        attention.append(maps.detach()[:, 0])
        matrices.append(head_matrix(layer, 0).clone())
        if attention[-1].sort().values[:, :-1].sum(1).max() < 1e-12:
            break  # so little attention is left for other tokens that rounding begins to tell in the gradient
        loss = softplus(-task.labels * (out[:, 0] @ task.decoder)).mean()
        (gradient,) = torch.autograd.grad(loss, weight)
        with torch.no_grad():
            weight -= rate * gradient / gradient.norm()
    return Run(torch.stack(matrices[1:]), torch.stack(attention[1:]))  # without W = 0, which points nowhere


def measure(task: Task, run: Run) -> Curves:
    """Compare the path of W with the max-margin directions of best and chosen tokens, and with a plain average.

    The average of all (x_best - x_t) q^T knows what to select too, but nothing of margins. Where tokens
    cannot be separated there is no direction, and the alignment is NaN.
    """
    cases = torch.arange(len(task.best))
    differences = task.tokens[cases, task.best] - task.tokens.mean(1)
    curves = {
        "average": run.alignment(differences.T @ task.queries),
        "norm": run.matrices.flatten(1).norm(dim=1).numpy(),
        "attention": run.attention[:, cases, task.best].mean(1).numpy(),
    }
    for name, selected in (("best", task.best), ("chosen", run.chosen)):
        try:
            found = max_margin_direction(task.tokens, task.queries, selected)
            curves[name] = run.alignment(found.direction)
        except ArgumentError:
            curves[name] = np.full(len(run.matrices), np.nan)
    return curves


def random_alignment(features: int, draws: int = 1000) -> float:
    """Mean absolute cosine of two random matrices."""
    first, second = torch.randn(
        2, draws, features**2, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    return float(torch.cosine_similarity(first, second).abs().mean())


def draw(figure: Any, results: dict[int, list[Curves]]) -> None:
    """Alignment in a panel for each number of features; below, norm and attention of both."""
    panels = figure.subplots(2, 2, sharex=True)
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.08)
    blue, orange, green, grey = (BLUE, "-"), (ORANGE, "--"), (GREEN, "-"), (INK, ":")

    def lines(axes: Any, curves: list[Curves], name: str, look: tuple[str, str], label: str) -> None:
        for place, run in enumerate(curves):
            steps = 1 + np.arange(len(run[name]))
            axes.semilogx(steps, run[name], look[1], color=look[0], lw=1.2, label="" if place else label)

    for axes, (features, curves) in zip(panels[0], results.items(), strict=True):
        lines(axes, curves, "average", grey, "average difference")
        lines(axes, curves, "best", blue, "max-margin direction of the best tokens")
        lines(axes, curves, "chosen", orange, "max-margin direction of the chosen tokens")
        axes.axhline(random_alignment(features), color=PINK, ls="-.", label="random direction")
        axes.set(title=f"{features} features", ylim=(0, 1.03), ylabel="alignment of W (cosine)")
    names = (("norm", "norm of W"), ("attention", "attention on the best tokens"))
    for axes, (name, label) in zip(panels[1], names, strict=True):
        for look, (features, curves) in zip((green, grey), results.items(), strict=True):
            lines(axes, curves, name, look, f"{features} features")
        axes.set(xlabel="step", ylabel=label)
        axes.legend(loc="upper left")
    panels[1, 0].set_yscale("log")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2)


def spread(values: Sequence[float]) -> str:
    """Mean and deviation of the values that are known."""
    known = np.array(values)[~np.isnan(values)]
    deviation = f" ± {known.std(ddof=1):.3f}" if len(known) > 1 else ""
    return f"{known.mean():.3f}{deviation}" if len(known) else "-"


def main(arguments: Sequence[str] | None = None) -> None:
    """Train with many and with few features, a line per seed, then means and the figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=8, help="problems of each kind (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=600, help="at most (default: %(default)s)")
    parser.add_argument("--features", type=int, nargs=2, default=(16, 4), help="many, few (default: 16 4)")
    parser.add_argument("--out", type=Path, help="where to write the figure, an SVG file")
    options = parser.parse_args(arguments)
    if min(options.seeds, options.steps, *options.features) < 1 or len(set(options.features)) < 2:
        parser.error("--seeds, --steps and --features must be at least 1, and the two features differ")
    if options.out and not options.out.parent.is_dir():
        parser.error(f"--out must lie in a folder that exists; got {options.out}")
    torch.set_num_threads(1)  # the matrices are tiny

    results: dict[int, list[Curves]] = {}
    for features in options.features:
        print(f"\n{features} features: cosine of W with the max-margin directions of best and chosen tokens")
        print("seed  steps  best chosen  to best  to chosen  norm  attention on chosen")
        results[features] = []
        for seed in range(options.seeds):
            task = draw_task(features, seed)
            run = train(task, options.steps)
            curves = measure(task, run)
            results[features].append(curves)
            same = int((run.chosen == task.best).sum())
            print(
                f"{seed:4d}  {len(run.matrices):5d}  {same:4d} of {len(task.best)}  {curves['best'][-1]:8.3f}  "
                f"{curves['chosen'][-1]:9.3f}  {curves['norm'][-1]:4.0f}  "
                f"{run.attention[-1].amax(1).mean():19.6f}",
                flush=True,
            )
        for name in ("best", "chosen", "average"):
            print(f"{name:8s} {spread([curves[name][-1] for curves in results[features]])}")
        print(f"random   {random_alignment(features):.3f}")
    if options.out:
        label = "Alignment with max-margin directions, norm and attention over the steps of gradient descent"
        drawing = svg(lambda figure: draw(figure, results), 7.5, 5.8, label)
        write_text(options.out, on_white(drawing))
        print(f"\nfigure: {options.out}")


if __name__ == "__main__":
    main()
