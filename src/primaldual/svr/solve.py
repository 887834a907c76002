"""Solve the primal: support vector regression of a problem's training pairs, with its certificate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy

import torch
from torch import Tensor

from primaldual.errors import ArgumentError, ConvergenceError, UnsupportedError
from primaldual.kernels.support_vectors.solver import Progress
from primaldual.primal.presets import preset
from primaldual.primal.problem import PrimalProblem
from primaldual.primal.running_statistics import RunningStatistics
from primaldual.primal.solvers import Solver
from primaldual.svr.assembly import HeadSolver, assemble
from primaldual.svr.expansion import SupportVectorExpansion
from primaldual.svr.hinge import Hinge
from primaldual.svr.least_squares import least_squares
from primaldual.svr.losses import EpsilonInsensitive, Loss
from primaldual.svr.reading import TrainingData, read_penalty, read_training_data, read_weights
from primaldual.svr.training_kernel import TrainingKernel, training_kernels

LOSSES: dict[str, type[Loss]] = {"epsilon_insensitive": EpsilonInsensitive, "hinge": Hinge}
"""The losses by name."""

MEMORY = 4 * 2**30
"""Bytes that kernel matrices may need by default."""


def solve(
    problem: PrimalProblem | str,
    keys: Tensor,
    targets: Tensor,
    C: float | Tensor | None = None,
    epsilon: float | None = None,
    *,
    loss: str = "epsilon_insensitive",
    intercept: bool = True,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    start: SupportVectorExpansion | None = None,
    tolerance: float = 1e-6,
    memory: int = MEMORY,
    dtype: torch.dtype = torch.float64,
    progress: Progress | None = None,
) -> SupportVectorExpansion:
    r"""Fit f(x) = W Phi(T(x)) / h(x) + b to the pairs (k_j, y_j), h frozen at the keys.

        min over W, b of  1/2 ||W||_F^2 + C sum_j |y_j - f(k_j)|_eps

    by way of the dual, for every output o with K_ij = kappa(T k_i, T k_j) / (h(k_i) h(k_j)):

        max over beta of  -1/2 beta' K beta + y' beta - eps sum_j |beta_j|,   |beta_j| <= C,  sum_j beta_j = 0

    The values of the attention are v_j = beta_j / h(k_j). With h the sum of kernels, entries of K are about
    1 / N^2, so a C that lets the data be fitted is large: C / :func:`kernel_scale` is C in units of the kernel, and the
    default is 1 in units of the kernel and of the targets' deviation, as in :class:`AttentionSVR`.
    A problem with a solver (``ridge``, ``boost``, ``scaled``, ``delta``, ``deltaformer``) states its coefficients itself,
    for squared errors: the result is a :class:`LeastSquaresExpansion`, with objective, optimality and agreement with the
    layer; epsilon, intercept and tolerance have no place there. Of ``svr`` the result is the regression with its C and
    epsilon, h = 1 and no intercept, whose ``predict`` is the layer.
    Keys are the training inputs as attention has them: batch normalisation, pooling (of targets too) and
    convolution happen inside. With a convolution of keys only, f is fitted at the convolved keys.

    Args:
        problem: a PrimalProblem or a spec, with a subset that serves all queries.
        keys: ([[batch,] heads,] N, D).
        targets: ([[batch,] heads,] N, outputs); every head is a regression of its own.
        C: above 0; a number, or a tensor that broadcasts to ([[batch,] heads,] outputs); None = the deviation of each
            output's targets / ``kernel_scale(problem, keys, mask)``.
        epsilon: half width of the tube, 0 or more, in the unit of the targets; None = 0.1. The hinge has none.
        loss: "epsilon_insensitive", or "hinge", C sum_j max(1 - y_j f(k_j), 0) with targets -1 and 1: a support vector
            classifier with the kernel K. Its dual has 0 <= y_j beta_j <= C, and no epsilon.
        intercept: whether b is fitted; False = the form that attention layers have.
        mask: bool ([[batch,] heads,] N), True = a training pair; others are ignored, whatever they hold.
        weights: ([[batch,] heads,] N), above 0: the C of pair j is C times its weight; None = 1 each.
        start: an earlier solution on the same keys; outputs that it solves are done, dense kernels start from it.
        tolerance: largest relative duality gap of any output.
        memory: bytes that kernels may need; up to about 1 GiB of workspace comes on top.
        dtype: float64 or float32.
        progress: called as the solver goes with the outputs at work (of one head, or of all that are solved side
            by side) that are not yet solved, and their largest relative gap.

    Returns:
        The solution; ``solution.predict`` is the attention.

    Raises:
        ArgumentError: C, epsilon or weights out of range, labels other than -1 and 1 or of one class, values that
            are not finite, a kernel that is not positive semidefinite on these keys.
        ShapeError: keys, targets and mask that do not fit.
        UnsupportedError: a subset that differs by query, pooled labels, or too little memory.
        ConvergenceError: the tolerance was not reached; ``error.solution`` holds the best iterate and its gap.

    Reference: Nguyen et al., "A Primal-Dual Framework for Transformers and Neural Networks", ICLR 2023;
        Smola and Schölkopf, "A tutorial on support vector regression", 2004.

    Example:
        >>> keys = torch.linspace(-2, 2, 40, dtype=torch.float64).unsqueeze(-1)
        >>> solution = solve("softmax", keys, keys.sin(), C=100 / kernel_scale("softmax", keys), epsilon=0.01)
        >>> print(solution)
        attention        softmax
        keys             40 of dimension 1, 1 output each
        ...
        duality gap      ... of the objective, at most
        >>> float((solution.predict(keys) - keys.sin()).abs().max()) < 0.02
        True
        >>> classifier = solve("softmax", keys, keys.sign(), loss="hinge")
        >>> bool((classifier.predict(keys).sign() == keys.sign()).all())
        True
    """
    solver = preset(problem).solver
    if not solver.amortized:
        given = {"C": C, "epsilon": epsilon, "weights": weights, "start": start}
        _check_stated(solver, loss, given)
        if solver.support_vectors is None:
            own, data = own_copy(problem, dtype), read_training_data(keys, targets, mask, dtype)
            with torch.no_grad():
                return least_squares(own, data)
        (C, epsilon), intercept = solver.support_vectors, False
        problem = PrimalProblem(*preset(problem).parts().amortized())
    return solve_path(
        problem, keys, targets, [C], epsilon, loss=loss, intercept=intercept, mask=mask, weights=weights, start=start,
        tolerance=tolerance, memory=memory, dtype=dtype, progress=progress,
    )[0]  # fmt: skip


def _check_stated(solver: Solver, loss: str, others: Mapping[str, object]) -> None:
    """Raise ArgumentError for arguments that a solver states itself."""
    given = [name for name, value in others.items() if value is not None]
    if loss != "epsilon_insensitive":
        raise ArgumentError(
            f"loss must be left out for {solver.spec()}, which states its coefficients itself; got {loss!r}"
        )
    if given:
        raise ArgumentError(
            f"{', '.join(given)} must be None for {solver.spec()}, which states its coefficients itself"
        )


def solve_path(
    problem: PrimalProblem | str,
    keys: Tensor,
    targets: Tensor,
    C: Sequence[float | Tensor | None],
    epsilon: float | None = None,
    *,
    loss: str = "epsilon_insensitive",
    intercept: bool = True,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    start: SupportVectorExpansion | None = None,
    tolerance: float = 1e-6,
    memory: int = MEMORY,
    dtype: torch.dtype = torch.float64,
    progress: Progress | None = None,
) -> list[SupportVectorExpansion]:
    """Solutions for several C, each started from the one before, on one kernel; else as :func:`solve`.

    Example:
        >>> keys = torch.linspace(-2, 2, 40, dtype=torch.float64).unsqueeze(-1)
        >>> path = solve_path("linear", keys, keys.sin(), C=[1e3, 1e4, 1e5])
        >>> [solution.duality_gap <= 1e-6 for solution in path]
        [True, True, True]
    """
    problem = own_copy(problem, dtype)
    data = read_training_data(keys, targets, mask, dtype)
    if not len(C):
        raise ArgumentError("C must hold at least one penalty; got none")
    if loss not in LOSSES:
        raise ArgumentError(f"loss must be one of {', '.join(LOSSES)}; got {loss!r}")
    risk = LOSSES[loss](data, epsilon)
    factors = read_weights(weights, data)
    if not 0 < tolerance < 1:
        raise ArgumentError(f"tolerance must be above 0 and below 1; got {tolerance}")
    beta = _start(start, data)
    with torch.no_grad():
        parts = list(training_kernels(problem, data.keys, data.mask, memory))
        if not risk.pools and any(part.shares is not None for part in parts):
            raise UnsupportedError(
                f"the subset {problem.subset.spec()!r} pools pairs, and means of labels are not labels; accepted for "
                f"loss={loss!r} are subsets whose pairs are positions"
            )
        boxes = [
            _usual_penalty(parts, data) if penalty is None else read_penalty("C", penalty, data)
            for penalty in C
        ]
        solvers = [HeadSolver(part, intercept) for part in parts]
        found = []
        for box in boxes:

            def regress(
                data: TrainingData, width: Tensor, start: Tensor, box: Tensor = box
            ) -> SupportVectorExpansion:
                return assemble(problem, data, solvers, (box, width), factors, start, tolerance, progress)

            penalties = box.unsqueeze(-2)
            if factors is not None:
                penalties = penalties * factors.unsqueeze(-1)
            solution = risk.solve(regress, penalties, beta, tolerance)
            if not solution.duality_gap <= tolerance:
                raise ConvergenceError(
                    f"the solver stopped at the relative duality gap {solution.duality_gap:.2e}, above the tolerance "
                    f"{tolerance:.0e}; accepted is a larger tolerance, a smaller C or a larger epsilon",
                    solution,
                )
            found.append(solution)
            beta = solution.coefficients.view_as(beta)
    return found


def kernel_scale(
    problem: PrimalProblem | str, keys: Tensor, mask: Tensor | None = None, *, memory: int = MEMORY
) -> Tensor | float:
    """Mean over the training pairs of |Phi(T k_j) / h(k_j) - their mean|^2: the unit of the kernel.

    C in units of the kernel means the same for every N, normaliser and feature map: pass
    ``C=10 / kernel_scale(problem, keys)`` to :func:`solve`.

    Args:
        problem: a PrimalProblem or a spec.
        keys: ([[batch,] heads,] N, D).
        mask: bool ([[batch,] heads,] N), True = a training pair.
        memory: bytes that kernel matrices may need.

    Keys that are all the same have no deviation; theirs counts as the mean of |Phi / h|^2, a masked head's as 1.

    Returns:
        A number for keys (N, D), else a tensor ([batch,] heads, 1), which divides C of every output.

    Example:
        >>> keys = torch.linspace(-2, 2, 40, dtype=torch.float64).unsqueeze(-1)
        >>> 0 < kernel_scale("softmax", keys) < 1e-3
        True
    """
    data = read_training_data(keys, None, mask, torch.float64)
    with torch.no_grad():
        scales = _scales(
            training_kernels(own_copy(problem, torch.float64), data.keys, data.mask, memory), data
        )
    return float(scales) if not data.leading else data.original_shape(scales)


def _usual_penalty(parts: Iterable[TrainingKernel], data: TrainingData) -> Tensor:
    """C of 1 in units of the kernel and of the targets, (batch, heads, outputs); constant targets count as they are."""
    share = data.mask.unsqueeze(-1).to(data.targets.dtype)
    share = share / share.sum(-2, keepdim=True).clamp(min=1)
    mean = (share * data.targets).sum(-2, keepdim=True)
    deviation = (share * (data.targets - mean).square()).sum(-2).sqrt()
    return torch.where(deviation > 0, deviation, 1.0) / _scales(parts, data)


def _scales(parts: Iterable[TrainingKernel], data: TrainingData) -> Tensor:
    scales = data.keys.new_empty(*data.keys.shape[:2], 1)
    for part in parts:
        scales[:, part.heads.members, 0] = kernel_deviation(part)
    return scales


def kernel_deviation(part: TrainingKernel) -> Tensor:
    """What :func:`kernel_scale` returns, (batch, heads)."""
    mean, deviation = part.mean_diagonal(), part.centred().mean_diagonal()
    empty = ~part.valid.any(-1)
    if not bool(((mean > 0) | empty).all()):
        raise ArgumentError("keys have a kernel over h that is 0 in float64; accepted are smaller keys")
    return torch.where(deviation > part.kernel.rounding * mean, deviation, torch.where(empty, 1.0, mean))


def own_copy(problem: PrimalProblem | str, dtype: torch.dtype) -> PrimalProblem:
    """The problem with its parameters in a type and as in evaluation, apart from what may go on training.

    Raises:
        ArgumentError: running statistics that have seen no training batch.
    """
    own = deepcopy(preset(problem)).to(dtype=dtype).requires_grad_(False).eval()
    for part in own.modules():
        if isinstance(part, RunningStatistics):
            part.check_seen()
    return own


def _start(start: SupportVectorExpansion | None, data: TrainingData) -> Tensor:
    if start is None:
        return torch.zeros_like(data.targets)
    if start.coefficients.shape != data.original_shape(data.targets).shape:
        raise ArgumentError(
            f"start has coefficients {tuple(start.coefficients.shape)}; accepted is a solution for "
            f"{tuple(data.original_shape(data.targets).shape)}, as the targets are"
        )
    if not bool(start.coefficients.isfinite().all()):
        raise ArgumentError("start has coefficients that are not finite; accepted is a solution")
    return start.coefficients.to(data.targets).view_as(data.targets)
