"""From the kernels of all heads and a penalty to one certified solution."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from primaldual.kernels.support_vectors.objective import Certificate, Regression, certify
from primaldual.kernels.support_vectors.solver import Progress, Solver
from primaldual.primal.problem import PrimalProblem
from primaldual.svr.expansion import SupportVectorExpansion
from primaldual.svr.reading import TrainingData
from primaldual.svr.training_kernel import TrainingKernel


@dataclass(frozen=True)
class _Share:
    """What one solver is for: one batch and head and its valid pairs, or all of them side by side."""

    solver: Solver
    place: tuple[int, int]
    rows: Tensor | None


class HeadSolver:
    """Solves the regressions of heads that pool alike, for any targets and penalties.

    Small heads that have all their pairs are solved side by side, others one by one.

    Args:
        part: their training pairs and kernels.
        intercept: whether b is fitted.
    """

    def __init__(self, part: TrainingKernel, intercept: bool) -> None:
        size = part.mean_diagonal()
        self.part = part = part.centred() if intercept else part
        self.intercept = intercept
        if part.stackable:
            self._shares = [_Share(Solver(part.stacked(), size.flatten(), intercept), (0, 0), None)]
            return
        self._shares = []
        for place in self._places():
            rows = part.valid[place].nonzero().squeeze(-1)
            if len(rows):
                solver = Solver(part.alone(place, rows), size[place], intercept)
                self._shares.append(_Share(solver, place, rows))

    def __call__(self, regression: Regression, start: Tensor, tolerance: float, progress: Progress) -> Tensor:
        """Coefficients (batch, heads, outputs, Nt)."""
        beta = torch.zeros_like(regression.targets)
        for share in self._shares:
            if share.rows is None:
                flat = regression.map(lambda tensor: tensor.flatten(0, 2))
                return share.solver(flat, start.flatten(0, 2), tolerance, progress).view_as(beta)
            one = regression.rows(share.place).positions(share.rows)
            found = share.solver(one, start[share.place][:, share.rows], tolerance, progress)
            beta[share.place][:, share.rows] = found
        return beta

    def certificate(self, regression: Regression, beta: Tensor, fit: Tensor) -> Certificate:
        """Intercepts and objectives on the valid pairs; ``fit`` is K beta, of the centred K with an intercept."""
        found = []
        for place in self._places():
            rows = self.part.valid[place].nonzero().squeeze(-1)
            one = regression.rows(place)
            if len(rows):
                found.append(certify(one.positions(rows), beta[place][:, rows], fit[place][:, rows]))
            else:
                found.append(Certificate(*one.targets.new_zeros(3, len(one.targets))))
        shape = self.part.valid.shape[:2]
        return Certificate(*(torch.stack(column).unflatten(0, shape) for column in zip(*found, strict=True)))

    def _places(self) -> Iterable[tuple[int, int]]:
        batch, heads = self.part.valid.shape[:2]
        return product(range(batch), range(heads))


def assemble(
    problem: PrimalProblem,
    data: TrainingData,
    solvers: list[HeadSolver],
    penalties: tuple[Tensor, Tensor],
    weights: Tensor | None,
    start: Tensor,
    tolerance: float,
    progress: Progress | None,
) -> SupportVectorExpansion:
    """Solve for one C and epsilon, all heads, and put the solution together.

    Args:
        problem: the choices.
        data: training pairs.
        solvers: of all heads, group by group.
        penalties: C and epsilon, (batch, heads, outputs).
        weights: of the positions, (batch, heads, N), factors of C; a pooled pair has the mean of its members'.
        start: coefficients by position, (batch, heads, N, outputs).
        tolerance: relative duality gap to aim at; the solution tells the one it has.
        progress: see :func:`primaldual.solve`.
    """
    box, width = penalties
    coefficients, values, fitted = (torch.zeros_like(data.targets) for _ in range(3))
    objectives = data.targets.new_zeros(3, *data.targets.shape[:2], data.targets.shape[-1])
    for solver in solvers:
        part, members = solver.part, solver.part.heads.members
        targets, begin = (part.to_pairs(tensor[:, members]).mT for tensor in (data.targets, start))
        if solver.intercept:
            # Large offsets would eat the digits of the residuals; b takes them back.
            middle = (targets * part.valid.unsqueeze(-2)).sum(-1) / part.valid.sum(-1, keepdim=True).clamp(
                min=1
            )
        else:
            middle = torch.zeros_like(targets[..., 0])
        penalty, tube = (tensor[:, members].unsqueeze(-1) for tensor in penalties)
        if weights is not None:
            penalty = penalty * part.to_pairs(weights[:, members].unsqueeze(-1)).mT
        regression = Regression(targets - middle.unsqueeze(-1), penalty, tube, solver.intercept)
        # Half of what is allowed, since the gap is measured again in the units that were given.
        beta = solver(regression, begin, tolerance / 2, progress or _silent)
        fit = part.kernel.times(beta)
        certificate = solver.certificate(regression, beta, fit)
        coefficients[:, members] = part.to_positions(beta.mT)
        values[:, members] = part.to_positions((beta / part.safe_normalizer.unsqueeze(-2)).mT)
        constant = (certificate.intercept + middle).unsqueeze(-1)
        fitted[:, members] = part.to_positions((fit + constant).mT)
        objectives[:, :, members] = torch.stack(certificate)
        objectives[0, :, members] += middle
        if part.offset is not None:
            objectives[0, :, members] -= (beta @ part.offset.unsqueeze(-1)).squeeze(-1)
    shape = data.original_shape
    return SupportVectorExpansion(
        problem=problem,
        keys=shape(data.keys),
        values=shape(values),
        coefficients=shape(coefficients),
        intercept=shape(objectives[0]),
        fitted=shape(fitted),
        primal_objective=shape(objectives[1]),
        gap=shape(objectives[2]),
        C=shape(box),
        epsilon=shape(width),
        mask=None if bool(data.mask.all()) else shape(data.mask),
    )


def _silent(unsolved: int, gap: float) -> None:
    del unsolved, gap
