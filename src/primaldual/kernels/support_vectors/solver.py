"""Which method solves which regression: by the form of the kernel and the number of outputs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from primaldual.errors import ArgumentError
from primaldual.kernels.support_vectors.interior_point import interior_point
from primaldual.kernels.support_vectors.low_rank import nearly_factored
from primaldual.kernels.support_vectors.objective import Regression, certify, feasible
from primaldual.kernels.support_vectors.operators import DenseKernel, FactoredKernel, NearlyFactoredKernel
from primaldual.kernels.support_vectors.splitting import Resolvent, splitting

Kernel = DenseKernel | FactoredKernel
Progress = Callable[[int, float], None]
"""Called with the outputs still unsolved and the largest relative gap among them."""

SPLITTING_STEPS = 300
INTERIOR_STEPS = 100

MOST_MULTIPLIED = 4096
"""Largest N for which a product of features that does not converge is multiplied out."""

WORKSPACE = 2**25
"""Numbers that a batch of factorisations may hold."""


class Solver:
    """Solves regressions on given kernels for any targets, C and epsilon; factorisations are kept.

    Args:
        kernel: one matrix, or a stack of them; with an intercept centred, which changes nothing but b and takes
            its largest eigenvalue away.
        size: mean diagonal before it was centred, one per matrix; a kernel that is its rounding counts as 0.
        intercept: whether coefficients sum to zero.
    """

    def __init__(self, kernel: Kernel, size: Tensor, intercept: bool) -> None:
        self._kernel, self._scale = _unit_diagonal(kernel, size)
        self._intercept = intercept
        self._stacked = self._scale.dim() == 1
        self._factored: tuple[NearlyFactoredKernel | None] | None = None
        self._resolvents: dict[float, Resolvent] = {}

    def __call__(self, regression: Regression, start: Tensor, tolerance: float, progress: Progress) -> Tensor:
        """Coefficients (outputs, N) within the box; of a stack, the outputs of each kernel in turn.

        Raises:
            ArgumentError: numbers of which the box is 0 or infinite in units of the targets.
        """
        unit = _deviation(regression.targets)
        owner = torch.zeros(len(unit), dtype=torch.long, device=unit.device)
        if self._stacked:
            owner = torch.arange(len(self._scale), device=unit.device)
            owner = owner.repeat_interleave(len(unit) // len(owner))
        scale = self._scale.view(-1, 1)[owner]
        box = regression.box * scale / unit
        if not bool(((box > 0) & box.isfinite() & unit.isfinite()).all()):
            raise ArgumentError(
                f"C and targets must be of sizes that go together; got C up to {regression.box.max():.3g}, a deviation "
                f"of the targets up to {unit.max():.3g} and kernels of {scale.min():.3g} to {scale.max():.3g}"
            )
        problem = Regression(regression.targets / unit, box, regression.epsilon / unit, self._intercept)
        kernel = self._kernel.select(owner)
        beta = feasible(problem, start * scale / unit)
        found = certify(problem, beta, kernel.times(beta) if bool(start.any()) else torch.zeros_like(beta))
        left = (found.relative_gap > tolerance).nonzero().squeeze(-1)
        if len(left):
            rest = problem.rows(left)
            if self._stacked:
                beta[left], _ = _in_batches(self._kernel, owner[left], rest, tolerance, progress)
            else:
                beta[left] = self._solve_one(rest, beta[left], tolerance, progress)
        size = torch.where(beta.abs() < box, (beta * unit / scale).abs(), regression.box)
        return torch.minimum(size, regression.box) * beta.sign()

    def _solve_one(self, problem: Regression, start: Tensor, tolerance: float, progress: Progress) -> Tensor:
        """By the quick method for the kernel's form, and what that leaves by the dense interior point method."""
        beta, gap = self._solve_quickly(problem, start, tolerance, progress)
        left = (gap > tolerance).nonzero().squeeze(-1)
        if len(left) and beta.shape[-1] <= MOST_MULTIPLIED:
            again, better = _in_batches(self._kernel.dense(), left, problem.rows(left), tolerance, progress)
            closer = better < gap[left]
            beta[left[closer]] = again[closer]
        return beta

    def _solve_quickly(
        self, problem: Regression, start: Tensor, tolerance: float, progress: Progress
    ) -> tuple[Tensor, Tensor]:
        kernel = self._kernel
        every = torch.arange(len(start), device=start.device)
        if isinstance(kernel, FactoredKernel):
            return _in_batches(kernel, every, problem, tolerance, progress)
        if self._factored is None:
            self._factored = (nearly_factored(kernel),)
        if self._factored[0] is not None:
            return _in_batches(self._factored[0], every, problem, tolerance, progress)
        resolvent = self._resolvent(kernel.matrix, problem)
        beta, found = splitting(resolvent, problem, tolerance, SPLITTING_STEPS, start, progress)
        return beta, found.relative_gap

    def _resolvent(self, matrix: Tensor, problem: Regression) -> Resolvent:
        """The larger the box, the smaller the shift: within a factor of two, so that a path over C reuses some."""
        typical = float(problem.box.log().mean().exp())
        shift = 2.0 ** round(float(torch.tensor(0.3 * typical**-0.25).clamp(0.03, 4).log2()))
        if shift not in self._resolvents:
            self._resolvents = {shift: Resolvent(matrix, shift)}
        return self._resolvents[shift]


def _in_batches(
    kernel: Kernel | NearlyFactoredKernel,
    owner: Tensor,
    regression: Regression,
    tolerance: float,
    progress: Progress,
) -> tuple[Tensor, Tensor]:
    """Interior point, as many outputs at once as the workspace holds; ``owner`` is each output's kernel.

    Coefficients and relative gaps.
    """
    width = kernel.matrix.shape[-1] if isinstance(kernel, DenseKernel) else 2 * kernel.features.shape[-1]
    outputs, size = regression.targets.shape
    batch = max(1, WORKSPACE // (width * size))
    beta = torch.empty_like(regression.targets)
    gap = beta.new_empty(outputs)
    for first in range(0, outputs, batch):
        rows = torch.arange(first, min(first + batch, outputs), device=beta.device)

        def report(unsolved: int, largest: float, waiting: int = outputs - first - len(rows)) -> None:
            progress(unsolved + waiting, largest)

        part = kernel.select(owner[rows]), regression.rows(rows)
        beta[rows], found = interior_point(*part, tolerance, INTERIOR_STEPS, report)
        gap[rows] = found.relative_gap
    return beta, gap


def _deviation(targets: Tensor) -> Tensor:
    """Of each row, without overflow; 1 where it is 0."""
    largest = targets.abs().amax(-1, keepdim=True).clamp(min=torch.finfo(targets.dtype).tiny)
    deviation = (targets / largest).std(-1, keepdim=True, correction=0) * largest
    return torch.where(deviation == 0, 1.0, deviation)


def _unit_diagonal(kernel: Kernel, size: Tensor) -> tuple[Kernel, Tensor]:
    """The kernel over its mean diagonal, and that mean; where it is rounding of ``size``, zeros and 1."""
    scale = kernel.diagonal().mean(-1)
    something = scale > kernel.rounding * size
    return kernel.scaled(torch.where(something, 1 / scale, 0.0)), torch.where(something, scale, 1.0)
