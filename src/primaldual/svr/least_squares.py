"""What solvers make of a regression with squared errors: objective, optimality, and agreement with the layer."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import NoReturn

import torch
from torch import Tensor

from primaldual.errors import UnsupportedError
from primaldual.primal import definition
from primaldual.primal.choices import Choices
from primaldual.primal.composed_definition import row_mask
from primaldual.primal.decoding.windows import Windows
from primaldual.primal.nested_solvers import NestedSolver
from primaldual.primal.problem import PrimalProblem
from primaldual.svr.expansion import SupportVectorExpansion
from primaldual.svr.reading import TrainingData


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class LeastSquaresExpansion(SupportVectorExpansion):
    """f(x) = sum_j A(x, k_j) c_j with the coefficients of a solver, and what they are worth in squared errors.

    ``values`` are the targets, ``coefficients`` c, ``fitted`` f at the keys; ``C`` is 1 / lambda (inf without a penalty),
    ``epsilon`` and ``intercept`` are 0. ``primal_objective`` is 1/2 sum_j (y_j - f(k_j))^2 + lambda / 2 |W|^2, and ``gap``
    what it is above the dual (ridge) or above the least one for any coefficients (boost, delta).

    Attributes:
        optimality: norm of the objective's gradient in c, over that at c = 0, (..., outputs): 0 where the solver is exact.
            Of ridge in the metric of its kernel, so |(K + lambda I) c - y| / |y|.
        agreement: largest difference of this expansion and the layer, at the keys, over the layer's largest output.

    Example:
        >>> from primaldual import preset, solve
        >>> keys, values = torch.randn(2, 6, 3, dtype=torch.float64).unbind(0)
        >>> found = solve(preset("dot+constant+ridge(1)"), keys, values)
        >>> bool((found.optimality < 1e-12).all()), bool(found.agreement < 1e-12)
        (True, True)
    """

    optimality: Tensor
    agreement: float

    def __str__(self) -> str:
        head = super().__str__().splitlines()[:2]
        least, most = float(self.optimality.min()), float(self.optimality.max())
        return "\n".join(
            [
                *head,
                f"{'objective':<16} {float(self.primal_objective.sum()):.4g}, {float(self.gap.sum()):.2g} above the least",
                f"{'optimality':<16} gradient {least:.1e} to {most:.1e} of that at 0",
                f"{'layer':<16} differs by {self.agreement:.1e} of its largest output",
            ]
        )

    def __repr__(self) -> str:
        return (
            f"LeastSquaresExpansion({self.problem.spec()!r}, keys={tuple(self.keys.shape)}, "
            f"optimality={float(self.optimality.max()):.1e}, agreement={self.agreement:.1e})"
        )

    def predict(self, queries: Tensor) -> Tensor:
        """f at queries (..., M, D), all of which read all keys.

        Raises:
            ShapeError: other leading dimensions or features than the keys have.
        """
        plain = PrimalProblem(*self.problem.parts().amortized())
        given = {field.name: getattr(self, field.name) for field in fields(SupportVectorExpansion)}
        given |= {"problem": plain, "values": self.coefficients}
        return SupportVectorExpansion(**given).predict(queries)

    def save(self, path: str | os.PathLike[str]) -> NoReturn:
        """Unsupported: solve it again.

        Raises:
            UnsupportedError: always.
        """
        raise UnsupportedError(
            f"{self.problem.spec()} is solved in closed form and is not saved; got {os.fspath(path)!r}: solve it again"
        )


def least_squares(problem: PrimalProblem, data: TrainingData) -> LeastSquaresExpansion:
    """The coefficients of a problem's solver on training pairs, by definition, beside its layer.

    Args:
        problem: with a solver, in the type of the data.
        data: keys, targets and mask.

    Raises:
        UnsupportedError: training sets that differ by query, pooled pairs, pair weights, or a transform of keys alone.
        ArgumentError: a singular matrix, or coefficients that leave the range of their type.
    """
    choices = problem.parts()
    _check(choices)
    keys, targets, mask = data.keys, data.targets, data.mask.unsqueeze(2)
    solver, plain = choices.solver, choices.amortized()
    own = PrimalProblem(*plain).neutral_inputs(keys, keys, targets)
    fit = definition.attention_map(plain, keys, keys, mask, False, own)
    fit = torch.where(mask.mT, fit, 0.0)
    if isinstance(solver, NestedSolver):
        products = definition.attention_map(plain, keys, keys, *row_mask(solver, mask, False, keys), own)
        products = torch.where(mask.mT, products, 0.0)
        coefficients = solver.expansion(products, problem.neutral_inputs(keys, keys, targets)) @ targets
        penalty = 0.0
    else:
        penalty = solver.ridge_penalty or 0.0
        diagonal = torch.full_like(targets[..., 0], penalty).masked_fill(~data.mask, 1.0)
        system = fit + torch.diag_embed(diagonal)
        coefficients = torch.linalg.solve(system, targets)
    fitted = fit @ coefficients
    errors = targets - fitted
    objective = errors.square().sum(-2) / 2 + penalty / 2 * (coefficients * fitted).sum(-2)
    if isinstance(solver, NestedSolver):
        gradient, first = fit.mT @ errors, fit.mT @ targets
        least = (targets - fit @ torch.linalg.pinv(fit) @ targets).square().sum(-2) / 2
        gap = (objective - least).clamp(min=0)
    else:
        gradient, first = errors - penalty * coefficients, targets
        gap = gradient.square().sum(-2) / 2
    layer = problem.attend(keys, keys, targets, mask, solver.ordered)
    expansion = PrimalProblem(*plain).attend(keys, keys, coefficients, mask, solver.ordered, inputs=own)
    shape, limit = data.original_shape, torch.full_like(objective, torch.inf if not penalty else 1 / penalty)
    zero = torch.zeros_like(objective)
    tiny = torch.finfo(keys.dtype).tiny
    return LeastSquaresExpansion(
        problem=problem,
        keys=shape(keys),
        values=shape(targets),
        coefficients=shape(coefficients),
        intercept=shape(zero),
        fitted=shape(fitted),
        primal_objective=shape(objective),
        gap=shape(gap),
        C=shape(limit),
        epsilon=shape(zero),
        mask=None if bool(data.mask.all()) else shape(data.mask),
        optimality=shape(gradient.norm(dim=-2) / first.norm(dim=-2).clamp(min=tiny)),
        agreement=float((layer - expansion).abs().max() / layer.abs().max().clamp(min=tiny)),
    )


def _check(choices: Choices) -> None:
    """Refuse what has no single regression, or whose training inputs are not its keys."""
    subset, transform, solver = choices.subset, choices.transform, choices.solver
    if solver.composed and not isinstance(solver, NestedSolver):
        raise UnsupportedError(
            f"{choices.spec()} attends by several kernels, so it has no coefficients of one expansion; accepted are solvers "
            "with such coefficients, as ridge, boost and delta"
        )
    single = all(subset.windows(heads) == Windows() for heads in subset.head_sets(1))
    moved = transform.keeps_queries and not choices.untransformed
    if choices.pair_weights.uneven or not single or moved:
        raise UnsupportedError(
            f"{choices.spec()} has training sets of single queries, pooled pairs, pair weights or convolved keys, and one "
            "regression on the keys is solved; accepted are a feature map, a solver and transforms of queries and keys"
        )
