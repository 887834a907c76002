"""Softmax over pairs that every query forms of the keys it may attend, from scores of the keys themselves."""

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import dropout

from primaldual.kernels.close_keys import summed_anew
from primaldual.kernels.layout import Layout
from primaldual.kernels.row_moments import moments_of_rows, moments_of_sums
from primaldual.kernels.row_pools import Members, Pools, Shares, excluding
from primaldual.kernels.statistics import KeyStatistics, merged


class Filter(NamedTuple):
    """Depthwise taps over the pairs of a query: T(k)_t = sum_s w_s * k_(t+s), pairs that it does not have being 0.

    Attributes:
        weight: (heads, D, rows, columns).
        layout: how the pairs lie; those of the prefix stay as they are and are seen by no other. Of a grid there may
            be fewer rows.
        left_padded: the last column belongs to s = 0, not the middle one.
    """

    weight: Tensor
    layout: Layout
    left_padded: bool

    def grid(self, pairs: int) -> tuple[int, int]:
        """Rows and columns of so many pairs."""
        body = pairs - self.layout.prefix
        if self.layout.grid is None:
            return 1, body
        columns = self.layout.grid[1]
        return body // columns, columns

    def moves(self, grid: tuple[int, int]) -> list["Move"]:
        """The taps that reach from some pair to another."""
        rows, columns = self.weight.shape[-2:]
        before = columns - 1 if self.left_padded else columns // 2
        found = []
        for down in range(rows):
            for right in range(columns):
                moved = down - rows // 2, right - before
                if abs(moved[0]) < grid[0] and abs(moved[1]) < grid[1]:
                    into, origin = zip(*map(_overlap, moved, grid), strict=True)
                    found.append(Move(self.weight[:, None, :, down, right], into, origin))
        return found


class Move(NamedTuple):
    """One tap.

    Attributes:
        weight: w_s, (heads, 1, D).
        into: rows and columns of pairs that have a neighbour there.
        origin: those of the neighbours.
    """

    weight: Tensor
    into: tuple[slice, slice]
    origin: tuple[slice, slice]


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
        added, offset = self.shares.log_weight, self.shares.offset
        if offset is None:
            return added
        assert self.pools is not None
        taken = self.shares.mean(self.pools, offset)
        return -taken if added is None else added - taken

    @property
    def most_members(self) -> int:
        """Most members of a pair that statistics are taken of."""
        return self.pools.size if isinstance(self.pools, Members) else 1

    def scores(self, query: Tensor) -> Tensor:
        """q . T(k)_t: (batch, heads, R, Nt); no tensor is larger than (batch, heads, R, N)."""
        return self._pooled(query) if self.taps is None else self._filtered(query, self.taps)

    def logits(self, query: Tensor) -> Tensor:
        """The scores with what is added to them, (batch, heads, R, Nt)."""
        offset = self.shares.offset
        if offset is None or self.taps is not None:
            return _plus(self.scores(query), self.log_weight)
        assert self.pools is not None
        scores = (query @ self.key.transpose(-2, -1)).sub_(offset)
        return _plus(self.shares.mean(self.pools, scores), self.shares.log_weight)

    def keys(self) -> Tensor:
        """The pairs' keys before any filter: (batch, heads, R or 1, Nt, D)."""
        if self.pools is None:
            return self.key.unsqueeze(2)
        return self.pools.means(self.shares.scaled(self.pools), self.key)

    def moments(self) -> KeyStatistics:
        """Mean and variance of T(k)_t over the pairs of every query, by products of shares and keys."""
        valid = self.valid.to(self.key.dtype)
        pools = Members(1) if self.pools is None else self.pools
        share = valid if self.pools is None else self.shares.scaled(self.pools)
        count = valid.sum(-1, keepdim=True)
        if not isinstance(pools, Members):
            means = pools.means(share, self.key)
            means = means if self.taps is None else _filtered_means(means, valid, self.taps)
            return moments_of_rows(means, valid, count)
        share, key = pools.each(share), self.key.unflatten(2, (pools.size, -1))
        if self.taps is not None:
            share, key = _moved(share, key, valid, self.taps)
        found = moments_of_sums(share, key, count)
        if self.pools is not None or self.taps is not None:
            return found
        return found._replace(variance=summed_anew(found.variance, found.mean, valid, self.key, count))

    def weighted_values(self, weights: Tensor) -> Tensor:
        """sum_t w_t v_t, 0 for a query without pairs: (batch, heads, R, Dv)."""
        if self.pools is not None:
            weights = self.shares.spread(self.pools, weights)
        return weights @ self.value * self.valid.any(-1, keepdim=True)

    def _pooled(self, query: Tensor) -> Tensor:
        """q . k_t: the means of the scores."""
        scores = query @ self.key.transpose(-2, -1)
        return scores if self.pools is None else self.shares.mean(self.pools, scores)

    def _filtered(self, query: Tensor, taps: Filter) -> Tensor:
        """q . T(k)_t: for every tap the scores of q * w, moved to where the tap belongs."""
        prefix, pairs = taps.layout.prefix, self.valid.shape[-1]
        if pairs <= prefix:
            return self._pooled(query)
        grid = taps.grid(pairs)
        present = self.valid[..., prefix:].to(query.dtype).unflatten(-1, grid)
        total = query.new_zeros(*query.shape[:3], *grid)
        for move in taps.moves(grid):
            scores = self._pooled(query * move.weight.to(query.dtype))[..., prefix:].unflatten(-1, grid)
            into, origin = (Ellipsis, *move.into), (Ellipsis, *move.origin)
            total[into].addcmul_(scores[origin], present[origin])
        if not prefix:
            return total.flatten(-2)
        lone = query @ self.key[..., :prefix, :].transpose(-2, -1)
        return torch.cat([lone, total.flatten(-2)], -1)


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

    @property
    def most_members(self) -> int:
        return max(each.most_members for each in self.sets)

    def scores(self, query: Tensor) -> Tensor:
        return torch.cat([each.scores(query) for each in self.sets], -1)

    def logits(self, query: Tensor) -> Tensor:
        return torch.cat([each.logits(query) for each in self.sets], -1)

    def keys(self) -> Tensor:
        return joined([each.keys() for each in self.sets], -2)

    def moments(self) -> KeyStatistics:
        return merged([each.moments() for each in self.sets])

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
        sink: score of one more pair, of value 0: (batch or 1, heads, R or 1); None = there is none.
    """
    weights = softmax_of_pairs(pairs.logits(query), pairs.valid, sink)
    return pairs.weighted_values(dropout(weights, dropout_p) if dropout_p else weights)


def softmax_of_pairs(logits: Tensor, valid: Tensor, sink: Tensor | None = None) -> Tensor:
    """Softmax of (batch, heads, R, Nt) over the pairs that a query has.

    A query without pairs has weights of no meaning. The logits are overwritten.
    """
    logits = logits.add_(excluding(valid, logits.dtype))
    if sink is None:
        return logits.softmax(-1)
    return joined([logits, sink.to(logits.dtype).unsqueeze(-1)]).softmax(-1)[..., :-1]


def joined(parts: Sequence[Tensor], dim: int = -1) -> Tensor:
    """Tensors one behind the other along a dimension, broadcast in the others."""
    dim %= parts[0].dim()
    leading = torch.broadcast_shapes(*(part.shape[:dim] + part.shape[dim + 1 :] for part in parts))
    return torch.cat([part.expand(*leading[:dim], part.shape[dim], *leading[dim:]) for part in parts], dim)


def _plus(scores: Tensor, added: Tensor | None) -> Tensor:
    return scores if added is None else scores.add_(added)


def _moved(share: Tensor, key: Tensor, valid: Tensor, taps: Filter) -> tuple[Tensor, Tensor]:
    """Filtered pairs as sums of more members: those of every neighbour, keys times its tap."""
    prefix, pairs = taps.layout.prefix, valid.shape[-1]
    if pairs <= prefix:
        return share, key
    grid = taps.grid(pairs)
    present = valid[..., prefix:].unflatten(-1, grid).unsqueeze(-3)
    body, keys = share[..., prefix:].unflatten(-1, grid), key[..., prefix:, :].unflatten(-2, grid)
    shares, moved = [], []
    for number, move in enumerate(taps.moves(grid)):
        into, origin = (Ellipsis, *move.into), (Ellipsis, *move.origin)
        of_pairs, of_keys = torch.zeros_like(body), torch.zeros_like(keys)
        of_pairs[into] = body[origin] * present[into]
        weight = move.weight.to(key.dtype)[:, None, None]
        of_keys[(*into, slice(None))] = keys[(*origin, slice(None))] * weight
        if prefix:  # lone pairs are their own, once
            lone = share[..., :prefix] if number == 0 else torch.zeros_like(share[..., :prefix])
            shares.append(torch.cat([lone, of_pairs.flatten(-2)], -1))
            moved.append(torch.cat([key[..., :prefix, :], of_keys.flatten(-3, -2)], -2))
        else:
            shares.append(of_pairs.flatten(-2))
            moved.append(of_keys.flatten(-3, -2))
    return torch.cat(shares, -2), torch.cat(moved, 2)


def _filtered_means(means: Tensor, valid: Tensor, taps: Filter) -> Tensor:
    """T(k)_t of pairs that are given for every query, (batch, heads, R, Nt, D)."""
    prefix, pairs = taps.layout.prefix, valid.shape[-1]
    if pairs <= prefix:
        return means
    body = (means * valid.unsqueeze(-1))[..., prefix:, :].unflatten(-2, taps.grid(pairs))
    total = torch.zeros_like(body)
    for move in taps.moves(taps.grid(pairs)):
        into, origin = ((Ellipsis, *places, slice(None)) for places in (move.into, move.origin))
        total[into] += body[origin] * move.weight.to(body.dtype)[:, None, None]
    return torch.cat([means[..., :prefix, :], total.flatten(-3, -2)], -2)


def _overlap(moved: int, length: int) -> tuple[slice, slice]:
    """Where t and t + moved both lie within a length."""
    return slice(max(0, -moved), length - max(0, moved)), slice(max(0, moved), length + min(0, moved))
