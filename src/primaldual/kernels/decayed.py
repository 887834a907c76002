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

from primaldual.kernels.decay_reach import DecayReach
from primaldual.kernels.flash import Outcome, flash_backward, flash_forward
from primaldual.kernels.masks import causal_mask
from primaldual.kernels.statistics import accumulation_dtype

BLOCK_ROWS = 256
"""Queries of the smallest blocks."""

SMALL_SPAN = 16.0
"""Differences of c within a block up to which one number per key, half as large, has the digits of a score."""


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
        for piece in self._pieces(query):
            places = slice(None), piece.heads, piece.rows
            logsumexp[places] = piece.forward(query, self.key, self.value, self.scale, out[places])
        return out, logsumexp

    def backward(self, gradient: Tensor, query: Tensor, outcome: Outcome) -> tuple[Tensor, ...]:
        tensors, width = [gradient, query, self.key, self.value, outcome[0]], query.shape[3]
        if self.learned:
            tensors = [_widened(tensor) for tensor in tensors]
            tensors[1][..., width] = tensors[2][..., width + 1] = 1.0
        gradient, query, key, value, out = tensors
        wide = accumulation_dtype(query.dtype)
        found = [_heads_last(torch.zeros, tensor, wide) for tensor in (query, key, value)]
        for piece in self._pieces(query[..., :width]):
            piece.backward(gradient, query, key, value, (out, outcome[1]), self.scale, found)
        of_sums = torch.zeros_like(self.sums)
        if self.learned:
            # Slopes summed over a row are 0 but for rounding; both sums of the same slopes cancel it.
            by_query, by_key = found[0][..., width + 1], found[1][..., width]
            slopes = -by_key.to(of_sums.dtype)
            slopes[..., slopes.shape[-1] - by_query.shape[-1] :] += by_query
            of_sums += (slopes / self.scale).sum_to_size(of_sums.shape)
        return *(part[..., :width].to(query.dtype) for part in found), of_sums

    def _pieces(self, query: Tensor) -> Iterator["_Piece"]:
        """Blocks of queries, each of heads in a row whose keys begin at the same one."""
        (_, count, length, _), key_length = query.shape, self.key.shape[2]
        before = key_length - length
        reach = DecayReach(self.key, self.sums, self.scale, self.key_mask)
        for own, heads, varies in self._blocks(slice(before, key_length), slice(0, count)):
            rows = slice(own.start - before, own.stop - before)
            room = reach.room(query[:, heads, rows], own, heads)
            begins = reach.begins(room, own.start, heads, BLOCK_ROWS)
            for run in _runs(begins):
                alike = slice(heads.start + run.start, heads.start + run.stop)
                spared = _Spared(reach.least[:, alike, own], None if room is None else room[:, run])
                make = self._by_pairs if varies else self._by_keys
                yield _Piece(rows, alike, make(alike, begins[run.start], own, spared))

    def _blocks(self, own: slice, heads: slice) -> Iterator[tuple[slice, slice, bool]]:
        """Positions of queries and heads in a row, and whether c varies much there though they are as few as may be."""
        sums, size = self.sums[:, heads, own], own.stop - own.start
        vary: list[bool] = (sums.amax(-1) - sums.amin(-1) > SMALL_SPAN).any(0).tolist()
        for run in _runs(vary):
            alike = slice(heads.start + run.start, heads.start + run.stop)
            if not vary[run.start] or size <= BLOCK_ROWS:
                yield own, alike, vary[run.start]
                continue
            middle = own.start + -(-size // (2 * BLOCK_ROWS)) * BLOCK_ROWS
            yield from self._blocks(slice(own.start, middle), alike)
            yield from self._blocks(slice(middle, own.stop), alike)

    def _by_keys(self, heads: slice, begin: int, own: slice, spared: "_Spared") -> tuple["_Part", ...]:
        """The own positions of a block and the keys before, with one number added for each key."""
        wide, sums = accumulation_dtype(self.key.dtype), self.sums[:, heads]
        at_own, earlier = sums[..., own], slice(begin, own.start)
        middle = (at_own.amax(-1, keepdim=True) + at_own.amin(-1, keepdim=True)) / 2
        of_own = self._masked((middle - at_own).unsqueeze(-2), heads, own).to(wide)
        seen = (of_own > -torch.inf).cumsum(-1).squeeze(-2)
        own_part = _Part(own, of_own, True, None if self.key_mask is None else seen == 0)
        if earlier.start == earlier.stop:
            return (own_part,)
        of_earlier = middle - sums[..., earlier]
        if spared.room is not None:
            far = sums[..., earlier] > spared.least[..., :1] + spared.room
            of_earlier = of_earlier.masked_fill(far, -torch.inf)
        of_earlier = self._masked(of_earlier.unsqueeze(-2), heads, earlier).to(wide)
        return own_part, _Part(earlier, of_earlier, False, (of_earlier == -torch.inf).all(-1))

    def _by_pairs(self, heads: slice, begin: int, own: slice, spared: "_Spared") -> tuple["_Part", ...]:
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
        return (_Part(keys, bias, False, empty),)

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


class _Part(NamedTuple):
    """Keys that one call of the kernel takes.

    Attributes:
        keys: their numbers.
        bias: what is added to their scores, (batch or 1, heads, 1 or R, keys).
        is_causal: query i takes the first i + 1 of them.
        empty: bool (batch or 1, heads, 1 or R), queries that have none of them; None = no query.
    """

    keys: slice
    bias: Tensor
    is_causal: bool
    empty: Tensor | None


class _Piece(NamedTuple):
    """A block of queries in some heads.

    Attributes:
        rows: numbers of the queries.
        heads: which heads.
        parts: their keys, in one or two calls.
    """

    rows: slice
    heads: slice
    parts: tuple[_Part, ...]

    def forward(self, query: Tensor, key: Tensor, value: Tensor, scale: float, out: Tensor) -> Tensor:
        """Write the outputs of the queries to ``out``; their log-sum-exps, minus infinity without a key."""
        query, outputs, sums = query[:, self.heads, self.rows], [], []
        for part in self.parts:
            pairs = key[:, self.heads, part.keys], value[:, self.heads, part.keys]
            of_part, total = flash_forward(query, *pairs, part.bias, part.is_causal, scale)
            outputs.append(of_part)
            sums.append(total if part.empty is None else total.masked_fill(part.empty, -torch.inf))
        if len(outputs) == 1:
            out.copy_(outputs[0])
            return sums[0]
        whole = torch.logaddexp(sums[0], sums[1])
        share = (sums[1] - _safe(whole)).exp().unsqueeze(-1)
        first, second = outputs
        if out.dtype == share.dtype:
            torch.lerp(first, second, share, out=out)
        else:
            out.copy_(torch.lerp(first.to(share.dtype), second.to(share.dtype), share))
        return whole

    def backward(
        self,
        gradient: Tensor,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        outcome: Outcome,
        scale: float,
        found: list[Tensor],
    ) -> None:
        """Add the gradients of query, key and value to ``found``."""
        gradient, query, out = (each[:, self.heads, self.rows] for each in (gradient, query, outcome[0]))
        outcome = out, _safe(outcome[1][:, self.heads, self.rows])
        for keys, bias, is_causal, _ in self.parts:
            pairs = key[:, self.heads, keys], value[:, self.heads, keys]
            grads = flash_backward(gradient, query, *pairs, outcome, bias, is_causal, scale)
            for into, part, places in zip(found, grads, (self.rows, keys, keys), strict=True):
                into[:, self.heads, places] += part


def _runs(kinds: Sequence[object]) -> list[slice]:
    """Where equal ones stand in a row."""
    cuts = [0, *(place for place in range(1, len(kinds)) if kinds[place] != kinds[place - 1]), len(kinds)]
    return [slice(first, stop) for first, stop in pairwise(cuts)]


def _safe(total: Tensor) -> Tensor:
    """Log-sum-exps that may be subtracted from scores: 0 where there is no pair."""
    return total.masked_fill(total == -torch.inf, 0.0)


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
