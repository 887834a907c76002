"""Support vector coefficients of every row by definition: in operations that all modes of torch take."""

from __future__ import annotations

import torch
from torch import Tensor

from primaldual.errors import ArgumentError, ConvergenceError
from primaldual.kernels.modes import in_graph, in_transform
from primaldual.kernels.support_vectors.interior_rows import interior_rows
from primaldual.kernels.support_vectors.objective import Regression, certify, shrink

DIAGONAL = 1e-10
"""Share of its diagonal that is added to a kernel matrix, so that its coefficients are unique."""

TOLERANCE = 1e-6
"""Largest relative duality gap of any output."""

REFINEMENTS = 3
"""Most corrections of which coefficients are free, after those that lie close to a bound."""

WORKSPACE = 2**18
"""Numbers of the matrices that are searched at a time, sized to fit in a cache."""


def row_coefficients(matrix: Tensor, counts: Tensor, value: Tensor, penalty: float, epsilon: float) -> Tensor:
    """Beta of the regression on every row's training set, one for each feature of the values.

        max over beta of  -1/2 beta' K beta + v' beta - epsilon sum_j |beta_j|,   |beta_j| <= C w_j

    An interior point method finds which coefficients are 0 or at a bound. The others solve a linear system, through which
    gradients go: the implicit derivative of the optimality conditions. K has ``DIAGONAL`` of its diagonal added.

    Args:
        matrix: K, (batch, heads, R or 1, Nt, Nt).
        counts: w_j, 0 where hidden, (batch, heads, R or 1, Nt).
        value: v, (batch, heads, R or 1, Nt, Dv).
        penalty: C.
        epsilon: half width of the tube.

    Returns:
        (batch, heads, R or 1, Nt, Dv): 1 if all three have one row.

    Raises:
        ArgumentError: K is not finite. Not checked in graphs and under torch.func.
        ConvergenceError: a relative duality gap above ``TOLERANCE``, likewise.

    Example:
        >>> value = torch.tensor([3.0, -0.5, -2.0]).view(1, 1, 1, 3, 1)
        >>> row_coefficients(torch.eye(3).view(1, 1, 1, 3, 3), torch.ones(1, 1, 1, 3), value, 2.0, 1.0).flatten()
        tensor([ 2.,  0., -1.])
    """
    checked = not (in_graph() or in_transform() or matrix.is_meta)
    shape = torch.broadcast_shapes(matrix.shape[:3], counts.shape[:3], value.shape[:3])
    valid = (counts > 0).expand(*shape, -1)
    kernel, unit = unique(matrix.expand(*shape, -1, -1), valid)
    targets = torch.where(valid.unsqueeze(-1), value, 0.0).mT
    box = torch.where(valid, penalty * counts, 0.0).unsqueeze(-2).expand_as(targets)
    if checked:
        check_finite(kernel)
    fixed = kernel.detach(), targets.detach(), box.detach()
    free, side = _searched(*fixed, epsilon, unit, valid)
    found = solved(kernel, targets, box, epsilon, free, side)
    if checked and found.numel():
        check_gap(*fixed, epsilon, found.detach())
    return found.mT


def solved(
    kernel: Tensor, targets: Tensor, box: Tensor, epsilon: float, free: Tensor, side: Tensor
) -> Tensor:
    """The coefficients, given which are free and their signs; arguments as :func:`sides`, and what it returns."""
    bound = torch.where(free, 0.0, side * box)
    pairs = free.unsqueeze(-1) & free.unsqueeze(-2)
    system = torch.where(pairs, kernel.unsqueeze(-3), 0.0) + torch.diag_embed((~free).to(kernel.dtype))
    return torch.linalg.solve(system, torch.where(free, targets - epsilon * side - bound @ kernel, bound))


def refined(
    kernel: Tensor,
    targets: Tensor,
    box: Tensor,
    epsilon: float,
    unit: Tensor,
    beta: Tensor,
    stops: bool,
) -> tuple[Tensor, Tensor]:
    """What :func:`sides` returns, again of the coefficients that follow from it, as long as that changes something."""
    found = sides(kernel, targets, box, epsilon, unit, beta)
    for _ in range(REFINEMENTS):
        beta = solved(kernel, targets, box, epsilon, *found)
        again = sides(kernel, targets, box, epsilon, unit, beta)
        if stops and all(bool((one == other).all()) for one, other in zip(found, again, strict=True)):
            break
        found = again
    return found


def unique(matrix: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """K with a little on its diagonal, the identity at hidden pairs; and its diagonal, (..., Nt), 1 where K has 0.

    Args:
        matrix: K, (..., Nt, Nt).
        valid: bool (..., Nt), which pairs there are.
    """
    kernel = torch.where(valid.unsqueeze(-1) & valid.unsqueeze(-2), matrix, 0.0)
    unit = kernel.detach().diagonal(dim1=-2, dim2=-1)
    unit = torch.where(unit > 0, unit, 1.0)
    return kernel + torch.diag_embed(torch.where(valid, DIAGONAL * unit, unit)), unit


def sides(
    kernel: Tensor, targets: Tensor, box: Tensor, epsilon: float, unit: Tensor, beta: Tensor
) -> tuple[Tensor, Tensor]:
    """Which coefficients are neither 0 nor at a bound, and the sign of each; 0 where it is 0.

    Args:
        kernel: (..., Nt, Nt).
        targets: (..., Dv, Nt).
        box: C w_j, likewise.
        epsilon: half width of the tube.
        unit: K_jj, (..., Nt).
        beta: near the solution, as the targets.
    """
    unit = unit.unsqueeze(-2)
    placed = shrink(beta + (targets - beta @ kernel) / unit, epsilon / unit, box)
    return (placed != 0) & (placed.abs() < box), placed.sign()


def check_finite(kernel: Tensor) -> None:
    """Raise ArgumentError for a kernel matrix that is not finite."""
    if not bool(kernel.isfinite().all()):
        raise ArgumentError(
            f"the kernel matrix of the keys must be finite in {kernel.dtype}; got {int((~kernel.isfinite()).sum())} numbers "
            "that are not: accepted are smaller keys"
        )


def check_gap(kernel: Tensor, targets: Tensor, box: Tensor, epsilon: float, beta: Tensor) -> None:
    """Raise ConvergenceError unless the duality gap proves the coefficients; arguments as :func:`sides`."""
    inside = beta.maximum(-box).minimum(box)
    width = torch.full_like(targets[..., :1], epsilon)
    gap = certify(Regression(targets, box, width, False), inside, inside @ kernel).relative_gap
    if not bool((gap <= TOLERANCE).all()):
        raise ConvergenceError(
            f"support vector regression stopped at the relative duality gap {float(gap.max()):.2e}, above the tolerance "
            f"{TOLERANCE:.0e}; accepted is a smaller C or a larger epsilon",
            beta,
        )


def _searched(
    kernel: Tensor, targets: Tensor, box: Tensor, epsilon: float, unit: Tensor, valid: Tensor
) -> tuple[Tensor, Tensor]:
    """What :func:`sides` returns of coefficients that are searched for, by one operator in graphs."""
    given = kernel, targets, box, epsilon, unit, valid
    if in_graph():
        found: tuple[Tensor, Tensor] = searched_in_graph(*given)
        return found
    if in_transform() or kernel.is_meta:
        matrix, aim, limit, size, there = (
            tensor.flatten(0, 2) for tensor in (kernel, targets, box, unit, valid)
        )
        beta = interior_rows(matrix, aim, limit, epsilon, size, there, False)
        return refined(kernel, targets, box, epsilon, unit, beta.view_as(targets), False)
    return searched_by_rows(*given)


def searched_by_rows(
    kernel: Tensor, targets: Tensor, box: Tensor, epsilon: float, unit: Tensor, valid: Tensor
) -> tuple[Tensor, Tensor]:
    """A few rows at a time, without the pairs that none of these has."""
    given = [tensor.flatten(0, 2) for tensor in (kernel, targets, box, unit, valid)]
    rows = max(1, WORKSPACE // max(1, targets.shape[-2] * targets.shape[-1] ** 2))
    found = []
    for matrix, aim, limit, size, there in zip(*(tensor.split(rows) for tensor in given), strict=True):
        used = there.any(0).nonzero().squeeze(-1)
        few = matrix[:, used][:, :, used], aim[..., used], limit[..., used], epsilon, size[:, used]
        beta = interior_rows(*few, there[:, used], True)
        free, side = torch.zeros_like(aim, dtype=torch.bool), torch.zeros_like(aim)
        free[..., used], side[..., used] = refined(*few, beta, True)
        found.append((free, side))
    free, side = (torch.cat(parts).view(targets.shape) for parts in zip(*found, strict=True))
    return free, side


@torch.library.custom_op(
    "primaldual::support_vector_sides",
    mutates_args=(),
    schema="(Tensor kernel, Tensor targets, Tensor box, float epsilon, Tensor unit, Tensor valid) -> (Tensor, Tensor)",
)
def searched_in_graph(
    kernel: Tensor, targets: Tensor, box: Tensor, epsilon: float, unit: Tensor, valid: Tensor
) -> tuple[Tensor, Tensor]:
    """:func:`searched_by_rows`, which graphs take as it is: it stops by numbers."""
    return searched_by_rows(kernel, targets, box, epsilon, unit, valid)


@searched_in_graph.register_fake
def _(
    kernel: Tensor, targets: Tensor, box: Tensor, epsilon: float, unit: Tensor, valid: Tensor
) -> tuple[Tensor, Tensor]:
    del kernel, box, epsilon, unit, valid
    shape = targets.shape
    return targets.new_empty(shape, dtype=torch.bool), targets.new_empty(shape)
