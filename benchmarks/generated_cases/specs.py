"""Attentions drawn at random: every part, every combination of parts that the library accepts."""

from __future__ import annotations

from random import Random

from primaldual.errors import PrimalDualError
from primaldual.primal.presets import preset
from primaldual.primal.problem import PrimalProblem

Grid = tuple[int, int]


def draw_spec(random: Random, heads: int, grid: Grid | None, prefix: int) -> str:
    """A spec for so many heads, accepted by the library.

    Args:
        random: where choices come from.
        heads: query heads.
        grid: sides of the image that positions form, None = a sequence.
        prefix: lone positions in front.
    """
    while True:
        parts = [
            _feature_map(random),
            random.choice(["", "", "", "constant"]),
            *_transforms(random, grid, prefix),
            _subset(random, heads, grid, prefix),
        ]
        spec = "+".join(filter(None, parts)) or "softmax"
        if _accepted(spec, heads):
            return spec


def _accepted(spec: str, heads: int) -> bool:
    try:
        return isinstance(preset(spec).bind(heads, 2), PrimalProblem)
    except PrimalDualError:
        return False


def _feature_map(random: Random) -> str:
    kinds = ["", "", "", "linear", f"taylor({random.randint(0, 3)})", f"random({random.choice([1, 5, 16])})"]
    return random.choice([*kinds, f"softmax(scale={random.choice([0.1, 1.0, 2.0])})"])


def _transforms(random: Random, grid: Grid | None, prefix: int) -> list[str]:
    lone = f",prefix={prefix}" if prefix else ""
    drawn = [
        f"bn(beta={random.choice([0.0, 0.5, 1.0])},scale={random.choice(['inv_std', 'none'])})",
        random.choice(["bn", "bn(gain=0.2)", "bn(gain=0.3,per=feature)", "bn(learnable=true)"]),
        f"conv({random.choice([1, 3, 5])},causal={random.choice(['true', 'false'])}{lone})",
        f"conv(3,queries=true{lone})",
    ]
    if grid is not None:
        drawn.append(f"conv2d({random.choice([1, 3])},grid={grid[0]}x{grid[1]}{lone})")
    return random.sample(drawn, random.choice([0, 0, 1, 1, 2]))


def _subset(random: Random, heads: int, grid: Grid | None, prefix: int) -> str:
    scales = ",".join(str(random.choice([1, 1, 2, 3, 4, 7])) for _ in range(heads))
    shape = f",grid={grid[0]}x{grid[1]}" if grid is not None else ""
    lone = f",prefix={prefix}" if prefix else ""
    suffix = f",suffix={random.choice([1, 2])}" if grid is None and random.random() < 0.3 else ""
    return random.choice(
        [
            "",
            f"window({random.choice([0, 1, 3, 8])})" if grid is None else "",
            f"sh({scales}{shape}{lone}{suffix})",
            f"sh({scales}{shape}{lone},weighted=true)",
            f"anchored({scales}{shape}{lone}{suffix})",
            f"anchored({scales},kept=0.4)" if grid is None else "",
        ]
    )
