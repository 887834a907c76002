"""Check of the prefix rule of nested solvers."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from primaldual.kernels.heads import for_query_heads
from primaldual.primal.problem import PrimalProblem
from primaldual.primal.solvers import QUERIES, Solver
from primaldual.testing.comparing import close
from primaldual.testing.fed_problem import FedProblem, fed


def check_nested_prefix_rule(
    problem: PrimalProblem, solver: Solver, query: Tensor, key: Tensor, value: Tensor
) -> None:
    """Causal outputs = those of weights of which row i is the bidirectional form on keys 0..i.

    They are also those of the first positions alone: no later query changes what a solver computed of a position.
    """
    length = key.shape[2]
    plain = fed(PrimalProblem(*problem.parts().amortized())).train(problem.training)
    rows = query if solver.residual == QUERIES else for_query_heads(key, query.shape[1])
    inputs = problem.made(query, key, value) if isinstance(problem, FedProblem) else {}
    weights, products = (
        torch.cat([_row(plain, tensor, key, row, before) for row in range(length)], 2)
        for tensor, before in ((query, False), (rows, solver.strict))
    )
    wanted = weights @ solver.expansion(products, inputs) @ for_query_heads(value, query.shape[1])
    causal = problem.attend(query, key, value, is_causal=True)
    scene = f"{problem.spec()}, causal rows beside the weights of every prefix"
    close(causal, wanted, scene, rtol=1e-7, atol=1e-8)
    for end in (1, length // 2, length - 1):
        first = query[:, :, :end], key[:, :, :end], value[:, :, :end]
        scene = f"{problem.spec()}, {end} causal rows of {length} beside these positions alone"
        close(causal[:, :, :end], problem.attend(*first, is_causal=True), scene, rtol=1e-7, atol=1e-8)


def _row(plain: PrimalProblem, rows: Tensor, key: Tensor, row: int, before: bool) -> Tensor:
    """The weights of one row on the keys up to it, or before it, (batch, heads, 1, Nk), 0 on later ones."""
    found = plain.attention_map(
        rows[:, :, row : row + 1],
        key[:, :, : row + 1],
        torch.arange(row + 1, device=key.device) < row if before else None,
    )
    return pad(found, (0, key.shape[2] - row - 1))
