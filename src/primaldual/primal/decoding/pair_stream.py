"""Training pairs of some heads as tokens arrive: pooled over windows, and changed by the transform."""

from __future__ import annotations

import torch
from torch import Tensor

from primaldual.kernels.statistics import accumulation_dtype
from primaldual.primal.decoding.incremental import Incremental
from primaldual.primal.decoding.memory import Memory
from primaldual.primal.decoding.new_tokens import NewTokens
from primaldual.primal.decoding.windows import NewPairs, Windows

QueryKeysValues = tuple[Tensor, Tensor, Tensor]


class PairStream:
    """The transformed query and training pair of every new token.

    Keys lose the mean of a row's first tokens, rounded to their type, where T or pooling is more accurate on
    keys near 0: softmax ignores it, and half precision keeps the differences of keys with a large mean.

    Args:
        windows: which tokens make a pair.
        transform: T, pair by pair.
        shiftable: whether a constant vector may be subtracted from the keys.
    """

    def __init__(self, windows: Windows, transform: Incremental, shiftable: bool) -> None:
        self.windows = windows
        self.transform = transform
        self.shifts = shiftable and (windows.size > 1 or transform.centred)

    def start(self, key: Tensor, value: Tensor) -> Memory:
        """The memory of no tokens, for keys and values like (batch, heads, 0, D or Dv)."""
        wide = accumulation_dtype(key.dtype)
        memory = Memory(children=[self.transform.start(key.to(wide))])
        if self.shifts:
            memory["shift"] = _one_vector(key, wide)
        if self.windows.size > 1:
            memory["partial_key"], memory["partial_value"] = _one_vector(key, wide), _one_vector(value, wide)
        return memory

    def one(
        self, query: Tensor, key: Tensor, value: Tensor, memory: Memory, position: int
    ) -> QueryKeysValues:
        """The token at a position, above 0, of every row."""
        shift = memory["shift"] if self.shifts else None
        key = key.to(accumulation_dtype(key.dtype)) if shift is None else key - shift
        closes = True
        if self.windows.size > 1:
            offset, closes = self.windows.offset(position), self.windows.closes(position)
            if offset:
                key, value = memory["partial_key"] + key, memory["partial_value"] + value
            if not closes:
                memory["partial_key"], memory["partial_value"] = key, value.to(key.dtype)
            key, value = key / (offset + 1), value / (offset + 1)
        query, key, _ = self.transform.one(
            (query, key, shift), memory.children[0], self.windows.complete(position), closes
        )
        return query, key, value

    def many(
        self, query: Tensor, key: Tensor, value: Tensor, memory: Memory, new: NewPairs
    ) -> QueryKeysValues:
        """n tokens of every row, finite at padding."""
        wide = accumulation_dtype(key.dtype)
        shift, key = None, key.to(wide)
        if self.shifts:
            if 0 in new.tokens.starts:
                first = _mean(key, new.tokens, query.dtype)
                memory["shift"] = torch.where(new.tokens.fresh, first, memory["shift"])
            shift = memory["shift"]
            key = key - shift
        if self.windows.size > 1:
            key, memory["partial_key"] = new.means(key, memory["partial_key"])
            value, memory["partial_value"] = new.means(value.to(wide), memory["partial_value"])
        query, key, _ = self.transform.many((query, key, shift), memory.children[0], new)
        return query, key, value


def _one_vector(like: Tensor, dtype: torch.dtype) -> Tensor:
    return like.new_zeros(*like.shape[:2], 1, like.shape[3], dtype=dtype)


def _mean(key: Tensor, tokens: NewTokens, dtype: torch.dtype) -> Tensor:
    """The mean of every row's tokens in the type of the keys, so that differences from it lose nothing."""
    if tokens.members is None:
        mean = key.mean(2, keepdim=True)
    else:
        member = tokens.members[:, None, :, None]
        mean = torch.where(member, key, 0.0).sum(2, keepdim=True) / member.sum(2, keepdim=True).clamp(min=1)
    return mean.to(dtype).to(key.dtype)
