"""Training pairs that every query forms of what it may attend: pools, filters and masks that differ by query."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol, Self

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from primaldual.kernels.masks import Attendable
from primaldual.kernels.modes import in_graph
from primaldual.kernels.row_pools import Pools, Shares, anchored_shares, arranged, equal_shares
from primaldual.kernels.row_scores import Filter, FormedPairs, JoinedPairs, row_attention
from primaldual.kernels.statistics import accumulation_dtype
from primaldual.primal.training_sets import OWN, Kind, MaskedPairs, TrainingSet

PositionWeights = Callable[[slice, Tensor], Tensor]

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
        omitted: bool (batch or 1, heads or 1, Nq, Nt), pairs that a query leaves out; None = none.
        order: the order that positions were brought into; None = as they are.
        position_weights: log of what each position counts, of some queries and like a tensor; None = 1.
        first_row: the number of the first query.
    """

    pools: Pools | None = field(default=None, kw_only=True)
    anchor: Tensor | None = field(default=None, kw_only=True)
    weighted: bool = field(default=False, kw_only=True)
    taps: Filter | None = field(default=None, kw_only=True)
    omitted: Tensor | None = field(default=None, kw_only=True)
    order: Tensor | None = field(default=None, kw_only=True)
    position_weights: PositionWeights | None = field(default=None, kw_only=True)
    first_row: int = field(default=0, kw_only=True)

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
            order=order,
        )

    def softmax(self, query: Tensor, scale: float, dropout_p: float, sink: Tensor | None = None) -> Tensor:
        return softmax_by_rows(self, query, scale, dropout_p, sink)

    def listed(self) -> MaskedPairs:
        if self.pools is not None or self.taps is not None:
            raise NotImplementedError("pools and filters differ from query to query")
        allowed = self.allowed if self.omitted is None else self.allowed & ~self.omitted
        return MaskedPairs(self.key, self.value, self.query_length, Attendable(pairs=allowed))

    def to(self, dtype: torch.dtype) -> Self:
        return replace(self, key=self.key.to(dtype), value=self.value.to(dtype))

    def weighted_by(self, position_weights: PositionWeights) -> Self:
        """The same with positions that count differently from query to query."""
        return replace(self, position_weights=position_weights)

    def of_rows(self, rows: slice) -> Self:
        """The pairs of some queries."""
        return replace(
            self,
            query_length=rows.stop - rows.start,
            first_row=self.first_row + rows.start,
            attendable=Attendable(pairs=_rows(self.allowed, rows)),
            pools=None if self.pools is None else self.pools.rows(rows),
            omitted=None if self.omitted is None else _rows(self.omitted, rows),
        )

    def formed(self) -> FormedPairs:
        """The pairs as operations on scores and weights."""
        shares = self._shares()
        if self.omitted is not None:
            shares = shares._replace(valid=shares.valid & ~self.omitted)
        if self.position_weights is not None:
            rows = slice(self.first_row, self.first_row + self.query_length)
            added = self.position_weights(rows, self.key)
            added = added if self.order is None else arranged(added, self.order, -1)
            added = added if self.pools is None else self.pools.sums(added * shares.share)
            own = shares.log_weight
            shares = shares._replace(log_weight=added if own is None else added + own)
        return FormedPairs(self.key, self.value, shares, self.pools, self.taps)

    def _shares(self) -> Shares:
        """What each position counts in its pair."""
        if self.pools is None:
            return Shares(self.allowed, self.allowed, None)
        if self.anchor is not None:
            return anchored_shares(self.pools, self.allowed, self.anchor.to(self.key.dtype))
        return equal_shares(self.pools, self.allowed, self.key.dtype, self.weighted)


def _rows(mask: Tensor, rows: slice) -> Tensor:
    return mask if mask.shape[2] == 1 else mask[:, :, rows]


class RowSet(Protocol):
    """Training pairs that every query forms of what it may attend."""

    @property
    def key(self) -> Tensor: ...

    def to(self, dtype: torch.dtype) -> Self:
        """The same pairs in another type."""

    def of_rows(self, rows: slice) -> Self:
        """The pairs of some queries."""

    def formed(self) -> FormedPairs | JoinedPairs:
        """The pairs as operations on scores and weights."""


def softmax_by_rows(
    pairs: RowSet, query: Tensor, scale: float, dropout_p: float, sink: Tensor | None
) -> Tensor:
    """The softmax attention of some queries at a time: (batch, heads, Nq, Dv); a sink is the same for all of them."""
    return by_rows(pairs, lambda rows, formed: row_attention(rows * scale, formed, dropout_p, sink), query, 1)


def by_rows(
    pairs: RowSet, attend: Callable[[Tensor, FormedPairs | JoinedPairs], Tensor], query: Tensor, width: int
) -> Tensor:
    """What ``attend`` gives for some queries at a time, in float32 or wider, formed again in the backward.

    Args:
        pairs: those of all queries.
        attend: from queries and their pairs to outputs.
        query: (batch, heads, Nq, D).
        width: numbers that are formed for each pair of query and key.
    """
    dtype, (batch, heads, length, _) = query.dtype, query.shape
    wide = accumulation_dtype(query.dtype)
    pairs, query = pairs.to(wide), query.to(wide)
    row = batch * heads * pairs.key.shape[2] * width
    size = length if in_graph() else max(1, BLOCK_NUMBERS // max(1, row))
    if size >= length:
        return attend(query, pairs.formed()).to(dtype)

    def form_and_attend(rows: Tensor, block: slice) -> Tensor:
        return attend(rows, pairs.of_rows(block).formed())

    parts = []
    for start in range(0, length, size):
        block = slice(start, min(start + size, length))
        taken = query[:, :, block], block
        again = torch.is_grad_enabled()
        part = checkpoint(form_and_attend, *taken, use_reentrant=False) if again else form_and_attend(*taken)
        parts.append(part.to(dtype))
    return torch.cat(parts, 2)
