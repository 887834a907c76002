"""What ``primaldual certify`` measures: the duality gap, and the attention against f."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from primaldual.cli.peer import Pairs, Peer, peer_of, why_not
from primaldual.errors import ConvergenceError
from primaldual.primal.problem import PrimalProblem
from primaldual.svr import SupportVectorExpansion, kernel_scale, solve
from primaldual.svr.solve import MEMORY
from primaldual.svr.training_kernel import training_kernels

Report = Callable[[str], None]
"""Told in a few words what is going on."""


@dataclass(frozen=True)
class Output:
    """One output of the solution.

    Attributes:
        name: the target.
        primal: primal objective, in standardised units.
        dual: dual objective.
        relative_gap: their difference over the larger one.
        support: share of the training pairs whose coefficient is not 0.
        at_bound: share whose coefficient is C in size.
        attention_difference: largest difference of the attention and K beta + b at the training pairs.
        peer: scikit-learn's solution; None where it does not apply.
    """

    name: str
    primal: float
    dual: float
    relative_gap: float
    support: float
    at_bound: float
    attention_difference: float
    peer: Peer | None


@dataclass(frozen=True)
class Certified:
    """A solution and what vouches for it.

    Attributes:
        outputs: one entry for each target.
        pairs: training pairs; fewer than cases where the attention pools.
        box: C as it stands in the objective.
        seconds: our solution of all outputs, kernel included, one run.
        converged: whether the tolerance was reached.
        no_peer: why scikit-learn was not asked; None if it was.
    """

    outputs: tuple[Output, ...]
    pairs: int
    box: float
    seconds: float
    converged: bool
    no_peer: str | None

    @property
    def peer_seconds(self) -> float | None:
        """Seconds of scikit-learn for all outputs."""
        peers = [output.peer for output in self.outputs if output.peer is not None]
        return sum(peer.seconds for peer in peers) if peers else None


def certified(
    problem: PrimalProblem,
    keys: Tensor,
    targets: Tensor,
    names: Sequence[str],
    penalty: float,
    epsilon: float,
    intercept: bool,
    tolerance: float,
    report: Report,
) -> Certified:
    """Solve, and compare with the attention itself and with scikit-learn.

    Args:
        problem: bound to one head, in float64.
        keys: (N, D), standardised.
        targets: (N, outputs), standardised.
        names: a name for each target.
        penalty: C in units of the kernel.
        epsilon: half width of the tube.
        intercept: whether b is fitted.
        tolerance: largest relative duality gap.
        report: told in a few words what is going on.
    """
    solve(
        "softmax", torch.eye(4), torch.eye(4)
    )  # the first call of everything costs time that is not the solver's
    report("Solving")
    start = time.perf_counter()
    box = penalty / float(kernel_scale(problem, keys))
    converged = True
    try:
        found = solve(
            problem, keys, targets, box, epsilon, intercept=intercept, tolerance=tolerance,
            progress=lambda left, gap: report(f"Solving: {left} outputs left, largest relative gap {gap:.1e}"),
        )  # fmt: skip
    except ConvergenceError as error:
        found, converged = cast("SupportVectorExpansion", error.solution), False
    seconds = time.perf_counter() - start
    report("Comparing the attention with K β + b")
    everything = torch.ones(1, 1, len(keys), dtype=torch.bool)
    (part,) = training_kernels(problem, keys[None, None], everything, MEMORY)
    on_pairs = Pairs(part, found, targets)
    difference = (found.predict(on_pairs.mean(keys)) - on_pairs.fitted).abs().amax(0)
    no_peer = why_not(intercept, len(on_pairs.targets))
    peers: list[Peer | None] = [None] * len(names)
    if no_peer is None:
        kernel = on_pairs.kernel()
        for place, name in enumerate(names):
            report(f"scikit-learn's SVR: {name}")
            peers[place] = peer_of(on_pairs, kernel, place, box, epsilon)
    beta = on_pairs.coefficients
    outputs = (
        Output(
            name,
            float(found.primal_objective[place]) + 0.0,  # -0.0 + 0.0 is 0.0
            float(found.dual_objective[place]) + 0.0,
            float(found.relative_gap[place]) + 0.0,
            float((beta[:, place] != 0).double().mean()),
            float((beta[:, place].abs() >= box * (1 - 1e-12)).double().mean()),
            float(difference[place]),
            peers[place],
        )
        for place, name in enumerate(names)
    )
    return Certified(tuple(outputs), len(beta), box, seconds, converged, no_peer)
