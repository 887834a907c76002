"""Let tokens flow on a sphere under self-attention with layer normalisation, and draw energy and clusters.

Three flows start at the same tokens: uphill under a positive definite matrix, uphill under a symmetric one with
eigenvalues of both signs, and downhill under the first.

    python examples/token_flow.py --tokens 24 --out token_flow.svg
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from primaldual.analysis import TokenFlow, token_flow
from primaldual.reporting.drawing import on_white, svg
from primaldual.reporting.files import write_text
from primaldual.reporting.palette import BLUE, GREEN, GREY, ORANGE

EIGENVALUES = {"positive definite": (2.0, 1.0, 0.5), "indefinite": (2.0, 0.5, -2.0)}
COLORS = {"positive definite": BLUE, "indefinite": GREEN, "positive definite, reversed": ORANGE}


def flows(count: int, time: float, seed: int) -> dict[str, TokenFlow]:
    """The three flows by name, of tokens drawn at random."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64)).Q

    def matrix(name: str) -> Tensor:
        return turn @ torch.tensor(EIGENVALUES[name], dtype=torch.float64).diag() @ turn.T

    found = {name: token_flow(tokens, matrix(name), time=time) for name in EIGENVALUES}
    reversed_flow = token_flow(tokens, matrix("positive definite"), time=time, sign=-1.0)
    return found | {"positive definite, reversed": reversed_flow}


def draw(figure: Any, found: dict[str, TokenFlow]) -> None:
    """The paths from above the sphere, one panel each, and below them the energies and numbers of clusters."""
    grid = figure.add_gridspec(2, 6)
    for place, (name, flow) in enumerate(found.items()):
        axes = figure.add_subplot(grid[0, 2 * place : 2 * place + 2], projection="3d")
        axes.set_title(name)
        axes.set_axis_off()
        axes.set_box_aspect((1, 1, 1), zoom=1.5)
        for circle in _circles():
            axes.plot(*circle, color=GREY, lw=0.4, alpha=0.6)
        for path in flow.tokens.transpose(0, 1):
            axes.plot(*path.T.tolist(), color=COLORS[name], lw=0.8, alpha=0.7)
        axes.scatter(*flow.tokens[-1].T.tolist(), color=COLORS[name], s=14, depthshade=False)
    energies, numbers = figure.add_subplot(grid[1, :3]), figure.add_subplot(grid[1, 3:])
    for name, flow in found.items():
        clusters = [len(flow.clusters(0.999, step).unique()) for step in range(len(flow.times))]
        energies.plot(flow.times.tolist(), flow.energies.tolist(), color=COLORS[name], label=name)
        numbers.plot(flow.times.tolist(), clusters, color=COLORS[name])
    energies.set(xlabel="time", ylabel="energy", yscale="log")
    numbers.set(xlabel="time", ylabel="clusters")
    energies.legend(fontsize=8)


def _circles() -> list[list[list[float]]]:
    """Three great circles, as coordinates."""
    angle = torch.linspace(0, 2 * torch.pi, 61)
    flat, zero = [angle.cos().tolist(), angle.sin().tolist()], [0.0] * 61
    return [[*flat, zero], [flat[0], zero, flat[1]], [zero, *flat]]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=int, default=24, help="how many (default: %(default)s)")
    parser.add_argument("--time", type=float, default=12.0, help="how long they flow (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="where to write the figure, an SVG file")
    options = parser.parse_args(arguments)
    if options.tokens < 1 or options.time <= 0:
        parser.error("--tokens and --time must be above 0")
    found = flows(options.tokens, options.time, options.seed)
    for name, flow in found.items():
        first, last = flow.energies[0], flow.energies[-1]
        print(f"{name:28s} energy {first:8.1f} -> {last:8.1f}, {len(flow.clusters().unique())} clusters")
    if options.out:
        label = "Paths of tokens on a sphere under self-attention, their energy and their clusters over time"
        write_text(options.out, on_white(svg(lambda figure: draw(figure, found), 7.5, 5.4, label)))
        print(f"figure: {options.out}")


if __name__ == "__main__":
    main()
