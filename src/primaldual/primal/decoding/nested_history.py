"""A nested solver token by token: keys, and the coefficients of every position, which are final once computed."""

from __future__ import annotations

import torch
from torch import Tensor

from primaldual.kernels.heads import for_query_heads
from primaldual.kernels.masks import Attendable
from primaldual.primal.composed_attention import Products
from primaldual.primal.decoding.decodable import DecodableProblem
from primaldual.primal.decoding.history import History
from primaldual.primal.decoding.memory import COEFFICIENTS, Memory, grow, write
from primaldual.primal.decoding.new_tokens import NewTokens
from primaldual.primal.nested_solvers import NestedSolver
from primaldual.primal.solvers import QUERIES


class NestedHistory(History):
    """Keys, inputs and all sequences of coefficients of every token; new tokens add theirs by the prefix rule.

    Args:
        problem: the problem of all heads.
        solver: its solver.
    """

    def __init__(self, problem: DecodableProblem, solver: NestedSolver) -> None:
        super().__init__(problem, every_token=True)
        self.solver = solver

    def start(self, query: Tensor, key: Tensor, value: Tensor, capacity: int) -> Memory:
        memory = super().start(query, key, value, capacity)
        del memory["values"]
        batch, heads, _, width = *query.shape[:3], value.shape[3]
        memory[COEFFICIENTS] = value.new_empty(batch, heads, 0, self.solver.sequences * width)
        grow(memory, COEFFICIENTS, capacity)
        return memory

    def many(self, query: Tensor, key: Tensor, value: Tensor, memory: Memory, tokens: NewTokens) -> Tensor:
        held = self._write(query, key, value, memory, tokens)
        out = value.new_zeros(*query.shape[:3], value.shape[3])
        made = value.new_zeros(*query.shape[:3], memory[COEFFICIENTS].shape[3])
        alike: dict[tuple[int, int], list[int]] = {}
        for row, (before, count) in enumerate(zip(held, tokens.counts, strict=True)):
            alike.setdefault((before, count), []).append(row)
        for (before, count), rows in alike.items():
            if count:
                picked = slice(None) if len(rows) == len(held) else rows
                seen = {
                    name: memory[name][picked, :, : before + count] for name in memory if name != COEFFICIENTS
                }
                former = memory[COEFFICIENTS][picked, :, :before]
                new = query[picked, :, :count], value[picked, :, :count]
                out[picked, :, :count], made[picked, :, :count] = self._extend(*new, seen, former)
        write(memory, COEFFICIENTS, made, held)
        return out

    def absorb(self, query: Tensor, key: Tensor, value: Tensor, memory: Memory, tokens: NewTokens) -> None:
        self.many(query, key, value, memory, tokens)

    def _extend(
        self, query: Tensor, value: Tensor, seen: dict[str, Tensor], former: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Outputs and coefficients of the last tokens, from all keys and inputs and the coefficients before."""
        count, heads, key = query.shape[2], query.shape[1], seen["keys"]
        inputs = self._inputs(seen, count)
        self.solver.check_inputs(inputs)
        attention = Products(self.problem.parts().amortized(), Attendable(is_causal=True), 0.0, inputs)
        rows = query if self.solver.residual == QUERIES else for_query_heads(key[:, :, -count:], heads)
        earlier = former.chunk(self.solver.sequences, -1)
        found = self.solver.coefficients(
            for_query_heads(value, heads), _NewRows(attention, self.solver, rows, key, earlier)
        )
        whole = torch.cat([earlier[-1], found[-1]], 2)
        return attention.of(query, key, whole), torch.cat(found, -1)


class _NewRows:
    """The rows of the last positions, whose coefficients follow on those of the former ones."""

    def __init__(
        self,
        attention: Products,
        solver: NestedSolver,
        rows: Tensor,
        key: Tensor,
        former: tuple[Tensor, ...],
    ) -> None:
        self.attention = attention
        self.solver = solver
        self.rows = rows
        self.key = key
        self.earlier = former
        self.inputs = attention.inputs
        self.length = key.shape[2]

    def product(self, number: int, coefficients: Tensor) -> Tensor:
        return self.attention.of(self.rows, self.key, torch.cat([self.earlier[number], coefficients], 2))

    def weights(self) -> Tensor:
        return self.attention.weights(self.rows, self.key, self.solver.strict)

    def former(self, number: int) -> Tensor:
        return self.earlier[number]
