"""Balancing weights of treated and control units: the dual of a support vector classifier of the treatment."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from primaldual.errors import ArgumentError, ShapeError
from primaldual.primal.problem import PrimalProblem
from primaldual.svr.solve import kernel_scale, solve


@dataclass(frozen=True, eq=False)
class BalancingWeights:
    """Weights under which treated and control units agree in Phi(T x) / h(x), and how good they are.

    With w_j = 1 for treated units, -1 for others, s the scale of the kernel and K_ij as in :func:`primaldual.solve`:

        max over a of  sum_j a_j - C / (2 s) sum_ij a_i w_i K_ij w_j a_j,   0 <= a_j <= 1,   sum_j w_j a_j = 0

    Attributes:
        weights: a, (..., N), 0 where masked.
        treatment: bool (..., N), True = treated.
        objective: the objective of the classifier, its loss a mean over units, (...).
        gap: objective minus its dual, (...); 0 at the exact weights.

    Example:
        >>> x, treated = torch.tensor([[0.0], [1.0], [0.1], [0.9]]), torch.tensor([True, True, False, False])
        >>> found = balancing_weights(x, treated)
        >>> found.weights.shape, float(found.gap) < 1e-6
        (torch.Size([4]), True)
    """

    weights: Tensor
    treatment: Tensor
    objective: Tensor
    gap: Tensor

    @property
    def imbalance(self) -> Tensor:
        """|sum_j w_j a_j| over the sum of the weights, (...)."""
        signs = self.weights * torch.where(self.treatment, 1.0, -1.0)
        return signs.sum(-1).abs() / self.weights.sum(-1)

    def effect(self, outcomes: Tensor) -> Tensor:
        """The weighted mean outcome of treated units less that of control units, (...): an estimate of the average effect.

        Args:
            outcomes: (..., N), finite where a weight is not 0.

        Raises:
            ShapeError: another shape than the weights have.
            ArgumentError: a weighted outcome that is not finite, or an arm without weight.

        Example:
            >>> weights = torch.tensor([0.5, 0.5, 1.0])
            >>> found = BalancingWeights(weights, torch.tensor([True, True, False]), weights[0], weights[0])
            >>> found.effect(torch.tensor([3.0, 5.0, 1.0]))
            tensor(3.)
        """
        if outcomes.shape != self.weights.shape:
            raise ShapeError(f"outcomes must be {tuple(self.weights.shape)}; got {tuple(outcomes.shape)}")
        outcomes = torch.where(self.weights != 0, outcomes.to(self.weights), 0.0)
        if not bool(outcomes.isfinite().all()):
            raise ArgumentError("outcomes must be finite where a weight is not 0; got NaN or infinite values")
        means = []
        for arm in (self.treatment, ~self.treatment):
            share = torch.where(arm, self.weights, 0.0)
            total = share.sum(-1)
            if not bool((total > 0).all()):
                raise ArgumentError("weights must be above 0 for a unit of each arm; got an arm of zeros")
            means.append((share * outcomes).sum(-1) / total)
        return means[0] - means[1]


def balancing_weights(
    covariates: Tensor,
    treatment: Tensor,
    C: float = 1.0,
    problem: PrimalProblem | str = "bn",
    *,
    mask: Tensor | None = None,
    tolerance: float = 1e-6,
) -> BalancingWeights:
    """Find the exact balancing weights of one or several sets of units.

    Args:
        covariates: x, ([[sets,] heads,] N, features).
        treatment: bool ([[sets,] heads,] N), True = treated.
        C: in units of the kernel, above 0; larger values balance more and weigh fewer units.
        problem: feature map, normaliser and transform of the space in which units are balanced.
        mask: bool, as ``treatment``, True = a unit; others are ignored, whatever they hold.
        tolerance: largest relative duality gap.

    Raises:
        ShapeError: sizes that do not fit.
        ArgumentError: a treatment or mask that is not boolean, an arm without units, or what :func:`solve` refuses.

    Reference: Zhang, Jennings, Hilmkil, Pawlowski, Zhang, Ma, "Towards Causal Foundation Model: on Duality between
        Optimal Balancing and Attention", ICML 2024, arXiv 2310.00809; Tarr, Imai, "Estimating average treatment
        effects with support vector machines", arXiv 2102.11926.

    Example:
        >>> x = torch.linspace(-2, 2, 60, dtype=torch.float64).unsqueeze(-1)
        >>> treated = torch.sin(9 * x[:, 0]) + x[:, 0] > 0  # more often where x is large
        >>> outcomes = 3 * x[:, 0] + treated  # the effect is 1
        >>> float(outcomes[treated].mean() - outcomes[~treated].mean()) > 3
        True
        >>> found = balancing_weights(x, treated, C=10.0)
        >>> abs(float(found.effect(outcomes)) - 1) < 1
        True
    """
    labels = read_treatment(covariates, treatment, mask)
    scale = kernel_scale(problem, covariates, mask)
    solution = solve(
        problem, covariates, labels.unsqueeze(-1), C / scale, loss="hinge", mask=mask, tolerance=tolerance
    )
    box = solution.C
    units = treatment.sum(-1) + (~treatment).sum(-1) if mask is None else mask.expand_as(treatment).sum(-1)
    weights = (solution.coefficients / box.unsqueeze(-2)).squeeze(-1).abs()
    size = (box.squeeze(-1) * units).to(weights)
    return BalancingWeights(
        weights, treatment, solution.primal_objective.squeeze(-1) / size, solution.gap.squeeze(-1) / size
    )


def read_treatment(covariates: Tensor, treatment: Tensor, mask: Tensor | None = None) -> Tensor:
    """Labels, 1 for treated units and -1 for others, in the dtype of the covariates.

    Raises:
        ShapeError: a treatment or mask that is not of the covariates' units.
        ArgumentError: a treatment or mask that is not boolean, or a set in which one arm has no unit.
    """
    if treatment.shape != covariates.shape[:-1]:
        raise ShapeError(f"treatment must be {tuple(covariates.shape[:-1])}; got {tuple(treatment.shape)}")
    if treatment.dtype != torch.bool:
        raise ArgumentError(f"treatment must be boolean, True = treated; got dtype {treatment.dtype}")
    if mask is not None and mask.shape != treatment.shape:
        raise ShapeError(f"mask must be {tuple(treatment.shape)} like treatment; got {tuple(mask.shape)}")
    if mask is not None and mask.dtype != torch.bool:
        raise ArgumentError(f"mask must be boolean, True = a unit; got dtype {mask.dtype}")
    for name, arm in (("treated", treatment), ("control", ~treatment)):
        there = arm if mask is None else arm & mask
        if not bool(there.any(-1).all()):
            raise ArgumentError(
                f"treatment must leave units in both arms of every set; got no {name} unit in one"
            )
    return torch.where(treatment, 1.0, -1.0).to(covariates.dtype)
