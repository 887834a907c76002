"""Primal and dual of epsilon-insensitive regression on a kernel matrix, and the gap between them.

For one output with kernel matrix K, targets y and coefficients beta = alpha - alpha~:

    primal   1/2 beta' K beta + sum_j C_j max(|r_j| - eps, 0),   r = y - K beta - b
    dual    -1/2 beta' K beta + y' beta - eps sum_j |beta_j|,  |beta_j| <= C_j, and sum_j beta_j = 0 with b

Tensors hold one output per row, (..., outputs, N); eps is (..., outputs, 1), and so is C unless pairs have weights.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


@dataclass(frozen=True)
class Regression:
    """The numbers that a solver needs: min over beta of minus the dual above.

    Attributes:
        targets: y, (..., outputs, N).
        box: C, (..., outputs, 1), or one for every pair, (..., outputs, N).
        epsilon: half width of the tube, (..., outputs, 1).
        intercept: whether b is fitted; without it b = 0 and the coefficients need not sum to zero.
    """

    targets: Tensor
    box: Tensor
    epsilon: Tensor
    intercept: bool

    def map(self, change: Callable[[Tensor], Tensor]) -> "Regression":
        """The same change of all three tensors."""
        return Regression(change(self.targets), change(self.box), change(self.epsilon), self.intercept)

    def rows(self, index: Tensor | tuple[int, int]) -> "Regression":
        """Some of the outputs."""
        return self.map(lambda tensor: tensor[index])

    def positions(self, index: Tensor) -> "Regression":
        """Some of the training pairs."""
        box = self.box if self.box.shape[-1] == 1 else self.box[..., index]
        return Regression(self.targets[..., index], box, self.epsilon, self.intercept)


class Certificate(NamedTuple):
    """What proves how good coefficients are, per output.

    Attributes:
        intercept: the best b for these coefficients.
        primal: the primal objective.
        gap: primal minus dual, a sum of terms that cannot be negative.
    """

    intercept: Tensor
    primal: Tensor
    gap: Tensor

    @property
    def relative_gap(self) -> Tensor:
        """The gap over the larger objective in size; 0 where both are 0."""
        return relative(self.gap, self.primal)


def relative(gap: Tensor, primal: Tensor) -> Tensor:
    """The gap divided by the larger objective in absolute value; 0 where the gap is 0, NaN where it is NaN."""
    size = torch.maximum(primal.abs(), (primal - gap).abs()).clamp(min=torch.finfo(gap.dtype).tiny)
    return torch.where(gap <= 0, 0.0, gap / size)


def certify(regression: Regression, beta: Tensor, fitted: Tensor) -> Certificate:
    """Objectives of feasible coefficients; ``fitted`` is K beta.

    The gap is sum_j (C_j max(|r_j| - eps, 0) + eps |beta_j| - beta_j r_j): no large numbers are subtracted.

    Example:
        >>> one = torch.ones(1, 1, dtype=torch.float64)
        >>> flat = Regression(torch.full((1, 3), 5.0, dtype=torch.float64), one, 0 * one, True)
        >>> certify(flat, torch.zeros(1, 3), torch.zeros(1, 3)).intercept.item()
        5.0
    """
    residual = regression.targets - fitted
    intercept = best_intercept(regression, residual)
    residual = residual - intercept.unsqueeze(-1)
    loss = regression.box * (residual.abs() - regression.epsilon).clamp(min=0)
    slack = loss + regression.epsilon * beta.abs() - beta * residual
    primal = (beta * fitted).sum(-1) / 2 + loss.sum(-1)
    return Certificate(intercept, primal, slack.clamp(min=0).sum(-1))


def best_intercept(regression: Regression, residual: Tensor) -> Tensor:
    """argmin_b sum_j C_j max(|r_j - b| - eps, 0): the median of all r_j - eps and r_j + eps; 0 if none is fitted."""
    if not regression.intercept:
        return residual.new_zeros(residual.shape[:-1])
    corners, order = torch.cat([residual - regression.epsilon, residual + regression.epsilon], -1).sort(-1)
    if regression.box.shape[-1] > 1:
        below = torch.cat([regression.box, regression.box], -1).gather(-1, order).cumsum(-1)
        half = (below < below[..., -1:] / 2).sum(-1, keepdim=True)
        return corners.gather(-1, half).squeeze(-1)
    middle = residual.shape[-1]
    return (corners[..., middle - 1] + corners[..., middle]) / 2


def shrink(point: Tensor, epsilon: Tensor, box: Tensor) -> Tensor:
    """argmin_z 1/2 (z - point)^2 + epsilon |z| within |z| <= box: exact zeros, exact bounds."""
    return torch.minimum((point.abs() - epsilon).clamp(min=0), box) * point.sign()


def feasible(regression: Regression, beta: Tensor) -> Tensor:
    """Coefficients inside the box, moved to sum to zero where an intercept is fitted.

    What is missing in the sum is spread over the coefficients that are neither 0 nor at a bound, in
    proportion to their distance from both, so that zeros and bounds stay exact; the rest by room in the box.
    """
    beta = torch.minimum(torch.maximum(beta, -regression.box), regression.box)
    if not regression.intercept:
        return beta
    for _ in range(3):
        excess = beta.sum(-1, keepdim=True)
        size = beta.abs()
        inside = torch.minimum(size, regression.box - size)
        room = regression.box + beta * excess.sign()
        weights = torch.where((inside.sum(-1, keepdim=True) > 2 * excess.abs()), inside, room)
        total = weights.sum(-1, keepdim=True)
        beta = beta - excess * weights / torch.where(total > 0, total, 1.0)
        beta = torch.minimum(torch.maximum(beta, -regression.box), regression.box)
    return beta
