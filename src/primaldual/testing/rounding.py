"""The rounding rule: ``attend`` may lose few times the digits that ``dense`` loses in the same dtype."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from primaldual.primal.presets import preset
from primaldual.primal.problem import PrimalProblem
from primaldual.testing.families import Inputs
from primaldual.testing.fed_problem import fed
from primaldual.testing.inputs import filled

BARS = {torch.float32: 10.0, torch.bfloat16: 3.0, torch.float16: 3.0}
"""Largest accepted error of ``attend``, in errors of ``dense``."""

FLOORS = {torch.float32: 3e-7, torch.bfloat16: 8e-3, torch.float16: 1e-3}
"""Least error that ``dense`` is credited with: about a rounding, so that a lucky definition does not set the bar."""

LEAST = 1e-2
"""Size that a part is credited with, in norms of the values: less is what is left where larger numbers cancel."""

SUMMED = 1 / 16
"""Share of a dtype's largest number above which a sum of a few terms may overflow."""

PARTS = ("output", "query gradient", "key gradient", "value gradient")
"""What is compared, in order."""


class Rounding(NamedTuple):
    """Errors of one dtype on some inputs, against ``dense`` in float64.

    Attributes:
        attend: the relative error of every part.
        dense: the same of the definition, before the floor.
        ratios: attend over dense with its floor; inf where attend is not finite.
        attend_nonfinite: how many NaN and inf are in all parts of ``attend``.
        dense_nonfinite: the same of the definition.
        beyond_range: whether the dtype cannot hold the exact outputs or gradients or, where dense is not finite, what
            its formula passes through: the kernel (unless it is taken in logarithms) and one over its squared row sums.
    """

    attend: dict[str, float]
    dense: dict[str, float]
    ratios: dict[str, float]
    attend_nonfinite: int
    dense_nonfinite: int
    beyond_range: bool


def relative_error(found: Tensor, wanted: Tensor, value: Tensor, least: float = LEAST) -> float:
    """norm(found - wanted) / max(norm(wanted), least norm(value)), in float64."""
    found, wanted, value = (tensor.detach().double() for tensor in (found, wanted, value))
    size = max(float(wanted.norm()), least * float(value.norm()))
    error = float((found - wanted).norm())
    return error / size if size else error


def measure_rounding(
    problem: PrimalProblem, inputs: Inputs, dtype: torch.dtype, is_causal: bool, least: float = LEAST
) -> Rounding:
    """Errors of ``attend`` and ``dense`` in a dtype, outputs and gradients, on inputs that are rounded to it first.

    Upstream gradients are N(0, 1), halved until the exact gradients are well within the dtype's range.

    Args:
        problem: bound to the sizes of the inputs.
        inputs: in float64.
        dtype: a key of :data:`BARS`.
        is_causal: as :meth:`PrimalProblem.attend`.
        least: see :func:`relative_error`.
    """
    low = inputs.rounded(dtype)
    generator = torch.Generator().manual_seed(3)
    seed = torch.randn(inputs.query.shape[:3] + inputs.value.shape[3:], generator=generator)
    seed = seed.to(low.query)

    def parts(given: Inputs, name: str) -> list[Tensor]:
        query, key, value, mask = given
        out = getattr(problem, name)(query, key, value, mask, is_causal)
        gradients = torch.autograd.grad(out, (query, key, value), seed.to(out.dtype), allow_unused=True)
        return [out.detach(), *(filled(gradient).to(out.device) for gradient in gradients)]

    wanted = parts(low.rounded(torch.float64), "dense")
    largest = max((float(part.abs().max()) for part in wanted[1:] if part.numel()), default=0.0)
    while largest > SUMMED * torch.finfo(dtype).max:  # as loss scaling does: gradients may leave the range
        seed, largest = seed / 2, largest / 2
    wanted = parts(low.rounded(torch.float64), "dense")
    found = {name: parts(low, name) for name in ("attend", "dense")}
    errors = {
        name: dict(
            zip(
                PARTS,
                (relative_error(*pair, low.value, least) for pair in zip(got, wanted, strict=True)),
                strict=True,
            )
        )
        for name, got in found.items()
    }
    ratios = {
        part: error / max(errors["dense"][part], FLOORS[dtype]) for part, error in errors["attend"].items()
    }
    nonfinite = {name: sum(int((~part.isfinite()).sum()) for part in got) for name, got in found.items()}
    return Rounding(
        errors["attend"],
        errors["dense"],
        {part: math.inf if math.isnan(ratio) else ratio for part, ratio in ratios.items()},
        nonfinite["attend"],
        nonfinite["dense"],
        _overflows(wanted, dtype)
        or (nonfinite["dense"] > 0 and _kernel_overflows(problem, low, dtype, is_causal)),
    )


def _kernel_overflows(problem: PrimalProblem, inputs: Inputs, dtype: torch.dtype, is_causal: bool) -> bool:
    """Whether kernel values, or what the gradient of a division by their sums needs, are beyond the dtype."""
    query, key, _, mask = inputs.rounded(torch.float64)
    logarithms = problem.feature_map.log_kernel(query, key) is not None
    if logarithms and problem.normalizer.cancels_query_factors:
        return False
    one = preset("constant").normalizer
    unnormalised = fed(
        PrimalProblem(problem.feature_map, one, problem.transform, problem.subset, problem.pair_weights)
    )
    found = unnormalised.train(problem.training).weights(query.detach(), key.detach(), mask, is_causal)
    kernels = found if isinstance(found, list) else [found]
    sums = torch.cat([kernel.sum(-1).flatten() for kernel in kernels])
    inverse = sums[sums != 0].square().reciprocal()
    return _overflows([*kernels, inverse], dtype, SUMMED)


def _overflows(exact: Sequence[Tensor], dtype: torch.dtype, share: float = 1.0) -> bool:
    largest = share * torch.finfo(dtype).max
    return any(bool((part.abs() > largest).any()) for part in exact)
