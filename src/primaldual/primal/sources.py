"""Where keys and values come from, so that a subset can pool them before they are projected."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from primaldual.kernels.pooling import pool
from primaldual.kernels.statistics import accumulation_dtype
from primaldual.primal.head_sets import HeadSet


class KeyValueSource(Protocol):
    """Where keys and values come from: tensors, or inputs still to be projected."""

    length: int

    @property
    def tensors(self) -> tuple[Tensor, Tensor] | None:
        """Keys and values (batch, kv heads, Nk, D) if all of them exist already."""

    def take(self, heads: list[int]) -> tuple[Tensor, Tensor]:
        """Keys and values of these query heads."""

    def pooled(self, heads: HeadSet, key_mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Keys and values of these query heads, pooled at their scale, and the mask of the pools."""


class TensorSource:
    """Keys and values given as tensors (batch, kv heads, Nk, D), for ``query_heads`` heads from number ``first`` on."""

    def __init__(self, key: Tensor, value: Tensor, query_heads: int, first: int = 0) -> None:
        self.key = key
        self.value = value
        self.tensors = key, value
        self.length = key.shape[2]
        self.query_heads = query_heads
        self.first = first

    def take(self, heads: list[int]) -> tuple[Tensor, Tensor]:
        if len(heads) == self.query_heads:
            return self.key, self.value
        groups = self.query_heads // self.key.shape[1]
        picked = [(head - self.first) // groups for head in heads]
        return pick(self.key, picked), pick(self.value, picked)

    def pooled(self, heads: HeadSet, key_mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        key, value = self.take(heads.members)
        # Half-precision means of keys far from 0 would round away their differences.
        pooled_key, mask = pool(key.to(accumulation_dtype(key.dtype)), heads.scale, key_mask, heads.positions)
        return pooled_key, pool(value, heads.scale, key_mask, heads.positions)[0], mask


class RememberedSource:
    """A source whose keys and values are computed once, for the attention and for its transform's running statistics."""

    def __init__(self, source: KeyValueSource) -> None:
        self.source = source
        self.length = source.length
        self.tensors = source.tensors
        self._taken: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}
        self._pooled: dict[tuple[int, ...], tuple[Tensor, Tensor, Tensor | None]] = {}
        """By scale, and then the heads."""

    def take(self, heads: list[int]) -> tuple[Tensor, Tensor]:
        members = tuple(heads)
        if members not in self._taken:
            self._taken[members] = self.source.take(heads)
        return self._taken[members]

    def pooled(self, heads: HeadSet, key_mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        members = tuple(heads.members)
        if (place := (heads.scale, *members)) not in self._pooled:
            source = self.source
            if members in self._taken:
                source = TensorSource(*self._taken[members], len(members))
            self._pooled[place] = source.pooled(heads, key_mask)
        return self._pooled[place]


class SourceOfHeads:
    """Some heads of a source, numbered from 0."""

    tensors = None

    def __init__(self, source: KeyValueSource, members: list[int]) -> None:
        self.source = source
        self.members = members
        self.length = source.length

    def take(self, heads: list[int]) -> tuple[Tensor, Tensor]:
        return self.source.take([self.members[head] for head in heads])

    def pooled(self, heads: HeadSet, key_mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        there = [self.members[head] for head in heads.members]
        return self.source.pooled(HeadSet(there, heads.scale, heads.positions), key_mask)


def pick(tensor: Tensor, heads: Sequence[int]) -> Tensor:
    """Some heads of (batch, heads, ...): a view if they are consecutive, else consecutive ones copied together.

    Indexing by a list takes several times as long on CPU.

    Example:
        >>> pick(torch.arange(6).view(1, 6), [0, 1, 4]).tolist()
        [[0, 1, 4]]
    """
    consecutive = selection(heads)
    if isinstance(consecutive, slice):
        return tensor[:, consecutive]
    cuts = [0, *(place for place in range(1, len(heads)) if heads[place] != heads[place - 1] + 1), len(heads)]
    return torch.cat([tensor[:, heads[start] : heads[stop - 1] + 1] for start, stop in pairwise(cuts)], 1)


def selection(heads: Sequence[int]) -> slice | list[int]:
    """A slice (no copy) when the heads are consecutive, else the list."""
    ordered = list(heads)
    if ordered == list(range(ordered[0], ordered[0] + len(ordered))):
        return slice(ordered[0], ordered[0] + len(ordered))
    return ordered
