"""Which method solves which regression: by the form of the kernel and the number of outputs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from primaldual.svr.interior_point import interior_point
from primaldual.svr.low_rank import nearly_factored
from primaldual.svr.objective import Regression
from primaldual.svr.operators import DenseKernel, FactoredKernel, NearlyFactoredKernel
from primaldual.svr.splitting import Resolvent, splitting

Kernel = DenseKernel | FactoredKernel
Progress = Callable[[int, float], None]
"""Called with the outputs still unsolved and the largest relative gap among them."""

SPLITTING_STEPS = 300
INTERIOR_STEPS = 100

ROUNDING = 1e-13
"""Share of a kernel that is nothing but rounding once its mean is taken off."""

WORKSPACE = 2**25
"""Numbers that a batch of factorisations may hold."""


class Solver:
    """Solves regressions on given kernels for any targets, C and epsilon; factorisations are kept.

    With an intercept the kernel is centred first, which changes nothing but b and takes its largest
    eigenvalue away; then it is divided by its mean diagonal.

    Args:
        kernel: one matrix, or a stack of them.
        intercept: whether coefficients sum to zero.
    """

    def __init__(self, kernel: Kernel, intercept: bool) -> None:
        size = _mean_diagonal(kernel)
        self._kernel, self._scale = _unit_diagonal(_centred(kernel) if intercept else kernel, size)
        self._intercept = intercept
        self._stacked = self._scale.dim() == 1
        self._factored: tuple[NearlyFactoredKernel | None] | None = None
        self._resolvents: dict[float, Resolvent] = {}

    def __call__(self, regression: Regression, start: Tensor, tolerance: float, progress: Progress) -> Tensor:
        """Coefficients (outputs, N) within the box; of a stack, the outputs of each kernel in turn."""
        deviation = regression.targets.std(-1, keepdim=True, correction=0)
        unit = torch.where(deviation > 0, deviation, 1.0)
        scale = self._scale.view(-1, 1)
        if self._stacked:
            scale = scale.repeat_interleave(len(unit) // len(scale), 0)
        problem = Regression(
            regression.targets / unit,
            regression.box * scale / unit,
            regression.epsilon / unit,
            self._intercept,
        )
        begin = start * scale / unit
        if self._stacked:
            owner = torch.arange(len(self._scale), device=unit.device)
            owner = owner.repeat_interleave(len(unit) // len(owner))
            found, _ = _in_batches(self._kernel, owner, problem, tolerance, progress)
        else:
            found = self._solve_one(problem, begin, tolerance, progress)
        return torch.minimum((found * unit / scale).abs(), regression.box) * found.sign()

    def _solve_one(self, problem: Regression, start: Tensor, tolerance: float, progress: Progress) -> Tensor:
        every = torch.zeros(len(problem.targets), dtype=torch.long, device=problem.targets.device)
        kernel = self._kernel
        if isinstance(kernel, FactoredKernel):
            return _in_batches(kernel, every, problem, tolerance, progress)[0]
        if self._factored is None:
            self._factored = (nearly_factored(kernel),)
        if self._factored[0] is not None:
            beta, gap = _in_batches(self._factored[0], every, problem, tolerance, progress)
        else:
            resolvent = self._resolvent(kernel.matrix, problem)
            beta, found = splitting(resolvent, problem, tolerance, SPLITTING_STEPS, start, progress)
            gap = found.relative_gap
        left = (gap > tolerance).nonzero().squeeze(-1)
        if len(left):
            again, better = _in_batches(kernel, every[left], problem.rows(left), tolerance, progress)
            closer = better < gap[left]
            beta[left[closer]] = again[closer]
        return beta

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


def _centred(kernel: Kernel) -> Kernel:
    """H K H with H = I - 1 1' / N: the same for coefficients that sum to zero."""
    if isinstance(kernel, FactoredKernel):
        return FactoredKernel(kernel.features - kernel.features.mean(-2, keepdim=True))
    matrix = kernel.matrix
    means = matrix.mean(-1, keepdim=True)
    middle = means - means.mean(-2, keepdim=True) / 2
    return DenseKernel((matrix - middle).sub_(middle.mT))


def _unit_diagonal(kernel: Kernel, size: Tensor) -> tuple[Kernel, Tensor]:
    """The kernel over its mean diagonal, and that mean; where it is rounding of ``size``, zeros and 1."""
    scale = _mean_diagonal(kernel)
    something = scale > ROUNDING * size
    factor = torch.where(something, 1 / scale, 0.0)[..., None, None]
    if isinstance(kernel, FactoredKernel):
        return FactoredKernel(kernel.features * factor.sqrt()), torch.where(something, scale, 1.0)
    return DenseKernel(kernel.matrix * factor), torch.where(something, scale, 1.0)


def _mean_diagonal(kernel: Kernel) -> Tensor:
    if isinstance(kernel, FactoredKernel):
        return kernel.features.square().sum(-1).mean(-1)
    return kernel.matrix.diagonal(dim1=-2, dim2=-1).mean(-1)
