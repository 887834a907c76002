"""Pools of keys that every query forms of what it may attend, as operations on matrices of queries and positions.

Means are linear in the keys, so they may be taken of the scores: q . mean(k_j) = mean(q . k_j), and the weight of a
pool, spread over its members, meets the values as one matrix product. Nothing of size Nq x N x D is formed.
"""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from primaldual.kernels.layout import Layout
from primaldual.kernels.pooling import window_index


class Pools(Protocol):
    """Which pool each position belongs to."""

    def number(self, length: int) -> int:
        """How many pools ``length`` positions have."""

    def sums(self, terms: Tensor) -> Tensor:
        """(..., N) -> (..., Nt): the sum over each pool."""

    def largest(self, terms: Tensor) -> Tensor:
        """(..., N) -> (..., Nt): the largest of each pool."""

    def spread(self, pooled: Tensor) -> Tensor:
        """(..., Nt) -> (..., N): what belongs to each position's pool."""

    def means(self, share: Tensor, tensor: Tensor) -> Tensor:
        """The pools of keys or values (batch, heads, N, D) by shares (.., R, N): (batch, heads, R, Nt, D)."""

    def rows(self, block: slice) -> "Pools":
        """The pools of some queries."""


class ConsecutivePools(NamedTuple):
    """``prefix`` lone positions, then windows of ``size`` consecutive ones.

    Example:
        >>> ConsecutivePools(1, 2).sums(torch.tensor([5.0, 1.0, 2.0, 3.0, 4.0])).tolist()
        [5.0, 3.0, 7.0]
    """

    prefix: int
    size: int

    def number(self, length: int) -> int:
        return self.prefix + (length - self.prefix) // self.size

    def sums(self, terms: Tensor) -> Tensor:
        return self._joined(terms, self._windows(terms).sum(-1))

    def largest(self, terms: Tensor) -> Tensor:
        return self._joined(terms, self._windows(terms).amax(-1))

    def spread(self, pooled: Tensor) -> Tensor:
        body = pooled[..., self.prefix :].unsqueeze(-1).expand(*pooled.shape[:-1], -1, self.size).flatten(-2)
        return self._joined(pooled, body)

    def means(self, share: Tensor, tensor: Tensor) -> Tensor:
        shares = share[..., self.prefix :].unflatten(-1, (-1, self.size)).transpose(2, 3)
        body = (shares @ tensor[..., self.prefix :, :].unflatten(-2, (-1, self.size))).transpose(2, 3)
        if not self.prefix:
            return body
        lone = share[..., : self.prefix].unsqueeze(-1) * tensor[..., : self.prefix, :].unsqueeze(2)
        return torch.cat([lone, body], 3)

    def rows(self, block: slice) -> "ConsecutivePools":
        del block
        return self

    def _windows(self, terms: Tensor) -> Tensor:
        return terms[..., self.prefix :].unflatten(-1, (-1, self.size))

    def _joined(self, front: Tensor, body: Tensor) -> Tensor:
        return torch.cat([front[..., : self.prefix], body], -1) if self.prefix else body


class IndexedPools(NamedTuple):
    """Pools by number, for each query.

    Attributes:
        pool: long (batch or 1, heads or 1, Nq or 1, N): that of each position.
        pools: Nt.
    """

    pool: Tensor
    pools: int

    def number(self, length: int) -> int:
        del length
        return self.pools

    def sums(self, terms: Tensor) -> Tensor:
        return terms.new_zeros(*terms.shape[:-1], self.pools).scatter_add(-1, self._like(terms), terms)

    def largest(self, terms: Tensor) -> Tensor:
        lowest = terms.new_full((*terms.shape[:-1], self.pools), torch.finfo(terms.dtype).min)
        return lowest.scatter_reduce(-1, self._like(terms), terms, "amax")

    def spread(self, pooled: Tensor) -> Tensor:
        return pooled.gather(-1, self.pool.expand(*pooled.shape[:-1], -1))

    def means(self, share: Tensor, tensor: Tensor) -> Tensor:
        terms = share.unsqueeze(-1) * tensor.unsqueeze(2)
        *leading, length, width = terms.shape
        index = self.pool.expand(*leading, length).reshape(-1, length)
        pools = torch.arange(index.shape[0], device=index.device)[:, None] * self.pools + index
        sums = terms.new_zeros(index.shape[0] * self.pools, width)  # by rows: numbers take ten times as long
        return sums.index_add(0, pools.flatten(), terms.reshape(-1, width)).view(*leading, self.pools, width)

    def rows(self, block: slice) -> "IndexedPools":
        return self if self.pool.shape[2] == 1 else IndexedPools(self.pool[:, :, block], self.pools)

    def _like(self, terms: Tensor) -> Tensor:
        return self.pool.expand(*terms.shape[:-1], -1)


class Shares(NamedTuple):
    """What each position counts in the pool that it belongs to.

    Attributes:
        share: (batch or 1, heads or 1, R, N), adding up to 1 in every pool, 0 where a query may not attend.
        valid: bool (..., R, Nt): pools that have a member.
        log_weight: (..., R, Nt), what is added to the score of a pool; None = nothing.
    """

    share: Tensor
    valid: Tensor
    log_weight: Tensor | None


def equal_shares(pools: Pools, allowed: Tensor, dtype: torch.dtype, weighted: bool) -> Shares:
    """Pools are means of what a query may attend; with weights each counts for its members.

    Args:
        pools: the pools of the queries in ``allowed``.
        allowed: bool (batch or 1, heads or 1, R, N).
        dtype: of the shares.
        weighted: log n is added to the score of a pool of n members.
    """
    member = allowed.to(dtype)
    counts = pools.sums(member)
    share = member / pools.spread(counts.clamp(min=1))
    return Shares(share, counts > 0, counts.clamp(min=1).log() if weighted else None)


def anchored_shares(pools: Pools, allowed: Tensor, scores: Tensor) -> Shares:
    """Shares exp(s_j) / sum exp(s) and weights log sum exp(s) - sum share s, see ``weighted_pooling.anchored_pool``.

    Args:
        pools: the pools of the queries in ``allowed``.
        allowed: bool (batch or 1, heads or 1, R, N).
        scores: s_j, (batch, heads, 1, N).
    """
    local = scores + excluding(allowed, scores.dtype)
    top = pools.largest(local.detach())
    valid = top > torch.finfo(scores.dtype).min / 4
    top = top * valid
    terms = (local - pools.spread(top)).exp()
    total = pools.sums(terms) + ~valid
    share = terms / pools.spread(total)
    return Shares(share, valid, top + total.log() - pools.sums(share * scores))


def excluding(valid: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where valid, elsewhere a number so small that nothing is left of its exponential beside any valid score.

    It is added, because masked_fill() and where() take ten times as long on CPU.
    """
    return (valid.to(dtype) - 1) * (torch.finfo(dtype).max / 2)


def arrangement(
    layout: Layout, length: int, scale: int, device: torch.device
) -> tuple[ConsecutivePools, Tensor | None]:
    """Consecutive windows, and the order in which positions form them: ``length`` stands for a filler, None = as they are.

    Args:
        layout: prefix and grid of the positions.
        length: N.
        scale: window length, or side of a patch of a grid.
        device: of the order.
    """
    size, front = scale if layout.grid is None else scale * scale, min(layout.prefix, length)
    windows = ConsecutivePools(front, size)
    if layout.grid is None and (length - front) % scale == 0:
        return windows, None
    pool = window_index(length, scale, layout, device)
    place = torch.argsort(pool, stable=True)
    pool = pool[place]
    rank = torch.arange(length, device=device) - torch.searchsorted(pool, pool)
    slot = torch.where(pool < front, pool, front + (pool - front) * size + rank)
    order = torch.full((front + (layout.windows(length, scale) - front) * size,), length, device=device)
    return windows, order.scatter(0, slot, place)


def arranged(tensor: Tensor, order: Tensor, dim: int) -> Tensor:
    """A tensor in an order along a dimension, 0 (or False) at fillers."""
    dim %= tensor.dim()
    widened = pad(tensor, (0, 0) * (tensor.dim() - 1 - dim) + (0, 1))
    return widened.index_select(dim, order)
