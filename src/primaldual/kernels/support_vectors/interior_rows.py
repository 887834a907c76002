"""Interior point method for many small regressions side by side, without a choice that depends on numbers."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

STEPS = 30
CLOSEST = 0.995
"""Share of the way to the boundary that a step may go."""

ACCURACY = 1e-14
"""Mean complementarity to stop at, in units that make diagonals and the largest target 1."""

SMALLEST_PIVOT = 1e-14
"""Added to the unit diagonal of systems against rounding."""

SMALLEST = 1e-12
"""Smallest box, in the same units."""


def interior_rows(
    kernel: Tensor,
    targets: Tensor,
    box: Tensor,
    epsilon: float,
    unit: Tensor,
    valid: Tensor,
    stops: bool,
) -> Tensor:
    """Coefficients near the solution by Mehrotra's predictor and corrector, (S, Dv, Nt).

    beta = alpha - alpha~, both in (0, C); p = epsilon - r + xi and p~ = epsilon + r + xi~ above 0, r = v - K beta. A step
    solves alpha p = mu, (C - alpha) xi = mu and the same for alpha~, which leaves one system K + D for each output.

    Args:
        kernel: (S, Nt, Nt), positive definite.
        targets: v, (S, Dv, Nt).
        box: C, likewise.
        epsilon: half width of the tube.
        unit: K_jj, (S, Nt).
        valid: bool (S, Nt); the other pairs stand alone and have targets of 0.
        stops: whether to stop when all are done, which a graph cannot ask.

    Reference: Mehrotra, "On the implementation of a primal-dual interior point method", SIAM J. Optimization 2, 1992.
    """
    if not targets.numel():
        return torch.zeros_like(targets)
    root = unit.sqrt()
    kernel, root = kernel / root.unsqueeze(-1) / root.unsqueeze(-2), root.unsqueeze(1)
    largest = (targets / root).abs().amax(-1, keepdim=True)
    scale = root * torch.where(largest > 0, largest, 1.0)
    v, tube = targets / scale, epsilon / scale
    most = torch.where(valid.unsqueeze(1), box * root.square() / scale, 1.0).clamp(min=SMALLEST)
    sign = torch.tensor([1.0, -1.0], dtype=v.dtype, device=v.device).view(2, 1, 1, 1)
    lower = (most / 2).expand(2, *v.shape)
    losses = (sign * v - tube).clamp(min=0) + 1
    enough = ACCURACY * most.clamp(max=1).mean(-1, keepdim=True)
    fitted = torch.zeros_like(v)
    for _ in range(STEPS):
        point = _Point(lower, most - lower, tube - sign * (v - fitted) + losses, losses)
        live = point.complementarity() > enough
        if stops and not bool(live.any()):
            break
        change = _change(kernel, point, sign, live)
        length = (CLOSEST * point.reach(change)).clamp(max=1)
        live = live & torch.stack([part.isfinite().all(-1).all(0) for part in change]).all(0).unsqueeze(-1)
        lower = torch.where(live, lower + length * change.lower, lower)
        losses = torch.where(live, losses + length * change.losses, losses)
        fitted = (lower[0] - lower[1]) @ kernel
    return (lower[0] - lower[1]) * scale / root.square()


class _Point(NamedTuple):
    """What stays above 0, or its change, for both signs: alpha, C - alpha, p and xi, each (2, S, Dv, Nt)."""

    lower: Tensor
    upper: Tensor
    slack: Tensor
    losses: Tensor

    def complementarity(self) -> Tensor:
        """Mean of alpha p and (C - alpha) xi of each output, (S, Dv, 1)."""
        return (self.lower * self.slack + self.upper * self.losses).mean((0, -1)).unsqueeze(-1) / 2

    def moved(self, change: _Point, length: Tensor) -> _Point:
        """The point after a step."""
        return _Point(*(value + length * move for value, move in zip(self, change, strict=True)))

    def reach(self, change: _Point) -> Tensor:
        """The longest step of each output that keeps all at or above 0, (S, Dv, 1)."""
        ratios = [
            torch.where(move < 0, -value / move, torch.inf) for value, move in zip(self, change, strict=True)
        ]
        return torch.stack(ratios).amin((0, 1, -1)).unsqueeze(-1)


def _change(kernel: Tensor, point: _Point, sign: Tensor, live: Tensor) -> _Point:
    """The step of predictor and corrector; outputs that are done have a system that can be solved."""
    lower, upper, slack, losses = point
    stiffness = slack / lower + losses / upper
    diagonal = torch.where(live, 1 / (1 / stiffness[0] + 1 / stiffness[1]), 1.0)
    system = kernel.unsqueeze(1) + torch.diag_embed(diagonal)
    # Unit diagonals: entries of the diagonal range over many orders of magnitude near a solution.
    scaling = system.diagonal(dim1=-2, dim2=-1).rsqrt()
    system = system * scaling.unsqueeze(-1) * scaling.unsqueeze(-2)
    jitter = torch.full_like(diagonal, SMALLEST_PIVOT)
    factor = torch.linalg.cholesky_ex(system + torch.diag_embed(jitter)).L

    def direction(below: Tensor, above: Tensor) -> _Point:
        wanted = below / lower - above / upper
        pull = (wanted[0] / stiffness[0] - wanted[1] / stiffness[1]) * diagonal
        beta = torch.cholesky_solve((pull * scaling).unsqueeze(-1), factor).squeeze(-1) * scaling
        moved = sign * (pull - diagonal * beta)
        alpha = (wanted - moved) / stiffness
        loss = (above + losses * alpha) / upper
        return _Point(alpha, -alpha, moved + loss, loss)

    first = direction(-lower * slack, -upper * losses)
    mean = point.complementarity()
    after = point.moved(first, point.reach(first).clamp(max=1)).complementarity()
    centre = (after / mean).clamp(0, 1) ** 3 * mean
    return direction(
        centre - lower * slack - first.lower * first.slack,
        centre - upper * losses - first.upper * first.losses,
    )
