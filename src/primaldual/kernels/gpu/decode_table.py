"""What kernels of decoding know of the caches: a table with a row for each cached head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

UNIT = 16
"""Elements that places and strides of caches are multiples of, where loads may be wide."""

IN_UNITS = [0, 1, 10, 11]
"""Columns of the table that are counted in units."""

EVERY = 2**40
"""More slots than there are."""


class CachedHeads(NamedTuple):
    """Heads whose training pairs are pooled alike: their caches, and what runs along.

    Attributes:
        keys: (batch, kept heads, slots, D), contiguous, of the type of the tokens.
        values: (batch, kept heads, slots, Dv), likewise.
        shift: subtracted from keys, (batch, kept heads, 1, D), float32 as all that follow; None = 0.
        partial_key: the sum of the current window's keys; None where windows hold one token.
        partial_value: the sum of its values, (batch, kept heads, 1, Dv).
        mean: of the complete pairs, for a transform that normalises by it.
        deviations: the sum of their squared deviations.
        size: tokens of a window.
        prefix: single tokens before the first window.
        members: query heads; as many in a row share a kept head.
        key_heads: the key head of a token that each kept head keeps.
        reach: slots before its own that a token sees at most; None = all.
    """

    keys: Tensor
    values: Tensor
    shift: Tensor | None
    partial_key: Tensor | None
    partial_value: Tensor | None
    mean: Tensor | None
    deviations: Tensor | None
    size: int
    prefix: int
    members: list[int]
    key_heads: list[int]
    reach: int | None = None

    @property
    def wide(self) -> list[Tensor | None]:
        """The float32 tensors, in the order of the table's columns."""
        return [self.shift, self.partial_key, self.partial_value, self.mean, self.deviations]


def bases(caches: Sequence[CachedHeads]) -> list[Tensor]:
    """The tensors from which places are counted: the first in memory of all keys, values and float32 tensors."""
    return [
        min((tensor for tensor in tensors if tensor is not None), key=Tensor.data_ptr, default=caches[0].keys)
        for tensors in (
            [cache.keys for cache in caches],
            [cache.values for cache in caches],
            [tensor for cache in caches for tensor in cache.wide],
        )
    ]


def tabulated(caches: Sequence[CachedHeads], counted_from: Sequence[Tensor]) -> tuple[Tensor, int]:
    """The table, see :mod:`primaldual.kernels.gpu.decode`, and the unit of its columns :data:`IN_UNITS`."""
    table = torch.tensor([row for cache in caches for row in _rows(cache, counted_from)])
    aligned = caches[0].keys.shape[3] % UNIT == 0 and bool((table[:, IN_UNITS] % UNIT == 0).all())
    unit = UNIT if aligned else 1
    table[:, IN_UNITS] //= unit
    return table, unit


def members(caches: Sequence[CachedHeads], group: int) -> Tensor:
    """The query heads of every kept head, filled up with -1 to so many, (kept heads, group)."""
    rows = []
    for cache in caches:
        each = len(cache.members) // len(cache.key_heads)
        parts = [cache.members[first : first + each] for first in range(0, len(cache.members), each)]
        rows += [part + [-1] * (group - each) for part in parts]
    return torch.tensor(rows)


def _rows(cache: CachedHeads, counted_from: Sequence[Tensor]) -> list[list[int]]:
    """The rows of the table for the kept heads."""
    keys, values, wide = counted_from
    places = [(cache.keys, keys), (cache.values, values), *((tensor, wide) for tensor in cache.wide)]
    return [
        [
            *(_place(tensor, base, number) for tensor, base in places),
            cache.size,
            cache.prefix,
            head,
            cache.keys.stride(0),
            cache.values.stride(0),
            len(cache.key_heads),
            EVERY if cache.reach is None else cache.reach,
        ]
        for number, head in enumerate(cache.key_heads)
    ]


def _place(tensor: Tensor | None, base: Tensor, number: int) -> int:
    """Where a head of a tensor begins, in elements from the base; -1 for no tensor."""
    if tensor is None:
        return -1
    return (tensor.data_ptr() - base.data_ptr()) // base.element_size() + number * tensor.stride(1)
