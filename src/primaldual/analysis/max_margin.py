"""The max-margin view of attention: the direction that selects given tokens with the widest margin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from primaldual.errors import ArgumentError, ShapeError
from primaldual.nn.multihead import MultiheadAttention

_TOLERANCE = 1e-6
"""Relative accuracy of a margin, the thinnest margin told from none, and the slack of a tight constraint."""


@dataclass(frozen=True)
class MaxMargin:
    """A hard-margin direction W and its dual, in float64 on the CPU.

        W = sum over cases and tokens of multiplier (x_best - x_t) q^T,      ||W||_F^2 = sum of multipliers

    Attributes:
        direction: W, (features, query features).
        margin: 1 / ||W||_F, infinite when there is nothing to separate.
        support: (cases, length), True where (x_best - x_t)^T W q is 1, within a millionth.
        multipliers: (cases, length), at least 0, above 0 only on support tokens.
    """

    direction: Tensor
    margin: float
    support: Tensor
    multipliers: Tensor


def max_margin_direction(
    tokens: Tensor, queries: Tensor, best: Tensor, mask: Tensor | None = None
) -> MaxMargin:
    """Find the smallest W whose scores x_t^T W q put one token per case ahead of all others by 1.

        W = argmin ||W||_F   subject to   (x_best - x_t)^T W q >= 1   for every case and t != best

    Without another token to beat there is no constraint, and the direction is 0. The problem is turned into
    one of non-negative least squares, which scipy solves (extra ``experiments``).

    Args:
        tokens: x, (cases, length, features).
        queries: q, (cases, query features).
        best: index of the token that each case should select, integers (cases,).
        mask: (cases, length), bool, True = a real token; default all. What stands elsewhere is not read.

    Raises:
        ShapeError: sizes that do not fit together.
        ArgumentError: NaN or infinity, a wrong ``best`` or ``mask``, or constraints that no W satisfies.

    Reference:
        Tarzanagh, Li, Thrampoulidis, Oymak, "Transformers as Support Vector Machines", arXiv 2308.16898;
        Lawson, Hanson, "Solving Least Squares Problems", chapter 23 (least distance programming).

    Example:
        >>> tokens = torch.tensor([[[0.0, 0.0], [3.0, 4.0]]])
        >>> found = max_margin_direction(tokens, torch.tensor([[2.0]]), best=torch.tensor([1]))
        >>> [round(entry, 6) for entry in found.direction.flatten().tolist()], round(found.margin, 6)
        ([0.06, 0.08], 10.0)
    """
    _check_shapes(tokens, queries, best, mask)
    tokens, queries = (given.detach().to("cpu", torch.float64) for given in (tokens, queries))
    real = torch.ones(tokens.shape[:2], dtype=torch.bool) if mask is None else mask.detach().cpu()
    best = best.detach().to("cpu", torch.int64)
    _check_values(tokens, queries, best, real)
    others = real.scatter(1, best[:, None], False)
    case, other = others.nonzero(as_tuple=True)
    differences = tokens[case, best[case]] - tokens[case, other]
    constraints = (differences[:, :, None] * queries[case][:, None, :]).flatten(1)
    solution, weights = _least_norm(constraints)

    support, multipliers = torch.zeros_like(others), torch.zeros(others.shape, dtype=torch.float64)
    support[case, other] = constraints @ solution <= 1 + _TOLERANCE
    multipliers[case, other] = weights
    direction = solution.view(tokens.shape[2], queries.shape[1])
    return MaxMargin(direction, float(1 / direction.norm()), support, multipliers)


def head_matrix(layer: MultiheadAttention, head: int) -> Tensor:
    """Combine key and query projections of one head into the matrix that scores a token for a query.

        W_h = W_k[h]^T W_q[h],      score(x_t, q) = x_t^T W_h q / sqrt(head_dim)

    Read are the weights of ``k_proj`` and ``q_proj``; query heads that share a key head share W_k. Biases
    are left out: that of the keys shifts all scores of a query alike, that of the queries adds a term in
    x_t alone. The product is the whole score of softmax without a transform, also on a window. Under
    ``sh`` the tokens are means over windows. Under ``bn`` it is not the score: the keys' means shift
    the query, and their variances divide the coordinates between W_k and W_q. Nor is it with finite features.

    Args:
        layer: the attention.
        head: index of the query head; the result is (features of keys, features of queries), detached.

    Raises:
        ArgumentError: no such head.

    Example:
        >>> head_matrix(MultiheadAttention(8, 2, kdim=5), head=1).shape
        torch.Size([5, 8])
    """
    if not 0 <= head < layer.num_heads:
        raise ArgumentError(f"head must be from 0 to {layer.num_heads - 1}; got {head}")
    shared = head * layer.kv_heads // layer.num_heads
    keys = layer.k_proj.weight.detach().unflatten(0, (-1, layer.head_dim))[shared]
    queries = layer.q_proj.weight.detach().unflatten(0, (-1, layer.head_dim))[head]
    return keys.T @ queries


def margin_alignment(matrix: Tensor, direction: Tensor) -> float:
    """Cosine of two matrices in the Frobenius inner product, <A, B> / (||A||_F ||B||_F); NaN if one is 0.

    Args:
        matrix: a score matrix, as from :func:`head_matrix`.
        direction: another of the same shape, as from :func:`max_margin_direction`.

    Raises:
        ShapeError: shapes that differ.

    Example:
        >>> margin_alignment(torch.eye(4), torch.ones(4, 4))
        0.5
    """
    if matrix.shape != direction.shape:
        raise ShapeError(
            f"matrix and direction must have one shape; got {tuple(matrix.shape)} and {tuple(direction.shape)}"
        )
    first, second = (given.detach().to("cpu", torch.float64) for given in (matrix, direction))
    return float((first * second).sum() / (first.norm() * second.norm()))


def _least_norm(constraints: Tensor) -> tuple[Tensor, Tensor]:
    """The smallest w with ``constraints @ w >= 1``, and the multipliers that add the constraints up to w."""
    from scipy.optimize import lsq_linear, nnls

    count, width = constraints.shape
    if not count:
        return constraints.new_zeros(width), constraints.new_zeros(0)
    longest = constraints.norm(dim=1).max()
    rows = constraints / (longest if longest > 0 else 1)
    stacked = torch.cat([rows.T, rows.new_ones(1, count)]).numpy()
    target = np.eye(1, width + 1, width)[0]
    solvers: tuple[Callable[[], Any], ...] = (
        lambda: nnls(stacked, target, maxiter=30 * count)[0],
        # The slower way, for when nnls gives up or stops short of the optimum (scipy issue 25389).
        lambda: lsq_linear(stacked, target, (0, np.inf), method="bvls", tol=1e-14).x,
    )
    for solve in solvers:
        try:
            weights = torch.from_numpy(solve())
        except RuntimeError:  # too many iterations
            continue
        solution = weights @ rows
        # The products bound the margin from below, by definition, and the weights from above, by duality;
        # where the bounds meet, both are proved right, whatever the solver did.
        smallest = (rows @ solution).min()
        lower, upper = smallest / solution.norm(), solution.norm() / weights.sum()
        if upper <= _TOLERANCE:
            break
        if lower >= (1 - _TOLERANCE) * upper:
            return solution / (longest * smallest), weights / (longest**2 * smallest)
    raise ArgumentError(
        "best must name tokens that one matrix W can put ahead of all others in every case; got "
        f"{count} constraints on {width} entries of W that cannot all be met by more than a millionth. "
        "Fewer cases or more features help; a query of 0, or a token equal to the best one, never passes"
    )


def _check_shapes(tokens: Tensor, queries: Tensor, best: Tensor, mask: Tensor | None) -> None:
    if tokens.dim() != 3:
        raise ShapeError(f"tokens must be (cases, length, features); got shape {tuple(tokens.shape)}")
    cases, length = tokens.shape[:2]
    if queries.dim() != 2 or len(queries) != cases:
        raise ShapeError(f"queries must be ({cases}, query features); got shape {tuple(queries.shape)}")
    for name, given, shape in (("best", best, (cases,)), ("mask", mask, (cases, length))):
        if given is not None and given.shape != shape:
            raise ShapeError(f"{name} must be {shape}; got shape {tuple(given.shape)}")
    if best.dtype == torch.bool or best.is_floating_point() or best.is_complex():
        raise ArgumentError(f"best must hold integers; got {best.dtype}")
    if mask is not None and mask.dtype != torch.bool:
        raise ArgumentError(f"mask must be bool, True = a real token; got {mask.dtype}")


def _check_values(tokens: Tensor, queries: Tensor, best: Tensor, real: Tensor) -> None:
    chosen = (best >= 0) & (best < real.shape[1])
    chosen[chosen.clone()] = real[chosen, best[chosen]]
    if not chosen.all():
        case = int(chosen.int().argmin())
        raise ArgumentError(
            f"best must name a real token, from 0 to {real.shape[1] - 1} and in mask; "
            f"got {int(best[case])} in case {case}"
        )
    if not (tokens[real].isfinite().all() and queries.isfinite().all()):
        raise ArgumentError("tokens and queries must be finite; got NaN or infinite values")
