"""Any attention token by token: the tokens themselves, and the problem's own causal form on them."""

from __future__ import annotations

import sys

import torch
from torch import Tensor

from primaldual.kernels.statistics import accumulation_dtype
from primaldual.primal.decoding.decodable import DecodableProblem
from primaldual.primal.decoding.decoder import Decoder
from primaldual.primal.decoding.memory import INPUT, LEAST, Memory, grow, is_sequence, write
from primaldual.primal.decoding.new_tokens import NewTokens
from primaldual.primal.token_inputs import KEYS, sizes_of, with_width


class History(Decoder):
    """Keys, values and inputs of all tokens, or of the last ones where a query sees no others; queries if T mixes them.

    New queries attend as the last of the sequence, which is exact for every problem.

    Args:
        problem: the problem of all heads.
        every_token: keep tokens that no later one sees too, so that the last ones can be forgotten again.
    """

    most = sys.maxsize

    def __init__(self, problem: DecodableProblem, every_token: bool = False) -> None:
        self.problem = problem
        self.needs = problem.token_inputs
        transform, subset = problem.parts().transform, problem.parts().subset
        self.mixes_queries = transform.mixes_queries
        self.reach = subset.reach if transform.shift_equivariant and not every_token else None
        self.room = sys.maxsize if self.reach is None else 2 * self.reach + LEAST
        """Most slots that sequences have between steps."""

    def filled(self, memory: Memory, lengths: list[int]) -> list[int]:
        if self.reach is None:
            return lengths
        return [length - gone for length, gone in zip(lengths, memory["dropped"].tolist(), strict=True)]

    def start(self, query: Tensor, key: Tensor, value: Tensor, capacity: int) -> Memory:
        memory = Memory({"keys": key, "values": value} | ({"queries": query} if self.mixes_queries else {}))
        sizes = sizes_of(query, 0, value.shape[3])
        for need in self.needs:
            empty = query.new_empty(need.shape(sizes), dtype=accumulation_dtype(query.dtype))
            memory[INPUT + need.name] = with_width(empty)
        for name in list(memory):
            grow(memory, name, min(capacity, self.room))
        if self.reach is not None:
            memory["dropped"] = torch.zeros(key.shape[0], dtype=torch.int64)  # read at every step
        return memory

    def one(self, query: Tensor, key: Tensor, value: Tensor, memory: Memory, position: int) -> Tensor:
        batch = query.shape[0]
        return self.many(
            query, key, value, memory, NewTokens([position] * batch, [1] * batch, 1, query.device)
        )

    def many(self, query: Tensor, key: Tensor, value: Tensor, memory: Memory, tokens: NewTokens) -> Tensor:
        held = self._write(query, key, value, memory, tokens)
        if tokens.uniform and len(set(held)) == 1:
            seen = slice(held[0] - self._needed(held[0]), held[0] + tokens.length)
            out = self._attend(query, {name: memory[name][:, :, seen] for name in _names(memory)})
        else:
            out = self._ragged(query, memory, held, tokens)
        self._trim(memory, held, tokens)
        return out

    def absorb(self, query: Tensor, key: Tensor, value: Tensor, memory: Memory, tokens: NewTokens) -> None:
        self._trim(memory, self._write(query, key, value, memory, tokens), tokens)

    def _ragged(self, query: Tensor, memory: Memory, held: list[int], tokens: NewTokens) -> Tensor:
        """The outputs for rows of different lengths: those that have as many tokens before and now, at once."""
        values = memory["values"]
        out = values.new_zeros(*query.shape[:3], values.shape[3])
        alike: dict[tuple[int, int], list[int]] = {}
        for row, (before, count) in enumerate(zip(held, tokens.counts, strict=True)):
            alike.setdefault((self._needed(before), count), []).append(row)
        for (used, count), rows in alike.items():
            if count:
                every = {
                    name: torch.stack(
                        [memory[name][row, :, held[row] - used : held[row] + count] for row in rows]
                    )
                    for name in _names(memory)
                }
                out[rows, :, :count] = self._attend(query[rows, :, :count], every)
        return out

    def _attend(self, query: Tensor, seen: dict[str, Tensor]) -> Tensor:
        """The outputs of the last queries; T that mixes queries gets the former ones too."""
        whole = seen.get("queries", query)
        inputs = self._inputs(seen, whole.shape[2])
        out = self.problem.compute(whole, seen["keys"], seen["values"], is_causal=True, inputs=inputs)
        return out[:, :, -query.shape[2] :]

    def _inputs(self, seen: dict[str, Tensor], queries: int) -> dict[str, Tensor]:
        """What the parts need of the tokens, by name, for the last queries."""
        inputs = {}
        for need in self.needs:
            tensor = seen[INPUT + need.name]
            tensor = tensor if need.tokens == KEYS else tensor[:, :, -queries:]
            inputs[need.name] = tensor.squeeze(-1) if need.width is None else tensor
        return inputs

    def _needed(self, held: int) -> int:
        """How many of these tokens later ones can still see."""
        return held if self.reach is None else min(held, self.reach)

    def _write(
        self, query: Tensor, key: Tensor, value: Tensor, memory: Memory, tokens: NewTokens
    ) -> list[int]:
        """Write the tokens behind those that are held; how many these are."""
        held = self.make_room(memory, tokens.starts, tokens.length)
        given = {"keys": key, "values": value, "queries": query}
        given |= {INPUT + name: tensor for name, tensor in tokens.inputs.items()}
        for name in given:
            if name in memory:
                write(memory, name, given[name], held)
        return held

    def make_room(self, memory: Memory, lengths: list[int], count: int) -> list[int]:
        """Slots that every row has filled, once new tokens have replaced those that no later query sees."""
        held = self.filled(memory, lengths)
        return held if max(held) + count <= self.room else self._drop(memory, held, lengths)

    def _trim(self, memory: Memory, held: list[int], tokens: NewTokens) -> None:
        """Give back the room that a long prompt took behind a short window."""
        if memory["keys"].shape[2] > self.room:
            self._drop(memory, [old + new for old, new in zip(held, tokens.counts, strict=True)], tokens.ends)
            for name in _names(memory):
                memory[name] = memory[name][:, :, : self.room].clone(memory_format=torch.contiguous_format)

    def _drop(self, memory: Memory, held: list[int], lengths: list[int]) -> list[int]:
        """Bring the tokens that later ones see to the front of every row; how many they are."""
        needed = list(map(self._needed, held))
        for name in _names(memory):
            for tensor, count, kept in zip(memory[name], held, needed, strict=True):
                tensor[:, :kept] = tensor[:, count - kept : count].clone()
        gone = [length - kept for length, kept in zip(lengths, needed, strict=True)]
        memory["dropped"] = torch.tensor(gone)
        return needed


def _names(memory: Memory) -> list[str]:
    return [name for name in memory if is_sequence(name)]
