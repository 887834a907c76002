"""Pairs of a group of heads: pooled as tokens come, and changed by the transform."""

from __future__ import annotations

import torch
from torch import Tensor

from primaldual.kernels.statistics import accumulation_dtype
from primaldual.primal.decoding.arrival import Arrival, NewPairs, Windows
from primaldual.primal.decoding.memory import Memory
from primaldual.primal.decoding.transforms import Incremental

QueryKeysValues = tuple[Tensor, Tensor, Tensor]


class PairStream:
    """Query, training key and value of every new token, in what T makes of them.

    Keys lose the mean of a row's first tokens, rounded to their type, where T or pooling gains from
    keys near 0: softmax ignores it, and half precision keeps the differences of keys with a large mean.

    Args:
        windows: which tokens make a pair.
        transform: T, pair by pair.
        centred: whether a constant vector may be taken off the keys.
        query_heads: heads of the queries; the keys have as many or fewer.
    """

    def __init__(self, windows: Windows, transform: Incremental, centred: bool, query_heads: int) -> None:
        self.query_heads = query_heads
        self.windows = windows
        self.transform = transform
        self.centred = centred and (windows.scale > 1 or transform.centred)

    def start(self, key: Tensor, value: Tensor) -> Memory:
        """The memory of no tokens, for keys and values like (batch, heads, 0, D or Dv)."""
        wide = accumulation_dtype(key.dtype)
        memory = Memory(parts=[self.transform.start(key.to(wide))])
        if self.centred:
            memory["shift"] = _one_row(key, wide)
        if self.windows.scale > 1:
            memory["partial_key"], memory["partial_value"] = _one_row(key, wide), _one_row(value, wide)
        return memory

    def one(
        self, query: Tensor, key: Tensor, value: Tensor, memory: Memory, position: int
    ) -> QueryKeysValues:
        """The token at a position, above 0, of every row."""
        shift = memory["shift"] if self.centred else None
        key = key.to(accumulation_dtype(key.dtype)) if shift is None else key - shift
        closes = True
        if self.windows.scale > 1:
            offset, closes = self.windows.offset(position), self.windows.closes(position)
            if offset:
                key, value = memory["partial_key"] + key, memory["partial_value"] + value
            if not closes:
                memory["partial_key"], memory["partial_value"] = key, value.to(key.dtype)
            key, value = key / (offset + 1), value / (offset + 1)
        query, key, _ = self.transform.one(
            (query, key, shift), memory.parts[0], self.windows.complete(position), closes
        )
        return query, key, value

    def many(
        self, query: Tensor, key: Tensor, value: Tensor, memory: Memory, new: NewPairs
    ) -> QueryKeysValues:
        """n tokens of every row, finite where there is none."""
        wide = accumulation_dtype(key.dtype)
        shift, key = None, key.to(wide)
        if self.centred:
            if 0 in new.arrival.starts:
                first = _mean(key, new.arrival, query.dtype)
                memory["shift"] = torch.where(new.arrival.fresh, first, memory["shift"])
            shift = memory["shift"]
            key = key - shift
        if self.windows.scale > 1:
            key, memory["partial_key"] = new.means(key, memory["partial_key"])
            value, memory["partial_value"] = new.means(value.to(wide), memory["partial_value"])
        query, key, _ = self.transform.many((query, key, shift), memory.parts[0], new)
        return query, key, value


def _one_row(like: Tensor, dtype: torch.dtype) -> Tensor:
    return like.new_zeros(*like.shape[:2], 1, like.shape[3], dtype=dtype)


def _mean(key: Tensor, arrival: Arrival, dtype: torch.dtype) -> Tensor:
    """The mean of every row's tokens in the type of the keys, so that differences from it lose nothing."""
    if arrival.members is None:
        mean = key.mean(2, keepdim=True)
    else:
        member = arrival.members[:, None, :, None]
        mean = torch.where(member, key, 0.0).sum(2, keepdim=True) / member.sum(2, keepdim=True).clamp(min=1)
    return mean.to(dtype).to(key.dtype)
