"""Interior point method for many regressions at once: the sure way, quadratic near the solution."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from primaldual.kernels.support_vectors.objective import Certificate, Regression, certify, feasible, shrink
from primaldual.kernels.support_vectors.operators import KernelOperator, ShiftedSolver

CLOSEST = 0.995
"""Share of the way to the boundary that a step may go."""

PATIENCE = 4
"""Steps without a clearly smaller gap of the iterate before rounding is taken to have the last word."""


_Found = tuple[Tensor, Certificate]


def interior_point(
    kernel: KernelOperator,
    regression: Regression,
    tolerance: float,
    steps: int,
    progress: Callable[[int, float], None],
) -> tuple[Tensor, Certificate]:
    """Solve every output by Mehrotra's predictor and corrector; the best feasible coefficients of each.

    With p = eps - r + xi and p~ = eps + r + xi~ the slacks of the tube, a step solves

        alpha p = mu,  (C - alpha) xi = mu,  and the same for alpha~,  with  Delta r = -K Delta beta - Delta b,

    which leaves (K + D) Delta beta + Delta b = c with a positive diagonal D for each output.

    Outputs that are done leave the work.

    Args:
        kernel: K, with diagonal about 1.
        regression: targets of order 1.
        tolerance: relative duality gap to stop at.
        steps: most steps.
        progress: called with the outputs at work and their largest relative gap.
    """
    zero = torch.zeros_like(regression.targets)
    solved = zero.clone(), certify(regression, zero, zero)
    active = (solved[1].relative_gap > tolerance).nonzero().squeeze(-1)
    kernel, problem = kernel.select(active), regression.rows(active)
    state = _State.start(problem)
    inside = exact = _rows(solved, active)
    stalled, lowest = torch.zeros_like(active), torch.full_like(inside[1].gap, torch.inf)
    for step in range(steps):
        if not len(active):
            break
        state = _advance(kernel, problem, state)
        beta = feasible(problem, state.beta)
        reached = certify(problem, beta, kernel.times(beta))
        inside = _where(reached.gap <= inside[1].gap, (beta, reached), inside)
        exact = _better(kernel, problem, exact, state.snapped(problem))
        progress(len(active), float(exact[1].relative_gap.max()))
        stalled = torch.where(reached.gap < 0.9 * lowest, 0, stalled + 1)
        lowest = torch.minimum(lowest, reached.gap)
        going = (exact[1].relative_gap > tolerance) & (stalled <= PATIENCE)
        if step == steps - 1:
            going = torch.zeros_like(going)
        if not bool(going.all()):
            good = (exact[1].gap <= inside[1].gap) | (exact[1].relative_gap <= tolerance)
            _write(solved, active, _where(good, exact, inside))
            kept = going.nonzero().squeeze(-1)
            active, kernel, problem = active[kept], kernel.select(kept), problem.rows(kept)
            state, stalled, lowest = state.rows(kept), stalled[kept], lowest[kept]
            inside, exact = _rows(inside, kept), _rows(exact, kept)
    return solved


class _State:
    """Coefficients alpha, alpha~ inside (0, C), tube slacks p, p~ and losses xi, xi~ above 0, K beta and b."""

    def __init__(self, coefficients: Tensor, losses: Tensor, fitted: Tensor, intercept: Tensor) -> None:
        self.coefficients = coefficients
        self.losses = losses
        self.fitted = fitted
        self.intercept = intercept

    @classmethod
    def start(cls, regression: Regression) -> _State:
        targets = regression.targets
        intercept = targets.median(-1, keepdim=True).values * regression.intercept
        residual = targets - intercept
        sides = torch.stack([residual, -residual])
        losses = (sides - regression.epsilon).clamp(min=0) + 1
        half = (regression.box / 2).expand_as(sides).clone()
        return cls(half, losses, torch.zeros_like(targets), intercept)

    def rows(self, index: Tensor) -> _State:
        """Some of the outputs."""
        return _State(
            self.coefficients[:, index], self.losses[:, index], self.fitted[index], self.intercept[index]
        )

    @property
    def beta(self) -> Tensor:
        return self.coefficients[0] - self.coefficients[1]

    def snapped(self, regression: Regression) -> Tensor:
        """Beta with exact zeros and bounds where the residuals put them; inside the interior there are none."""
        residual = regression.targets - self.fitted - self.intercept
        shrunk = shrink(self.beta + residual, regression.epsilon, regression.box)
        return torch.where((shrunk == 0) | (shrunk.abs() == regression.box), shrunk, self.beta)

    def slacks(self, regression: Regression) -> Tensor:
        residual = regression.targets - self.fitted - self.intercept
        return regression.epsilon - torch.stack([residual, -residual]) + self.losses


def _advance(kernel: KernelOperator, regression: Regression, state: _State) -> _State:
    lower, upper = state.coefficients, regression.box - state.coefficients
    slacks, losses = state.slacks(regression), state.losses
    stiffness = slacks / lower + losses / upper
    weight = 1 / stiffness[0] + 1 / stiffness[1]
    diagonal = 1 / weight
    solver = kernel.shifted(diagonal)
    ones = solver(torch.ones_like(state.fitted)) if regression.intercept else None
    products = lower * slacks, upper * losses

    def direction(aims: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        wanted = aims[0] / lower - aims[1] / upper
        pull = (wanted[0] / stiffness[0] - wanted[1] / stiffness[1]) * diagonal
        beta, intercept = _solve(solver, ones, pull, state.beta)
        moved = pull - diagonal * beta
        both = torch.stack([moved, -moved])
        coefficients = (wanted - both) / stiffness
        change = (aims[1] + losses * coefficients) / upper
        return coefficients, change, both + change, moved, intercept

    def reach(step: tuple[Tensor, ...]) -> Tensor:
        coefficients, change, slack = step[:3]
        pairs = ((lower, coefficients), (upper, -coefficients), (slacks, slack), (losses, change))
        steps = [_longest(value, move) for value, move in pairs]
        return torch.stack(steps).amin(0)

    size = 4 * lower.shape[-1]
    complementarity = sum(product.sum((0, -1)) for product in products) / size
    predictor = direction((-products[0], -products[1]))
    along = reach(predictor).unsqueeze(-1)
    after = (lower + along * predictor[0]) * (slacks + along * predictor[2])
    after = after + (upper - along * predictor[0]) * (losses + along * predictor[1])
    centring = ((after.sum((0, -1)) / size / complementarity).clamp(0, 1) ** 3 * complementarity).unsqueeze(
        -1
    )
    corrected = direction(
        (
            centring - products[0] - predictor[0] * predictor[2],
            centring - products[1] + predictor[0] * predictor[1],
        )
    )
    along = (CLOSEST * reach(corrected)).clamp(max=1).unsqueeze(-1)
    coefficients = lower + along * corrected[0]
    return _State(
        coefficients,
        losses + along * corrected[1],
        kernel.times(coefficients[0] - coefficients[1]),
        state.intercept + along * corrected[4],
    )


def _solve(solver: ShiftedSolver, ones: Tensor | None, pull: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
    """(K + D) x + b = pull with sum(beta + x) = 0, or b = 0."""
    change = solver(pull)
    if ones is None:
        return change, torch.zeros_like(change[..., :1])
    intercept = (change.sum(-1, keepdim=True) + beta.sum(-1, keepdim=True)) / ones.sum(-1, keepdim=True)
    return change - intercept * ones, intercept


def _longest(value: Tensor, move: Tensor) -> Tensor:
    """The largest step, at most 1 / CLOSEST, that keeps value + step * move at or above 0, per output."""
    ratio = torch.where(move < 0, -value / move, torch.inf)
    return ratio.amin((0, -1)).clamp(max=1 / CLOSEST)


def _better(kernel: KernelOperator, regression: Regression, found: _Found, candidate: Tensor) -> _Found:
    beta = feasible(regression, candidate)
    certificate = certify(regression, beta, kernel.times(beta))
    return _where(certificate.gap <= found[1].gap, (beta, certificate), found)


def _where(condition: Tensor, first: _Found, second: _Found) -> _Found:
    merged = (torch.where(condition, one, other) for one, other in zip(first[1], second[1], strict=True))
    return torch.where(condition.unsqueeze(-1), first[0], second[0]), Certificate(*merged)


def _rows(found: _Found, index: Tensor) -> _Found:
    return found[0][index], Certificate(*(part[index] for part in found[1]))


def _write(target: _Found, index: Tensor, found: _Found) -> None:
    for whole, part in zip((target[0], *target[1]), (found[0], *found[1]), strict=True):
        whole[index] = part
