"""Operator splitting with Anderson acceleration: one factorisation of the kernel serves every output and step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from primaldual.kernels.support_vectors.objective import Certificate, Regression, certify, feasible, shrink

RELAXATION = 1.6
"""Over-relaxation of the splitting, between 1 and 2."""

HISTORY = 5
"""Earlier steps that Anderson acceleration combines."""

CHECK_EVERY = 10
"""Steps between two looks at the gap."""


class Resolvent:
    """x -> argmin over sum(x) = 0 of 1/2 x' K x - r' x + shift/2 |x|^2, for rows r (outputs, N).

    Args:
        matrix: K (N, N), with diagonal about 1.
        shift: above 0.
    """

    def __init__(self, matrix: Tensor, shift: float) -> None:
        self.matrix = matrix
        self.shift = shift
        whole = matrix.clone()
        whole.diagonal().add_(shift)
        self._inverse = torch.cholesky_inverse(torch.linalg.cholesky(whole))
        self._ones = self._inverse.sum(0)

    def __call__(self, rows: Tensor, intercept: bool) -> Tensor:
        found = rows @ self._inverse
        if not intercept:
            return found
        return found - (found.sum(-1, keepdim=True) / self._ones.sum()) * self._ones


def splitting(
    resolvent: Resolvent,
    regression: Regression,
    tolerance: float,
    steps: int,
    start: Tensor,
    progress: Callable[[int, float], None],
) -> tuple[Tensor, Certificate]:
    """Solve outputs (outputs, N) by Douglas-Rachford splitting; the best feasible coefficients of each.

    Between the quadratic part with the sum constraint and the box with eps |beta|:

        z = shrink(s),  x = (K + shift)^-1 (y + shift (2 z - s)),  s <- s + relaxation (x - z).

    Near the solution the map is affine and Anderson acceleration makes it as fast as a Krylov method.

    Args:
        resolvent: K and its factorisation.
        regression: targets of order 1.
        tolerance: relative duality gap to stop at.
        steps: most steps.
        start: coefficients to start from.
        progress: called with the outputs at work and their largest relative gap.
    """
    matrix, shift = resolvent.matrix, resolvent.shift
    best = feasible(regression, start)
    fitted = best @ matrix
    found = certify(regression, best, fitted)
    residual = regression.targets - fitted - found.intercept.unsqueeze(-1)
    active = (found.relative_gap > tolerance).nonzero().squeeze(-1)
    point = (best + residual / shift)[active]
    problem, history = regression.rows(active), _Anderson(point)
    for step in range(1, steps + 1):
        if not len(active):
            break
        shrunk = shrink(point, problem.epsilon / shift, problem.box)
        moved = resolvent(torch.add(problem.targets, 2 * shrunk - point, alpha=shift), problem.intercept)
        if step % CHECK_EVERY == 0:
            beta = feasible(problem, shrunk)
            certificate = certify(problem, beta, beta @ matrix)
            closer = certificate.gap <= found.gap[active]
            chosen = active[closer]
            best[chosen] = beta[closer]
            for whole, part in zip(found, certificate, strict=True):
                whole[chosen] = part[closer]
            progress(len(active), float(certificate.relative_gap.max()))
            going = certificate.relative_gap > tolerance
            active, problem = active[going], problem.rows(going)
            point, moved, shrunk = point[going], moved[going], shrunk[going]
            history.keep(going)
        point = history.step(point, RELAXATION * (moved - shrunk))
    return best, found


class _Anderson:
    """Anderson acceleration, type II, of point <- point + residual, row by row."""

    def __init__(self, point: Tensor) -> None:
        outputs, size = point.shape
        self._residuals = point.new_zeros(outputs, HISTORY, size)
        self._points = torch.zeros_like(self._residuals)
        self._gram = point.new_zeros(outputs, HISTORY, HISTORY)
        self._last: tuple[Tensor, Tensor] | None = None
        self._count = 0

    def keep(self, rows: Tensor) -> None:
        """Forget all rows but these."""
        self._residuals, self._points = self._residuals[rows], self._points[rows]
        self._gram = self._gram[rows]
        if self._last is not None:
            self._last = self._last[0][rows], self._last[1][rows]

    def step(self, point: Tensor, residual: Tensor) -> Tensor:
        """The next point."""
        plain = point + residual
        if self._last is not None:
            slot = self._count % HISTORY
            torch.sub(residual, self._last[1], out=self._residuals[:, slot])
            torch.sub(plain, self._last[0], out=self._points[:, slot])
            self._count += 1
            row = (self._residuals @ self._residuals[:, slot].unsqueeze(-1)).squeeze(-1)
            self._gram[:, slot], self._gram[:, :, slot] = row, row
        self._last = plain, residual
        used = min(self._count, HISTORY)
        if not used:
            return plain
        gram = self._gram[:, :used, :used]
        aim = self._residuals[:, :used] @ residual.unsqueeze(-1)
        ridge = 1e-10 * gram.diagonal(dim1=-2, dim2=-1).sum(-1) + torch.finfo(gram.dtype).tiny
        weights = torch.linalg.solve(gram + torch.diag_embed(ridge.unsqueeze(-1).expand(-1, used)), aim)
        return plain - (weights.mT @ self._points[:, :used]).squeeze(1)
