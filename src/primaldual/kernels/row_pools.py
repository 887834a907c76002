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

    def sums(self, share: Tensor, terms: Tensor) -> Tensor:
        """(..., N), (..., N) -> (..., Nt): the sum of share times term over each pool."""

    def largest(self, terms: Tensor) -> Tensor:
        """(..., N) -> (..., Nt): the largest of each pool."""

    def plus(self, terms: Tensor, pooled: Tensor) -> Tensor:
        """(..., N), (..., Nt) -> (..., N): terms and what belongs to their pools."""

    def times(self, terms: Tensor, pooled: Tensor) -> Tensor:
        """(..., N), (..., Nt) -> (..., N): terms times what belongs to their pools."""

    def means(self, share: Tensor, tensor: Tensor) -> Tensor:
        """The pools of keys or values (batch, heads, N, D) by shares (.., R, N): (batch, heads, R, Nt, D)."""

    def member(self, allowed: Tensor, dtype: torch.dtype) -> Tensor:
        """1 for positions that count in their pools, else 0, from what queries may attend."""

    def present(self, total: Tensor) -> Tensor:
        """Bool (..., Nt): the pools that a query has, from the sums of its shares."""

    def bound(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Numbers (..., Nt or 1) that no score of a pool exceeds, for all queries; scores less these, (..., N)."""


class Members(NamedTuple):
    """Pools of ``size`` members: the first members of all pools stand in front, then the second ones.

    Sums then run over neighbouring rows of memory, which is many times as fast as over neighbouring numbers.

    Example:
        >>> Members(2).sums(torch.ones(4), torch.tensor([1.0, 3.0, 2.0, 4.0])).tolist()
        [3.0, 7.0]
    """

    size: int

    def number(self, length: int) -> int:
        return length // self.size

    def sums(self, share: Tensor, terms: Tensor) -> Tensor:
        parts = zip(self.each(share).unbind(-2), self.each(terms).unbind(-2), strict=True)
        shares, members = next(parts)
        total = shares * members
        for shares, members in parts:
            total = torch.addcmul(total, shares, members)
        return total

    def largest(self, terms: Tensor) -> Tensor:
        return self.each(terms).amax(-2)

    def plus(self, terms: Tensor, pooled: Tensor) -> Tensor:
        return (self.each(terms) + pooled.unsqueeze(-2)).flatten(-2)

    def times(self, terms: Tensor, pooled: Tensor) -> Tensor:
        return (self.each(terms) * pooled.unsqueeze(-2)).flatten(-2)

    def means(self, share: Tensor, tensor: Tensor) -> Tensor:
        members = tensor.unflatten(-2, (self.size, -1)).unsqueeze(-4).unbind(-3)
        shares = self.each(share).unsqueeze(-1).unbind(-3)
        total = shares[0] * members[0]
        for one, member in zip(shares[1:], members[1:], strict=True):
            total = torch.addcmul(total, one, member)
        return total

    def member(self, allowed: Tensor, dtype: torch.dtype) -> Tensor:
        return allowed.to(dtype)

    def present(self, total: Tensor) -> Tensor:
        return total > 0

    def bound(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        top = self.largest(scores.detach())
        return top, self.plus(scores, -top)

    def each(self, terms: Tensor) -> Tensor:
        """(..., N) -> (..., size, Nt)."""
        return terms.unflatten(-1, (self.size, -1))


class IndexedPools(NamedTuple):
    """Pools by number, for each query.

    Attributes:
        pool: long (batch or 1, heads or 1, Nq or 1, N): that of each position.
        pools: Nt. The last one holds what a query may not attend, and is never present.
    """

    pool: Tensor
    pools: int

    def number(self, length: int) -> int:
        del length
        return self.pools

    def sums(self, share: Tensor, terms: Tensor) -> Tensor:
        terms = self._of_rows(share * terms)
        return self._of_pools(terms, 0.0).scatter_add(-1, self._like(terms), terms)

    def largest(self, terms: Tensor) -> Tensor:
        terms = self._of_rows(terms)
        lowest = self._of_pools(terms, torch.finfo(terms.dtype).min)
        return lowest.scatter_reduce(-1, self._like(terms), terms, "amax")

    def plus(self, terms: Tensor, pooled: Tensor) -> Tensor:
        return terms + pooled.gather(-1, self._like(pooled))

    def times(self, terms: Tensor, pooled: Tensor) -> Tensor:
        return terms * pooled.gather(-1, self._like(pooled))

    def means(self, share: Tensor, tensor: Tensor) -> Tensor:
        terms = share.unsqueeze(-1) * tensor.unsqueeze(2)
        *leading, length, width = terms.shape
        index = self.pool.expand(*leading, length).reshape(-1, length)
        pools = torch.arange(index.shape[0], device=index.device)[:, None] * self.pools + index
        sums = terms.new_zeros(index.shape[0] * self.pools, width)  # by rows: numbers take ten times as long
        return sums.index_add(0, pools.flatten(), terms.reshape(-1, width)).view(*leading, self.pools, width)

    def member(self, allowed: Tensor, dtype: torch.dtype) -> Tensor:
        return torch.ones((1,) * 3 + allowed.shape[-1:], dtype=dtype, device=allowed.device)

    def present(self, total: Tensor) -> Tensor:
        found = total > 0
        found[..., -1] = False
        return found

    def bound(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        top = scores.detach().amax(-1, keepdim=True)
        return top, scores - top

    def _like(self, terms: Tensor) -> Tensor:
        return self.pool.expand(*terms.shape[:-1], -1)

    def _of_rows(self, terms: Tensor) -> Tensor:
        """(..., N), for every query whose pools these are."""
        return terms.expand(torch.broadcast_shapes(terms.shape, self.pool.shape))

    def _of_pools(self, terms: Tensor, number: float) -> Tensor:
        """One number for all pools, (..., Nt) beside (..., N)."""
        return terms.new_full((*terms.shape[:-1], self.pools), number)


class Shares(NamedTuple):
    """What each position counts in the pool that it belongs to.

    Attributes:
        share: (batch or 1, heads or 1, R, N), 0 where a query may not attend.
        valid: bool (..., R, Nt): pools that have a member.
        log_weight: (..., R, Nt), what is added to the score of a pool; None = nothing.
        scale: (..., R, Nt), by which shares add up to 1 in every pool; None = 1.
        offset: (..., R or 1, N), whose mean over a pool is taken off its score besides; None = 0.
    """

    share: Tensor
    valid: Tensor
    log_weight: Tensor | None
    scale: Tensor | None = None
    offset: Tensor | None = None

    def mean(self, pools: Pools, terms: Tensor) -> Tensor:
        """(..., R, N) -> (..., R, Nt): the mean over each pool."""
        return pools.sums(self.share, terms) * self._scale

    def spread(self, pools: Pools, weights: Tensor) -> Tensor:
        """(..., R, Nt) -> (..., R, N): the weights of pools on their members."""
        return pools.times(self.share, weights * self._scale)

    def scaled(self, pools: Pools) -> Tensor:
        """The shares, adding up to 1."""
        return pools.times(self.share, self._scale)

    @property
    def _scale(self) -> Tensor:
        assert self.scale is not None
        return self.scale


MOST_APART = 30.0
"""Difference of scores of one pool up to which shares by the largest of all serve those who may not attend it: the square
of the smallest, by which gradients divide, is then within the range of float32."""


def equal_shares(pools: Pools, allowed: Tensor, dtype: torch.dtype, weighted: bool) -> Shares:
    """Pools are means of what a query may attend; with weights each counts for its members.

    Args:
        pools: the pools of the queries in ``allowed``.
        allowed: bool (batch or 1, heads or 1, R, N).
        dtype: of the shares.
        weighted: log n is added to the score of a pool of n members.
    """
    member = pools.member(allowed, dtype)
    counts = pools.sums(member, member)
    some = counts.clamp(min=1)
    return Shares(member, pools.present(counts), some.log() if weighted else None, 1 / some)


def anchored_shares(pools: Pools, allowed: Tensor, scores: Tensor) -> Shares:
    """Shares exp(s_j) / sum exp(s) and weights log sum exp(s) - sum share s, see ``weighted_pooling.anchored_pool``.

    The mean of s is the offset, so that one pass over the scores takes it off.

    Args:
        pools: the pools of the queries in ``allowed``.
        allowed: bool (batch or 1, heads or 1, R, N).
        scores: s_j, (batch, heads, 1, N).
    """
    member = pools.member(allowed, scores.dtype)
    top, below = pools.bound(scores)
    if bool((below.detach() >= -MOST_APART).all()):
        terms = below.exp()
        total, share = pools.sums(member, terms), member * terms
    else:
        top = pools.largest((scores + excluding(member, scores.dtype)).detach())
        top = top * (top > torch.finfo(scores.dtype).min / 4)
        below = member * pools.plus(scores, -top)  # 0 in place of scores that may be above the top
        share = member * below.exp()
        total = pools.sums(share, member)
    valid = pools.present(total)
    total = total + ~valid
    return Shares(share, valid, top + total.log(), 1 / total, scores)


def excluding(valid: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where valid, elsewhere a number so small that nothing is left of its exponential beside any valid score.

    It is added, because masked_fill() and where() take ten times as long on CPU.
    """
    return (valid.to(dtype) - 1) * (torch.finfo(dtype).max / 2)


class Arrangement(NamedTuple):
    """Windows as :class:`Members`: the order that positions are brought into.

    Attributes:
        pools: of the positions in this order.
        order: long (size Nt,), ``length`` for fillers.
        length: N.
    """

    pools: Members
    order: Tensor
    length: int

    @classmethod
    def of(cls, layout: Layout, length: int, scale: int, device: torch.device) -> "Arrangement":
        """The windows of a layout, its prefix as windows by themselves.

        Args:
            layout: prefix and grid of the positions.
            length: N.
            scale: window length, or side of a patch of a grid.
            device: of the order.
        """
        size, front = scale if layout.grid is None else scale * scale, min(layout.prefix, length)
        pool = window_index(length, scale, layout, device)
        place = torch.argsort(pool, stable=True)
        pool = pool[place]
        rank = torch.arange(length, device=device) - torch.searchsorted(pool, pool)
        windows = layout.windows(length, scale)
        order = torch.full((size * windows,), length, device=device)
        order = order.scatter(0, torch.where(pool < front, 0, rank) * windows + pool, place)
        return cls(Members(size), order, length)

    def arranged(self, tensor: Tensor, dim: int) -> Tensor:
        """A tensor in this order along a dimension, 0 (or False) at fillers."""
        dim %= tensor.dim()
        widened = pad(tensor, (0, 0) * (tensor.dim() - 1 - dim) + (0, 1))
        return widened.index_select(dim, self.order)

    def begun(self, end: int) -> int:
        """How many windows have a member before a position."""
        return int((self.order[: len(self.order) // self.pools.size] < end).sum())
