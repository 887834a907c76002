"""Training pairs that every query forms of what it may attend: pools, filters and masks that differ by query."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from primaldual.kernels.masks import Attendable
from primaldual.kernels.modes import in_graph
from primaldual.kernels.row_pools import Pools, Shares, anchored_shares, arranged, equal_shares
from primaldual.kernels.row_scores import Filter, row_attention
from primaldual.kernels.statistics import accumulation_dtype
from primaldual.primal.training_sets import OWN, Kind, TrainingSet

BLOCK_NUMBERS = 2**20
"""Numbers in a matrix of queries and keys that are taken at a time."""


@dataclass(frozen=True)
class RowPairs(TrainingSet):
    """Pairs of every query: means over pools of the keys that it may attend, and a filter over these.

    ``attendable.pairs`` holds all that is known of what may be attended.

    Attributes:
        pools: which pair each position belongs to; None = each is one by itself.
        anchor: s_j of anchored pools, (batch, heads, 1, N); None = equal shares.
        weighted: log n is added to the score of a pool of n members.
        taps: a filter over the pairs; None = none.
    """

    pools: Pools | None = field(default=None, kw_only=True)
    anchor: Tensor | None = field(default=None, kw_only=True)
    weighted: bool = field(default=False, kw_only=True)
    taps: Filter | None = field(default=None, kw_only=True)

    @property
    def kind(self) -> Kind:
        return Kind(OWN, pooled_late=True)

    @property
    def allowed(self) -> Tensor:
        """What may be attended, bool (batch or 1, heads or 1, Nq or 1, N)."""
        assert self.attendable.pairs is not None
        return self.attendable.pairs

    @property
    def count(self) -> int:
        """Nt."""
        length = self.key.shape[2]
        return length if self.pools is None else self.pools.number(length)

    def anchored(self, scores: Tensor) -> Self:
        """The same with pools by shares exp(s_j), see ``weighted_pooling.anchored_pool``; scores (batch, heads, N, 1)."""
        return replace(self, anchor=scores.transpose(-2, -1))

    def in_order(self, order: Tensor | None) -> Self:
        """The same with positions in another order, fillers where it names no position."""
        if order is None:
            return self
        return replace(
            self,
            key=arranged(self.key, order, -2),
            value=arranged(self.value, order, -2),
            attendable=Attendable(pairs=arranged(self.allowed, order, -1)),
        )

    def softmax(self, query: Tensor, scale: float, dropout_p: float) -> Tensor:
        def attend(rows: Tensor, allowed: Tensor, pools: Pools | None, pairs: Self) -> Tensor:
            shares = pairs.shares(allowed, pools)
            return row_attention(rows * scale, pairs.key, pairs.value, shares, pools, pairs.taps, dropout_p)

        return self.by_blocks(attend, query, 1)

    def by_blocks(
        self, attend: Callable[[Tensor, Tensor, Pools | None, Self], Tensor], query: Tensor, width: int
    ) -> Tensor:
        """What ``attend`` gives for some queries at a time, in float32 or wider, formed again in the backward.

        Args:
            attend: from queries, bool (.., R, N) what they may attend, their pools, and this set, to outputs.
            query: (batch, heads, Nq, D).
            width: numbers that are formed for each pair of query and key.
        """
        dtype, (batch, heads, length, _) = query.dtype, query.shape
        wide = accumulation_dtype(dtype)
        pairs, query = replace(self, key=self.key.to(wide), value=self.value.to(wide)), query.to(wide)
        row = batch * heads * self.key.shape[2] * width
        size = length if in_graph() else max(1, BLOCK_NUMBERS // max(1, row))
        if size >= length:
            return attend(query, self.allowed, self.pools, pairs).to(dtype)
        parts = []
        for start in range(0, length, size):
            rows = slice(start, min(start + size, length))
            mask = self.allowed[:, :, rows] if self.allowed.shape[2] > 1 else self.allowed
            pools = None if self.pools is None else self.pools.rows(rows)
            taken = query[:, :, rows], mask, pools, pairs
            again = torch.is_grad_enabled()
            part = checkpoint(attend, *taken, use_reentrant=False) if again else attend(*taken)
            parts.append(part.to(dtype))
        return torch.cat(parts, 2)

    def shares(self, allowed: Tensor, pools: Pools | None) -> Shares:
        """What each position counts in its pair, for some queries.

        Args:
            allowed: bool (batch or 1, heads or 1, R, N), what they may attend.
            pools: theirs.
        """
        if pools is None:
            return Shares(allowed, allowed, None)
        if self.anchor is not None:
            return anchored_shares(pools, allowed, self.anchor.to(self.key.dtype))
        return equal_shares(pools, allowed, self.key.dtype, self.weighted)
