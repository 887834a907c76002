"""Any attention token by token: the tokens themselves, and the problem's own causal form on them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from primaldual.primal.batch_normalization import BatchNormalization
from primaldual.primal.chain import Chain
from primaldual.primal.convolutions import Convolution
from primaldual.primal.decoding.arrival import Arrival
from primaldual.primal.decoding.memory import LEAST, SEQUENCES, Memory, grow, write
from primaldual.primal.function_parts import TransformFunction
from primaldual.primal.subsets import Window
from primaldual.primal.transforms import Identity, Transform

if TYPE_CHECKING:
    from primaldual.primal.problem import PrimalProblem


class History:
    """Keys and values of all tokens, or of the last ones where a window sees no others; queries if T mixes them.

    New queries attend as the last of the sequence, which is exact for every problem.
    """

    def __init__(self, problem: PrimalProblem, heads: int) -> None:
        self.problem = problem
        self.heads = heads
        self.mixes_queries = problem.transform.mixes_queries
        subset = problem.subset
        self.reach: int | None = None
        self.within_reach = problem
        if type(subset) is Window and _forgets_positions(problem.transform):
            self.reach = subset.radius
            self.within_reach = _without_subset(problem)

    def places(self, length: int) -> int:
        """How many of so many tokens are needed later."""
        return length if self.reach is None else min(length, self.reach)

    def start(self, key: Tensor, value: Tensor, capacity: int) -> Memory:
        """The memory of no tokens, with room for so many."""
        memory = Memory({"keys": key, "values": value})
        if self.mixes_queries:
            memory["queries"] = key.new_empty(key.shape[0], self.heads, 0, key.shape[3])
        memory["dropped"] = torch.zeros(key.shape[0], dtype=torch.int64, device=key.device)
        for name in _names(memory):
            grow(memory, name, min(capacity, self._most()))
        return memory

    def one(self, query: Tensor, key: Tensor, value: Tensor, memory: Memory, position: int) -> Tensor:
        """The output of the token at a position of every row."""
        batch = query.shape[0]
        return self.many(query, key, value, memory, Arrival([position] * batch, [1] * batch, 1, query.device))

    def many(self, query: Tensor, key: Tensor, value: Tensor, memory: Memory, arrival: Arrival) -> Tensor:
        """The outputs of n tokens of every row."""
        dropped: list[int] = memory["dropped"].tolist()
        held = [start - gone for start, gone in zip(arrival.starts, dropped, strict=True)]
        if max(held) + arrival.length > self._most():
            held = self._drop(memory, held, arrival.starts)
        uniform = arrival.uniform and len(set(held)) == 1
        tokens = {"keys": key, "values": value} | ({"queries": query} if self.mixes_queries else {})
        for name, tensor in tokens.items():
            write(memory, name, tensor, held, uniform)
        out = self._uniform(query, memory, held[0]) if uniform else self._ragged(query, memory, held, arrival)
        if memory["keys"].shape[2] > self._most():  # a long prompt behind a short window
            ends = [start + count for start, count in zip(arrival.starts, arrival.counts, strict=True)]
            self._drop(memory, [count + new for count, new in zip(held, arrival.counts, strict=True)], ends)
            for name in _names(memory):
                memory[name] = memory[name][:, :, : self._most()].clone(memory_format=torch.contiguous_format)
        return out

    def _uniform(self, query: Tensor, memory: Memory, held: int) -> Tensor:
        seen = slice(held - self.places(held), held + query.shape[2])
        return self._attend(query, *(memory[name][:, :, seen] for name in _names(memory)))

    def _ragged(self, query: Tensor, memory: Memory, held: list[int], arrival: Arrival) -> Tensor:
        """Rows that have as many tokens before and now, at once."""
        values = memory["values"]
        out = values.new_zeros(*query.shape[:3], values.shape[3])
        alike: dict[tuple[int, int], list[int]] = {}
        for row, (before, count) in enumerate(zip(held, arrival.counts, strict=True)):
            alike.setdefault((self.places(before), count), []).append(row)
        for (used, count), rows in alike.items():
            if count:
                every = [
                    torch.stack([memory[name][row, :, held[row] - used : held[row] + count] for row in rows])
                    for name in _names(memory)
                ]
                out[rows, :, :count] = self._attend(query[rows, :, :count], *every)
        return out

    def absorb(self, key: Tensor, value: Tensor, memory: Memory, arrival: Arrival) -> None:
        """Not needed: attending takes in tokens of any number at once."""
        raise NotImplementedError

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, *queries: Tensor) -> Tensor:
        """The last queries, after the former ones if T mixes them; a single one sees every key that is held."""
        count = query.shape[2]
        problem = self.within_reach if count == 1 else self.problem
        whole = queries[0] if queries else query
        return problem.compute(whole, key, value, None, True, 0.0)[:, :, -count:]

    def _drop(self, memory: Memory, held: list[int], lengths: list[int]) -> list[int]:
        """Bring the tokens that a window still reaches to the front of every row; how many they are."""
        needed = [self.places(count) for count in held]
        for name in _names(memory):
            for row, (count, kept) in enumerate(zip(held, needed, strict=True)):
                tensor = memory[name][row]
                tensor[:, :kept] = tensor[:, count - kept : count].clone()
        gone = [length - kept for length, kept in zip(lengths, needed, strict=True)]
        memory["dropped"] = torch.tensor(gone, device=memory["dropped"].device)
        return needed

    def _most(self) -> int:
        """Most places that sequences have between steps."""
        return sys.maxsize if self.reach is None else 2 * self.reach + LEAST


def _names(memory: Memory) -> list[str]:
    return [name for name in SEQUENCES if name in memory]


def _without_subset(problem: PrimalProblem) -> PrimalProblem:
    """The same parts on all keys."""
    from primaldual.primal.problem import PrimalProblem

    return PrimalProblem(problem.feature_map, problem.normalizer, problem.transform)


def _forgets_positions(transform: Transform) -> bool:
    """Whether T needs to know how keys lie to the query only, and not how far from the start."""
    if isinstance(transform, Chain):
        return all(map(_forgets_positions, transform.steps()))
    if isinstance(transform, Convolution):
        return not transform.prefix and not transform.queries
    return type(transform) in (Identity, BatchNormalization, TransformFunction)
