"""Check of the prefix rule of composed solvers."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from primaldual.kernels.heads import for_query_heads
from primaldual.kernels.masks import causal_mask
from primaldual.primal.problem import PrimalProblem
from primaldual.primal.token_inputs import Inputs
from primaldual.testing.comparing import close
from primaldual.testing.fed_problem import FedProblem


def check_composed_prefix_rule(problem: PrimalProblem, query: Tensor, key: Tensor, value: Tensor) -> None:
    """Causal outputs = those of weights of which row i is the bidirectional form on keys 0..i.

    They are also those of the first positions alone: no later query changes what a solver computed of a position.
    """
    length = key.shape[2]
    maps = PrefixMaps(problem, query, key, value)
    keys, values = (for_query_heads(tensor, query.shape[1]) for tensor in (key, value))
    wanted = problem.parts().composed.attention_map(query, keys, maps) @ values
    causal = problem.attend(query, key, value, is_causal=True)
    scene = f"{problem.spec()}, causal rows beside the weights of every prefix"
    close(causal, wanted, scene, rtol=1e-7, atol=1e-8)
    for end in (1, length // 2, length - 1):
        first = query[:, :, :end], key[:, :, :end], value[:, :, :end]
        scene = f"{problem.spec()}, {end} causal rows of {length} beside these positions alone"
        close(causal[:, :, :end], problem.attend(*first, is_causal=True), scene, rtol=1e-7, atol=1e-8)


class PrefixMaps:
    """See :class:`Maps`; every row by itself, from the bidirectional form on its prefix."""

    def __init__(self, problem: PrimalProblem, query: Tensor, key: Tensor, value: Tensor) -> None:
        self.plain = PrimalProblem(*problem.parts().amortized()).train(problem.training)
        self.strict = problem.solver.strict
        self.inputs: Inputs = problem.made(query, key, value) if isinstance(problem, FedProblem) else {}
        self.allowed = causal_mask(key.shape[2], key.shape[2], key.device)

    def at_queries(self, rows: Tensor, key: Tensor) -> Tensor:
        return self._rows(rows, key, before=False)

    def at_keys(self, rows: Tensor, key: Tensor) -> Tensor:
        return self._rows(rows, key, before=self.strict)

    def attended(self, numbers: Tensor) -> Tensor:
        return numbers

    def allowed_to_queries(self) -> Tensor:
        return self.allowed

    def allowed_to_keys(self) -> Tensor:
        return self.allowed

    def _rows(self, rows: Tensor, key: Tensor, before: bool) -> Tensor:
        return torch.cat([self._row(rows, key, row, before) for row in range(key.shape[2])], 2)

    def _row(self, rows: Tensor, key: Tensor, row: int, before: bool) -> Tensor:
        """The weights of one row on the keys up to it, or before it, (batch, heads, 1, Nk), 0 on later ones."""
        found = self.plain.attention_map(
            rows[:, :, row : row + 1],
            key[:, :, : row + 1],
            torch.arange(row + 1, device=key.device) < row if before else None,
            inputs={need.name: self.inputs[need.name][:, :, : row + 1] for need in self.plain.token_inputs},
        )
        return pad(found, (0, key.shape[2] - row - 1))
