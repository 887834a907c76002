"""The regression that a given attention head solves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from primaldual.errors import ArgumentError
from primaldual.kernels.heads import for_query_heads
from primaldual.primal.checks import check_shapes
from primaldual.primal.problem import PrimalProblem
from primaldual.svr.expansion import SupportVectorExpansion
from primaldual.svr.reading import read_training_data
from primaldual.svr.solve import MEMORY, own_copy, solve
from primaldual.svr.training_kernel import training_kernels


@dataclass(frozen=True, eq=False)
class ImpliedRegression:
    """Training pairs and penalties for which a head's values are dual coefficients over h.

    Attributes:
        problem: the choices.
        keys: (batch, heads, N, D).
        targets: y, (batch, heads, N, Dv).
        values: v, (batch, heads, N, Dv); of pooled heads the mean of each window, at all its members.
        coefficients: beta_j = v_j h(k_j), (batch, heads, N, Dv).
        fitted: f at the keys, (batch, heads, N, Dv).
        outputs: the attention at the queries, (batch, heads, Nq, Dv): the same f.
        C: the smallest penalty that allows these coefficients, (batch, heads, 1).
        epsilon: half width of the tube.
        mask: bool (batch, heads, N), or None.

    Example:
        >>> from primaldual import implied_regression, preset
        >>> query, key, value = torch.randn(3, 1, 2, 5, 4).unbind(0)
        >>> found = implied_regression(preset("bn"), query, key, value)
        >>> found.targets.shape, found.C.shape
        (torch.Size([1, 2, 5, 4]), torch.Size([1, 2, 1]))
    """

    problem: PrimalProblem
    keys: Tensor
    targets: Tensor
    values: Tensor
    coefficients: Tensor
    fitted: Tensor
    outputs: Tensor
    C: Tensor
    epsilon: float
    mask: Tensor | None

    @property
    def support(self) -> Tensor:
        """Bool (batch, heads, N, Dv): where the coefficient is not 0."""
        return self.coefficients != 0

    @property
    def at_bound(self) -> Tensor:
        """Bool (batch, heads, N, Dv): coefficients that only a larger C would let grow."""
        return self.coefficients.abs() >= self.C.unsqueeze(-1) * (1 - 1e-12)

    @property
    def sum_of_coefficients(self) -> Tensor:
        """sum_j beta_j, (batch, heads, Dv): 0 in a regression with an intercept, which heads do not have."""
        return self.coefficients.sum(-2)

    def solve(self, **options: Any) -> SupportVectorExpansion:
        """Solve it: its values are the head's, where K has full rank. Options are those of :func:`solve`."""
        return solve(
            self.problem,
            self.keys,
            self.targets,
            self.C,
            self.epsilon,
            intercept=False,
            mask=self.mask,
            **options,
        )


def implied_regression(
    problem: PrimalProblem | str,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    epsilon: float = 0.1,
    *,
    mask: Tensor | None = None,
    memory: int = MEMORY,
) -> ImpliedRegression:
    """Read the heads of an attention as solved regressions without intercept.

    The coefficients are beta_j = v_j h(k_j), f(k_i) = sum_j K_ij beta_j, and the targets that make them optimal

        y_j = f(k_j) + eps sign(beta_j)   on the edge of the tube where beta_j is not 0, f(k_j) where it is,

    with C = max_j |beta_j|. Many other targets do the same: beyond the edge at a bound, anywhere inside the tube
    at 0. Trained values obey neither a bound nor a zero sum on their own, hence this C and no intercept.
    Solving it gives the values back while the coefficients are of like size; with keys of large norm h spans
    many orders of magnitude, and rounding hides the small ones.

    Args:
        problem: the attention of the heads; a bound problem with one set of keys for all queries.
        query: (batch, heads, Nq, D).
        key: (batch, kv heads, N, D).
        value: (batch, kv heads, N, Dv).
        epsilon: half width of the tube, 0 or more, in the unit of the outputs.
        mask: bool (batch, heads, N) or what broadcasts to it, True = may be attended.
        memory: bytes that kernel matrices may need.

    Raises:
        ShapeError: tensors that do not fit.
        ArgumentError: values that are not finite, epsilon below 0.
        UnsupportedError: a subset that differs by query.

    Reference: Nguyen et al., ICLR 2023, for the expansion; the targets are our reading.

    Example:
        >>> query, key, value = torch.randn(3, 1, 2, 6, 4, dtype=torch.float64).unbind(0)
        >>> implied = implied_regression("softmax", query, key, value)
        >>> torch.allclose(implied.solve(tolerance=1e-10).values, value, atol=1e-4)
        True
    """
    problem = own_copy(problem, torch.float64)
    check_shapes(query, key, value)
    if not 0 <= epsilon < torch.inf:
        raise ArgumentError(f"epsilon must be 0 or more and finite; got {epsilon}")
    if not bool(query.isfinite().all()):
        raise ArgumentError("query must be finite; got NaN or infinite values")
    heads = query.shape[1]
    data = read_training_data(for_query_heads(key, heads), for_query_heads(value, heads), mask, torch.float64)
    values, coefficients, fitted, targets = (torch.zeros_like(data.targets) for _ in range(4))
    with torch.no_grad():
        for part in training_kernels(problem, data.keys, data.mask, memory):
            members = part.heads.members
            pairs = part.to_pairs(data.targets[:, members])
            beta = (pairs * part.safe_normalizer.unsqueeze(-1)).mT
            fit = part.kernel.times(beta)
            for whole, rows in (
                (values, pairs.mT),
                (coefficients, beta),
                (fitted, fit),
                (targets, fit + epsilon * beta.sign()),
            ):
                whole[:, members] = part.to_positions(rows.mT)
        attendable = None if mask is None else data.mask.unsqueeze(-2)
        outputs = problem.attend(query.double(), key.double(), value.double(), attendable)
    if not bool(coefficients.isfinite().all()):
        raise ArgumentError(
            "key and value give coefficients v h(k) beyond the largest number; accepted are keys for which h is finite: "
            "scale them down"
        )
    largest = coefficients.abs().amax((-2, -1)).unsqueeze(-1)
    return ImpliedRegression(
        problem=problem,
        keys=data.keys,
        targets=targets,
        values=values,
        coefficients=coefficients,
        fitted=fitted,
        outputs=outputs,
        C=torch.where(largest > 0, largest, 1.0),
        epsilon=float(epsilon),
        mask=None if mask is None else data.mask,
    )
