"""The primal with squared errors, solved in closed form; its strength chosen by leaving one case out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from primaldual.errors import ArgumentError, ShapeError
from primaldual.primal.problem import PrimalProblem
from primaldual.svr.solve import own_copy
from primaldual.svr.training_kernel import training_kernels

MEMORY = 2**34
"""Bytes that kernel matrices may need."""

PENALTIES = tuple(10.0 ** (exponent / 2) for exponent in range(-10, 7))
"""Strengths to choose from, in units of the kernel: 1e-5 to 1e3, two a decade."""

LEAST_DOUBT = 1e-9
"""Lower bound of 1 - H_jj: a case that determines its own fit has no left-out prediction in finite precision."""

ROUNDING = 1e-12
"""Share of the kernel below which its deviation is rounding."""


@dataclass(frozen=True, eq=False)
class RidgeChoice:
    """The strength whose left-out predictions scored best.

    Attributes:
        penalty: lambda, in units of the kernel.
        score: what it scored.
        left_out: the prediction of every case by the solution for all others, (N, outputs).
    """

    penalty: float
    score: float
    left_out: Tensor


@dataclass(frozen=True, eq=False)
class RidgeSolution:
    """f(x) = ``problem.attend(x, keys, values) + intercept``.

    Attributes:
        values: v_j = beta_j / h(k_j), (N, outputs).
        intercept: b, (outputs,).
    """

    values: Tensor
    intercept: Tensor


def choose_ridge(
    problem: PrimalProblem | str,
    keys: Tensor,
    targets: Tensor,
    score: Callable[[Tensor], float],
    penalties: Sequence[float] = PENALTIES,
    weights: Tensor | None = None,
) -> RidgeChoice:
    r"""Rate the left-out predictions of every penalty; one eigendecomposition serves them all.

    With the kernel K of `solve_ridge`, centred in rows and columns, and H = K (K + lambda u)^-1 + 1/N, the prediction of
    case j by the solution for all other cases is y_j - (y_j - f(k_j)) / (1 - H_jj); with weights, K and H are those of
    the errors times their roots. h and the statistics of T stay those
    of all keys: only the target of a case is left out of them.

    Args:
        problem: a PrimalProblem or a spec, for one head.
        keys: (N, D).
        targets: y, (N, outputs).
        score: rates left-out predictions (N, outputs); the larger the better.
        penalties: lambda, in units of the kernel.
        weights: (N,), above 0, of the squared errors; only their ratios matter. None = equal.

    Raises:
        ShapeError: keys and targets that are not (N, D) and (N, outputs).
        UnsupportedError: a subset that differs by query, or too many cases for the memory.

    Reference: Golub, Heath and Wahba, "Generalized Cross-Validation as a Method for Choosing a Good Ridge Parameter",
    Technometrics 1979.

    Example:
        >>> keys = torch.linspace(-2, 2, 40).unsqueeze(-1)
        >>> choice = choose_ridge("softmax(scale=4.0)", keys, keys.sin(), lambda y: -float((y - keys.sin()).abs().mean()))
        >>> choice.score > -0.05
        True
    """
    kernel, _, targets = _kernel(problem, keys, targets)
    root = _roots(weights, targets)
    kernel = root * kernel * root.T
    centred = _centred(kernel, root)
    unit = _unit(kernel, centred)
    eigenvalues, vectors = torch.linalg.eigh(centred)
    eigenvalues = eigenvalues.clamp(min=0)
    deviations = root * (targets - _mean(targets, root))
    rotated, squares = vectors.T @ deviations, vectors.square()
    own = root.square().squeeze(1) / len(kernel)
    choices = []
    for penalty in penalties:
        shrunk = eigenvalues / (eigenvalues + penalty * unit)
        residual = deviations - vectors @ (shrunk.unsqueeze(1) * rotated)
        doubt = (1 - own - squares @ shrunk).clamp(min=LEAST_DOUBT)
        left_out = targets - residual / root / doubt.unsqueeze(1)
        choices.append(RidgeChoice(penalty, score(left_out), left_out))
    return max(choices, key=lambda choice: choice.score)


def solve_ridge(
    problem: PrimalProblem | str,
    keys: Tensor,
    targets: Tensor,
    penalty: float,
    weights: Tensor | None = None,
) -> RidgeSolution:
    r"""Solve the primal with squared errors.

        min over W, b of  lambda u ||W||_F^2 + sum_j w_j |y_j - f(k_j)|^2,   f(k) = W Phi(T k) / h(k) + b

    h and the statistics of T are frozen at the keys. u, the mean of |Phi / h - their mean|^2 over the keys, is the unit of
    the kernel. In the dual, beta = (K + lambda u)^-1 (y - mean y) with K_ij = kappa(T k_i, T k_j) / (h(k_i) h(k_j)),
    centred in rows and columns; with weights of mean 1, beta = root(w) (Q root(w) K root(w) Q + lambda u)^-1 Q root(w) y,
    where Q takes off the part along root(w).

    Args:
        problem: a PrimalProblem or a spec, for one head.
        keys: (N, D).
        targets: y, (N, outputs).
        penalty: lambda, in units of the kernel, above 0.
        weights: w, (N,), above 0; only their ratios matter. None = equal.

    Raises:
        ShapeError: keys and targets that are not (N, D) and (N, outputs).
        UnsupportedError: a subset that differs by query, or too many cases for the memory.

    Example:
        >>> keys = torch.linspace(-2, 2, 40).unsqueeze(-1)
        >>> solution = solve_ridge("softmax(scale=4.0)", keys, keys.sin(), penalty=1e-5)
        >>> solution.values.shape, solution.intercept.shape
        (torch.Size([40, 1]), torch.Size([1]))
    """
    kernel, normalizer, targets = _kernel(problem, keys, targets)
    root = _roots(weights, targets)
    weighted = root * kernel * root.T
    centred = _centred(weighted, root)
    unit = _unit(weighted, centred)
    centred.diagonal().add_(penalty * unit)
    deviations = root * (targets - _mean(targets, root))
    beta = root * torch.cholesky_solve(deviations, torch.linalg.cholesky(centred))
    return RidgeSolution(beta / normalizer.unsqueeze(1), _mean(targets - kernel @ beta, root))


def _kernel(problem: PrimalProblem | str, keys: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    if keys.dim() != 2 or targets.dim() != 2 or len(keys) != len(targets):
        raise ShapeError(
            f"keys and targets must be (N, D) and (N, outputs); got {tuple(keys.shape)} and {tuple(targets.shape)}"
        )
    own = own_copy(problem, torch.float64).bind(1, keys.shape[1]).double()
    mask = torch.ones(1, 1, len(keys), dtype=torch.bool, device=keys.device)
    with torch.no_grad():
        part = next(training_kernels(own.to(keys.device), keys.double()[None, None], mask, MEMORY))
        return part.kernel.dense().matrix[0, 0], part.normalizer[0, 0], targets.double()


def _roots(weights: Tensor | None, targets: Tensor) -> Tensor:
    """Roots of the weights, whose mean becomes 1, (N, 1).

    Raises:
        ShapeError: weights that are not (N,).
        ArgumentError: weights that are not above 0 and finite.
    """
    if weights is None:
        return torch.ones_like(targets[:, :1])
    if weights.shape != (len(targets),):
        raise ShapeError(f"weights must be ({len(targets)},), one for each key; got {tuple(weights.shape)}")
    if not bool(((weights > 0) & weights.isfinite()).all()):
        raise ArgumentError("weights must be above 0 and finite; leave cases out that shall not count")
    weights = weights.to(targets)
    return (weights / weights.mean()).sqrt().unsqueeze(1)


def _mean(rows: Tensor, root: Tensor) -> Tensor:
    """Weighted mean of rows (N, outputs)."""
    return (root.square() * rows).mean(0)


def _centred(kernel: Tensor, root: Tensor) -> Tensor:
    """Q K Q, where Q takes off the part along the roots; their squares have the mean 1."""
    means = (kernel @ root) / len(kernel)
    return kernel - root * means.T - means * root.T + (root * means).mean() * (root * root.T)


def _unit(kernel: Tensor, centred: Tensor) -> float:
    """Mean diagonal of the centred kernel; that of the kernel itself where keys that are all the same leave rounding."""
    whole, deviation = (float(matrix.diagonal().mean()) for matrix in (kernel, centred))
    return deviation if deviation > ROUNDING * whole else whole
