"""Draw docs/figures/from_svr_to_attention.svg: a regression, solved, and the attention that it is.

python docs/figures/make_from_svr_to_attention.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import primaldual as pdl
from primaldual.reporting.drawing import on_white, svg
from primaldual.reporting.files import write_text
from primaldual.reporting.palette import BLUE, GREEN, GREY, INK, OCHRE, ORANGE

TARGET = Path(__file__).with_suffix("").name.removeprefix("make_") + ".svg"
LABEL = (
    "Above: 40 noisy points on a curve over the hour of the day, the fitted function with its tube of half width 0.25, "
    "support vectors on the edge of the tube and outside it marked. Below: the attention weights of the queries at 4, "
    "11 and 19 hours over the 40 keys, three bumps around those hours."
)
QUERIES = (4, 11, 19)
COLORS = (BLUE, GREEN, OCHRE)


def on_a_circle(hours: Tensor) -> Tensor:
    """Hours as points of a circle of radius 4: midnight meets midnight."""
    angles = hours * (2 * torch.pi / 24)
    return 4 * torch.stack([angles.cos(), angles.sin()], -1)


def data() -> tuple[Tensor, Tensor]:
    """40 hours and a noisy target at each."""
    generator = torch.Generator().manual_seed(3)
    hours = (24 * torch.rand(40, generator=generator, dtype=torch.float64)).sort().values
    angles = hours * (2 * torch.pi / 24)
    noise = torch.randn(40, generator=generator, dtype=torch.float64)
    return hours, (angles.sin() + 0.5 * (3 * angles).cos() + 0.3 * noise).unsqueeze(-1)


def draw(figure: Any) -> None:
    """Two panels on one time axis."""
    hours, targets = data()
    problem, keys = pdl.preset("softmax"), on_a_circle(hours)
    unit = pdl.kernel_scale(problem, keys)
    solution = pdl.solve(problem, keys, targets, C=2 / unit, epsilon=0.25)
    fine = torch.linspace(0, 24, 481, dtype=torch.float64)
    fitted = solution.predict(on_a_circle(fine)).squeeze(-1)
    sizes = solution.coefficients.abs().squeeze(-1)
    at_bound = sizes >= solution.C * (1 - 1e-9)
    free = solution.support.squeeze(-1) & ~at_bound
    inside = ~solution.support.squeeze(-1)

    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1.35, 1))
    above.fill_between(
        fine, fitted - 0.25, fitted + 0.25, color="#e3e9f1", linewidth=0, label="tube, f ± ε", zorder=1
    )
    above.plot(fine, fitted, color=INK, linewidth=1.8, label="f, the attention's output", zorder=2)
    looks = (
        (inside, "o", "none", GREY, "inside the tube: coefficient 0"),
        (free, "o", INK, INK, "support vector on the edge"),
        (at_bound, "D", ORANGE, ORANGE, "support vector at the bound C"),
    )
    for chosen, marker, face, edge, name in looks:
        above.scatter(
            hours[chosen],
            targets[chosen, 0],
            s=26,
            marker=marker,
            facecolors=face,
            edgecolors=edge,
            label=name,
            zorder=3,
        )
    above.set_ylabel("target")
    above.set_title("The regression: 40 training pairs, one function", loc="left")
    above.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=1.6)

    queries = on_a_circle(torch.tensor(QUERIES, dtype=torch.float64))
    weights = problem.weights(queries[None, None], keys[None, None])
    assert isinstance(weights, Tensor)
    outputs = solution.predict(queries).squeeze(-1)
    for query, row, color, output, marker in zip(QUERIES, weights[0, 0], COLORS, outputs, "osD", strict=True):
        name = f"query at {query} h: output {float(output):.2f}".replace("-", "−")
        seen = row > 0.002
        below.vlines(hours[seen], 0, row[seen], color=color, linewidth=1.1, alpha=0.65)
        below.plot(
            hours[seen], row[seen], linestyle="none", marker=marker, markersize=3.6, color=color, label=name
        )
        above.axvline(query, color=color, linewidth=1.0, linestyle=(0, (4, 3)), zorder=1.5)
        below.axvline(query, color=color, linewidth=1.0, linestyle=(0, (4, 3)))
    below.set_ylim(bottom=0)
    below.set_xlim(-0.3, 24.3)
    below.set_xticks(range(0, 25, 4))
    below.set_xlabel("hour of the day; keys are hours, as points of a circle")
    below.set_ylabel("weight on the key")
    below.set_title("Its attention: weights of three queries over the same 40 keys", loc="left")
    below.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=1.2)


if __name__ == "__main__":
    write_text(Path(__file__).with_name(TARGET), on_white(svg(draw, 8.6, 5.2, LABEL)))
