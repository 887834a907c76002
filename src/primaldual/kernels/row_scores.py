"""Softmax over pairs that every query forms of the keys it may attend, from scores of the keys themselves."""

from collections.abc import Sequence
from functools import partial, reduce
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import dropout

from primaldual.kernels.layout import Layout
from primaldual.kernels.row_pools import Pools, Shares, excluding


class Filter(NamedTuple):
    """Depthwise taps over the pairs of a query: T(k)_t = sum_s w_s * k_(t+s), pairs that it does not have being 0.

    Attributes:
        weight: (heads, D, rows, columns).
        layout: how the pairs lie; those of the prefix stay as they are and are seen by no other.
        left_padded: the last column belongs to s = 0, not the middle one.
    """

    weight: Tensor
    layout: Layout
    left_padded: bool


class FormedPairs(NamedTuple):
    """Pairs that some queries form of keys and values, as operations on scores and weights.

    Attributes:
        key: (batch, heads, N, D).
        value: (batch, heads, N, Dv).
        shares: what each position counts in its pair, and which pairs there are.
        pools: which pair it belongs to; None = each is one by itself.
        taps: a filter T over the pairs; None = T(k) = k.
    """

    key: Tensor
    value: Tensor
    shares: Shares
    pools: Pools | None = None
    taps: Filter | None = None

    @property
    def valid(self) -> Tensor:
        """Bool (batch or 1, heads or 1, R, Nt): the pairs that a query has."""
        return self.shares.valid

    @property
    def log_weight(self) -> Tensor | None:
        """What is added to the scores of pairs, (batch or 1, heads or 1, R, Nt)."""
        return self.shares.log_weight

    def scores(self, query: Tensor) -> Tensor:
        """q . T(k)_t: (batch, heads, R, Nt); no tensor is larger than (batch, heads, R, N)."""
        form = _pooled if self.taps is None else partial(_filtered, taps=self.taps)
        return form(query, self.key, self.shares, self.pools)

    def keys(self) -> Tensor:
        """The pairs' keys before any filter: (batch, heads, R or 1, Nt, D)."""
        return self.key.unsqueeze(2) if self.pools is None else self.pools.means(self.shares.share, self.key)

    def weighted_values(self, weights: Tensor) -> Tensor:
        """sum_t w_t v_t: (batch, heads, R, Dv)."""
        if self.pools is not None:
            weights = self.pools.spread(weights) * self.shares.share
        return weights @ self.value


class JoinedPairs(NamedTuple):
    """The pairs of several sets, one behind the other, as :class:`FormedPairs`.

    Attributes:
        sets: those of each.
    """

    sets: tuple[FormedPairs, ...]

    @property
    def valid(self) -> Tensor:
        return joined([each.valid for each in self.sets])

    @property
    def log_weight(self) -> Tensor | None:
        if all(each.log_weight is None for each in self.sets):
            return None
        dtype = self.sets[0].key.dtype
        return joined(
            [
                torch.zeros_like(each.valid, dtype=dtype) if each.log_weight is None else each.log_weight
                for each in self.sets
            ]
        )

    def scores(self, query: Tensor) -> Tensor:
        return torch.cat([each.scores(query) for each in self.sets], -1)

    def keys(self) -> Tensor:
        return joined([each.keys() for each in self.sets], -2)

    def weighted_values(self, weights: Tensor) -> Tensor:
        parts = weights.split([each.valid.shape[-1] for each in self.sets], -1)
        return reduce(
            torch.add, (each.weighted_values(part) for each, part in zip(self.sets, parts, strict=True))
        )


def row_attention(
    query: Tensor, pairs: FormedPairs | JoinedPairs, dropout_p: float, sink: Tensor | None = None
) -> Tensor:
    """sum_t softmax_t(q . T(k)_t + w_t) v_t, pairs t being means of keys and values: (batch, heads, R, Dv).

    Rows without a pair give 0. The matrices formed are (batch, heads, R, N).

    Args:
        query: (batch, heads, R, D), times the scale of the scores.
        pairs: those of these queries.
        dropout_p: probability of dropping a weight.
        sink: score of one more pair, of value 0: (1, heads, 1); None = there is none.
    """
    weights = softmax_of_pairs(pairs.scores(query), pairs, sink)
    return pairs.weighted_values(dropout(weights, dropout_p) if dropout_p else weights)


def softmax_of_pairs(scores: Tensor, pairs: FormedPairs | JoinedPairs, sink: Tensor | None = None) -> Tensor:
    """Softmax of scores (batch, heads, R, Nt) over the pairs that a query has, each by its weight; 0 where it has none."""
    added, valid = pairs.log_weight, pairs.valid
    if added is not None:
        scores = scores + added
    scores = scores + excluding(valid, scores.dtype)
    if sink is not None:
        scores = joined([scores, sink.to(scores.dtype).unsqueeze(-1)])
        return scores.softmax(-1)[..., :-1]
    weights = scores.softmax(-1)
    return weights * valid.any(-1, keepdim=True)


def joined(parts: Sequence[Tensor], dim: int = -1) -> Tensor:
    """Tensors one behind the other along a dimension, broadcast in the others."""
    dim %= parts[0].dim()
    leading = torch.broadcast_shapes(*(part.shape[:dim] + part.shape[dim + 1 :] for part in parts))
    return torch.cat([part.expand(*leading[:dim], part.shape[dim], *leading[dim:]) for part in parts], dim)


def _pooled(query: Tensor, key: Tensor, shares: Shares, pools: Pools | None) -> Tensor:
    """q . k_t: the means of the scores."""
    scores = query @ key.transpose(-2, -1)
    return scores if pools is None else pools.sums(scores * shares.share)


def _filtered(query: Tensor, key: Tensor, shares: Shares, pools: Pools | None, taps: Filter) -> Tensor:
    """q . T(k)_t: for every tap the scores of q * w, moved to where the tap belongs."""
    weight, layout, prefix = taps.weight.to(query.dtype), taps.layout, taps.layout.prefix
    pairs = shares.valid.shape[-1]
    if pairs <= prefix:
        return _pooled(query, key, shares, pools)
    grid = layout.grid or (1, pairs - prefix)
    rows, columns = weight.shape[-2:]
    before = columns - 1 if taps.left_padded else columns // 2
    present = shares.valid[..., prefix:].to(query.dtype).unflatten(-1, grid)
    total = query.new_zeros(*query.shape[:3], *grid)
    for down in range(rows):
        for right in range(columns):
            moved = down - rows // 2, right - before
            if abs(moved[0]) >= grid[0] or abs(moved[1]) >= grid[1]:
                continue
            scores = _pooled(query * weight[:, None, :, down, right], key, shares, pools)
            scores = scores[..., prefix:].unflatten(-1, grid) * present
            into, origin = zip(*map(_overlap, moved, grid), strict=True)
            total[..., into[0], into[1]] += scores[..., origin[0], origin[1]]
    lone = query @ key[..., :prefix, :].transpose(-2, -1)
    return torch.cat([lone, total.flatten(-2)], -1) if prefix else total.flatten(-2)


def _overlap(moved: int, length: int) -> tuple[slice, slice]:
    """Where t and t + moved both lie within a length."""
    return slice(max(0, -moved), length - max(0, moved)), slice(max(0, moved), length + min(0, moved))
