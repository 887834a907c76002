"""Causal softmax attention with c_i - c_j added to the score of query i and key j.

Queries are taken in blocks so short that c varies little. A block attends its own positions, and in another call all
keys before; the two are merged by log-sum-exp. A number per key is added, a typical c of the block less c_j: softmax
ignores what is common to a row. Where c varies much even within the smallest block, it attends the few keys that still
count with the matrix of c_i - c_j. So every difference is rounded relative to itself or to a score, however large c is.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from primaldual.kernels.decay_blocks import Block, BlockPart
from primaldual.kernels.decay_reach import DecayReach
from primaldual.kernels.flash import Outcome
from primaldual.kernels.masks import causal_mask
from primaldual.kernels.statistics import accumulation_dtype

BLOCK_ROWS = 256
"""Queries of the smallest blocks."""

SMALL_SPAN = 16.0
"""Differences of c within a block up to which one number per key, half as large, has the digits of a score."""

MOST_NUMBERS = 2**22
"""Differences of c that are formed at a time, unless a single head has more."""


@dataclass(frozen=True)
class DecayedCall:
    """sum_(j <= i) softmax_j(scale q_i . k_j + c_i - c_j) v_j by PyTorch's CPU kernel; rows without a key give 0.

    Keys without a weight are left out, see :class:`DecayReach`.

    Attributes:
        key: (batch, heads, Nk, D).
        value: (batch, heads, Nk, D).
        sums: c, (1 or batch, heads, Nk), float64. The last query stands at the last key; Nq is at most Nk.
        scale: factor on the scores.
        key_mask: bool (batch or 1, heads or 1, 1, Nk), or None.
        learned: whether the sums have a gradient.
    """

    key: Tensor
    value: Tensor
    sums: Tensor
    scale: float
    key_mask: Tensor | None = None
    learned: bool = False

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return self.key, self.value, self.sums

    def forward(self, query: Tensor) -> Outcome:
        out = _heads_last(torch.empty, query, query.dtype)
        logsumexp = torch.empty(query.shape[:3], dtype=accumulation_dtype(query.dtype))
        for block in self._blocks(query):
            places = slice(None), block.heads, block.rows
            logsumexp[places] = block.forward(query, self.key, self.value, self.scale, out[places])
        return out, logsumexp

    def backward(self, gradient: Tensor, query: Tensor, outcome: Outcome) -> tuple[Tensor, ...]:
        tensors, width = [gradient, query, self.key, self.value, outcome[0]], query.shape[3]
        if self.learned:
            tensors = [_widened(tensor) for tensor in tensors]
            tensors[1][..., width] = tensors[2][..., width + 1] = 1.0
        gradient, query, key, value, out = tensors
        wide = accumulation_dtype(query.dtype)
        found = [_heads_last(torch.zeros, tensor, wide) for tensor in (query, key, value)]
        for block in self._blocks(query[..., :width]):
            block.backward(gradient, query, key, value, (out, outcome[1]), self.scale, found)
        of_sums = torch.zeros_like(self.sums)
        if self.learned:
            # Slopes summed over a row are 0 but for rounding; both sums of the same slopes cancel it.
            by_query, by_key = found[0][..., width + 1], found[1][..., width]
            slopes = -by_key.to(of_sums.dtype)
            slopes[..., slopes.shape[-1] - by_query.shape[-1] :] += by_query
            of_sums += (slopes / self.scale).sum_to_size(of_sums.shape)
        return *(part[..., :width].to(query.dtype) for part in found), of_sums

    def _blocks(self, query: Tensor) -> Iterator[Block]:
        """Blocks of queries, each of heads in a row whose keys begin at the same one."""
        (_, count, length, _), key_length = query.shape, self.key.shape[2]
        before = key_length - length
        reach = DecayReach(self.key, self.sums, self.scale, self.key_mask)
        for own, heads, varies in self._places(slice(before, key_length), slice(0, count)):
            rows = slice(own.start - before, own.stop - before)
            room = reach.room(query[:, heads, rows], own, heads)
            begins = reach.begins(room, own.start, heads, BLOCK_ROWS)
            for run in self._few(_runs(begins), begins, own) if varies else _runs(begins):
                alike = slice(heads.start + run.start, heads.start + run.stop)
                spared = _Spared(reach.least[:, alike, own], None if room is None else room[:, run])
                make = self._by_pairs if varies else self._by_keys
                yield Block(rows, alike, make(alike, begins[run.start], own, spared))

    def _places(self, own: slice, heads: slice) -> Iterator[tuple[slice, slice, bool]]:
        """Positions of queries and heads in a row, and whether c varies much there though they are as few as may be."""
        sums, size = self.sums[:, heads, own], own.stop - own.start
        vary: list[bool] = (sums.amax(-1) - sums.amin(-1) > SMALL_SPAN).any(0).tolist()
        for run in _runs(vary):
            alike = slice(heads.start + run.start, heads.start + run.stop)
            if not vary[run.start] or size <= BLOCK_ROWS:
                yield own, alike, vary[run.start]
                continue
            middle = own.start + -(-size // (2 * BLOCK_ROWS)) * BLOCK_ROWS
            yield from self._places(slice(own.start, middle), alike)
            yield from self._places(slice(middle, own.stop), alike)

    def _few(self, runs: list[slice], begins: list[int], own: slice) -> Iterator[slice]:
        """Heads in a row, so few at a time that the matrices of a block are small."""
        for run in runs:
            numbers = self.sums.shape[0] * (own.stop - own.start) * (own.stop - begins[run.start])
            size = max(1, MOST_NUMBERS // numbers)
            for start in range(run.start, run.stop, size):
                yield slice(start, min(start + size, run.stop))

    def _by_keys(self, heads: slice, begin: int, own: slice, spared: "_Spared") -> tuple[BlockPart, ...]:
        """The own positions of a block and the keys before, with one number added for each key."""
        wide, sums = accumulation_dtype(self.key.dtype), self.sums[:, heads]
        at_own, earlier = sums[..., own], slice(begin, own.start)
        middle = (at_own.amax(-1, keepdim=True) + at_own.amin(-1, keepdim=True)) / 2
        of_own = self._masked((middle - at_own).unsqueeze(-2), heads, own).to(wide)
        seen = (of_own > -torch.inf).cumsum(-1).squeeze(-2)
        own_part = BlockPart(own, of_own, True, None if self.key_mask is None else seen == 0)
        if earlier.start == earlier.stop:
            return (own_part,)
        of_earlier = middle - sums[..., earlier]
        if spared.room is not None:
            far = sums[..., earlier] > spared.least[..., :1] + spared.room
            of_earlier = of_earlier.masked_fill(far, -torch.inf)
        of_earlier = self._masked(of_earlier.unsqueeze(-2), heads, earlier).to(wide)
        return own_part, BlockPart(earlier, of_earlier, False, (of_earlier == -torch.inf).all(-1))

    def _by_pairs(self, heads: slice, begin: int, own: slice, spared: "_Spared") -> tuple[BlockPart, ...]:
        """All keys of a block, with a number added for each query and key."""
        sums, keys, count = self.sums[:, heads], slice(begin, own.stop), own.stop - own.start
        bias = _differences(
            sums[..., keys] - sums[..., own.start, None], count, accumulation_dtype(self.key.dtype)
        )
        if spared.room is not None:
            nearest = (sums[..., own] - spared.least).clamp(max=0.0)
            torch.threshold_(bias, float((nearest - spared.room).amin()), -torch.inf)
        future = causal_mask(count, own.stop - begin, bias.device).logical_not_()
        bias = self._masked(bias.masked_fill_(future, -torch.inf), heads, keys)
        empty = None if self.key_mask is None else (bias == -torch.inf).all(-1)
        return (BlockPart(keys, bias, False, empty),)

    def _masked(self, bias: Tensor, heads: slice, keys: slice) -> Tensor:
        """What is added to scores, minus infinity at masked keys."""
        mask = self.key_mask
        if mask is None:
            return bias
        mask = mask if mask.shape[1] == 1 else mask[:, heads]
        return bias.masked_fill(~mask[..., keys], -torch.inf)


class _Spared(NamedTuple):
    """What tells which keys a block of queries leaves out, see :class:`DecayReach`.

    Attributes:
        least: c of the nearest key of every query, (batch or 1, heads, R).
        room: (batch, heads, 1); None = nothing is left out.
    """

    least: Tensor
    room: Tensor | None


def _runs(kinds: Sequence[object]) -> list[slice]:
    """Where equal ones stand in a row."""
    cuts = [0, *(place for place in range(1, len(kinds)) if kinds[place] != kinds[place - 1]), len(kinds)]
    return [slice(first, stop) for first, stop in pairwise(cuts)]


def _differences(sums: Tensor, count: int, dtype: torch.dtype) -> Tensor:
    """c_i - c_j of float64 sums for the last ``count`` i, (..., N) -> (..., count, N), rounded relative to themselves."""
    high = sums.to(dtype)
    low = (sums - high).to(dtype)
    found = high[..., -count:, None] - high.unsqueeze(-2)
    return found.add_(low[..., -count:, None]).sub_(low.unsqueeze(-2)) if low.any() else found


def _heads_last(make: Callable[..., Tensor], like: Tensor, dtype: torch.dtype) -> Tensor:
    """A tensor (batch, heads, N, D) with heads last but one in memory, as the kernel has them."""
    batch, heads, length, width = like.shape
    return make(batch, length, heads, width, dtype=dtype).transpose(1, 2)


def _widened(tensor: Tensor) -> Tensor:
    """The tensor with two features of 0 behind its own, three for an odd number.

    A feature that is 1 in every query and 0 in every key changes no score; its gradient in a key is the sum of the slopes
    of the key's scores, and that of one that is 1 in every key and 0 in every query the sum over the query's.
    """
    return pad(tensor, (0, 2 + tensor.shape[-1] % 2))
